//! Azurite, installed with npm into the target folder and started once for all tests.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, OnceLock, mpsc},
    time::Duration,
};

use azure_core::http::Url;
use hubward::{
    connect,
    local::azurite::{ACCOUNT, KEY, signed},
    queue::{QueueService, StorageQueue},
};
use time::OffsetDateTime;

use super::packages;

const VERSION: &str = "3.37.0";
/// What does not run without it.
const TESTS: &str = "on Azurite";
/// Well above what its start takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// One account for each test, so that they do not take each other's messages.
const ACCOUNTS: [&str; 9] =
    [ACCOUNT, "base64", "plain", "poison", "crash", "lost", "local", "thousand", "docs"];

/// Ends when nobody holds its input open any more, however the tests end.
const RUN: &str = "process.stdin.resume().on('end', () => process.exit(0));\n\
                   require('azurite/dist/src/queue/main.js');\n";

pub(crate) struct Azurite {
    address: String,
    /// Held for its input.
    _process: Mutex<Child>,
}

/// The Azurite of this run. None where there is no Node.js, which is said.
pub(crate) fn azurite() -> Option<&'static Azurite> {
    static AZURITE: OnceLock<Result<Option<Azurite>, String>> = OnceLock::new();
    match AZURITE.get_or_init(Azurite::start) {
        Ok(azurite) => azurite.as_ref(),
        Err(cause) => panic!("Node.js is there and Azurite is not: {cause}"),
    }
}

impl Azurite {
    fn start() -> Result<Option<Self>, String> {
        if !packages::here(TESTS, &["node", "npm"])? {
            return Ok(None);
        }
        let folder = packages::installed(TESTS, "azurite", VERSION, |folder| {
            let npm = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"];
            packages::ran(Command::new("npm").args(npm).arg(folder).arg(format!("azurite@{VERSION}")))
        })?;
        let Some(folder) = folder else { return Ok(None) };
        run(&folder).map(Some)
    }

    /// The queues of one of the accounts, signed for.
    pub(crate) fn queues(&self, account: &str) -> QueueService {
        let url = self.signed_address(account);
        QueueService::with_sas(url, Arc::new(connect::http_client().unwrap())).unwrap()
    }

    /// The address of the queues of one of the accounts, with a signature.
    pub(crate) fn signed_address(&self, account: &str) -> Url {
        assert!(ACCOUNTS.contains(&account), "{account} is none of its accounts");
        let url = Url::parse(&format!("{}/{account}", self.address)).unwrap();
        signed(&url, OffsetDateTime::now_utc()).unwrap()
    }

    /// The address of the account that every Azurite has, without a signature.
    pub(crate) fn own_account(&self) -> Url {
        Url::parse(&format!("{}/{ACCOUNT}", self.address)).unwrap()
    }
}

fn run(folder: &Path) -> Result<Azurite, String> {
    let io = |error: std::io::Error| format!("Azurite cannot be started: {error}");
    let (script, complaints): (PathBuf, PathBuf) = (folder.join("run.js"), folder.join("stderr.log"));
    fs::write(&script, RUN).map_err(io)?;
    let accounts = ACCOUNTS.map(|account| format!("{account}:{KEY}")).join(";");
    // Port 0 is any free one. As an operator would start it: no leniency about versions.
    let mut process = Command::new("node")
        .arg(&script)
        .args(["--queuePort", "0", "--inMemoryPersistence", "--silent", "--disableTelemetry"])
        .current_dir(folder)
        .env("AZURITE_ACCOUNTS", accounts)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&complaints).map_err(io)?)
        .spawn()
        .map_err(io)?;
    let (tell, told) = mpsc::channel();
    let stdout = process.stdout.take().ok_or("Azurite has no output")?;
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some((_, address)) = line.split_once("successfully listens on ") {
                let _ = tell.send(address.trim().to_owned());
            }
        }
    });
    match told.recv_timeout(PATIENCE) {
        Ok(address) => Ok(Azurite { address, _process: Mutex::new(process) }),
        Err(_) => {
            let _ = process.kill();
            let said = fs::read_to_string(&complaints).unwrap_or_default();
            Err(format!("Azurite does not listen; it said: {said}"))
        }
    }
}

/// Everything that is in a queue, taken out of it.
pub(crate) async fn drain(queue: &StorageQueue) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        let batch = queue.receive(32, Duration::from_secs(60)).await.unwrap();
        if batch.is_empty() {
            return texts;
        }
        for taken in batch {
            queue.delete(&taken.message.id, &taken.pop_receipt).await.unwrap();
            texts.push(taken.message.text);
        }
    }
}
