//! Azurite, installed with npm into the target folder and started once for all tests.

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Write},
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

const VERSION: &str = "3.37.0";
/// Well above what its start takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// One account for each test, so that they do not take each other's messages.
const ACCOUNTS: [&str; 9] =
    [ACCOUNT, "base64", "plain", "poison", "crash", "lost", "local", "thousand", "docs"];

/// Ends when nobody holds its input open any more, however the tests end.
const RUN: &str = "process.stdin.resume().on('end', () => process.exit(0));\n\
                   require('azurite/dist/src/queue/main.js');\n";

/// What npm says when it cannot reach its registry.
const UNREACHABLE: [&str; 6] =
    ["ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH"];

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
        for program in ["node", "npm"] {
            match Command::new(program).arg("--version").output() {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    // Not `eprintln`, which nobody sees while tests pass.
                    let text = format!("the tests on Azurite did NOT run: there is no `{program}` on PATH\n");
                    let _ = std::io::stderr().write_all(text.as_bytes());
                    return Ok(None);
                }
                Err(error) => return Err(format!("`{program}` cannot be started: {error}")),
                Ok(_) => {}
            }
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("azurite");
        if let Err(cause) = install(&folder) {
            // A machine without a way to the registry is one without Azurite. Anything else is a failure.
            if !UNREACHABLE.iter().any(|word| cause.contains(word)) {
                return Err(cause);
            }
            let text =
                format!("the tests on Azurite did NOT run: the npm registry cannot be reached\n{cause}\n");
            let _ = std::io::stderr().write_all(text.as_bytes());
            return Ok(None);
        }
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

/// Installs it, unless it is there.
fn install(folder: &Path) -> Result<(), String> {
    let io = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(io)?;
    // Another run of the tests may be doing the same.
    let lock = fs::File::create(folder.join("lock")).map_err(io)?;
    lock.lock().map_err(io)?;
    // npm writes this last.
    let done = fs::read_to_string(folder.join("node_modules/.package-lock.json")).unwrap_or_default();
    let done: serde_json::Value = serde_json::from_str(&done).unwrap_or_default();
    if done["packages"]["node_modules/azurite"]["version"] == VERSION {
        return Ok(());
    }
    let npm = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
        .arg(folder)
        .arg(format!("azurite@{VERSION}"))
        .stdin(Stdio::null())
        .output()
        .map_err(io)?;
    if npm.status.success() {
        return Ok(());
    }
    Err(format!("npm install azurite@{VERSION} failed:\n{}", String::from_utf8_lossy(&npm.stderr)))
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
