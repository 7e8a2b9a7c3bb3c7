//! Who is measured: our handler, and its peers, which are installed first.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, ensure};
use tokio::process::Command;

/// A handler that can be started.
pub(super) struct Contender {
    pub(super) name: &'static str,
    pub(super) program: PathBuf,
    arguments: &'static [&'static str],
    /// Settings of its own.
    pub(super) settings: &'static [(&'static str, &'static str)],
    pub(super) folder: PathBuf,
    /// Whether it only looks. Ours would put hubs that are not in order in order.
    pub(super) may_be_shown_disorder: bool,
}

impl Contender {
    /// Our own handler.
    pub(super) fn ours(program: PathBuf) -> Self {
        let folder = program.parent().map(Path::to_owned).unwrap_or_default();
        let settings = &[("RUST_LOG", "info"), ("HUBWARD_CHECK_RIGHTS", "off")];
        Self { name: "hubward", program, arguments: &[], settings, folder, may_be_shown_disorder: false }
    }

    /// Its arguments, with the port filled in.
    pub(super) fn arguments(&self, port: u16) -> Vec<String> {
        self.arguments.iter().map(|text| text.replace("{port}", &port.to_string())).collect()
    }
}

/// A peer in `benches/peers`.
pub(super) struct Peer {
    pub(super) name: &'static str,
    /// Its folder there.
    folder: &'static str,
    /// What names its packages, with the version of each.
    lock: &'static str,
    /// The commands that install them, in the folder that it is copied to.
    install: &'static [&'static [&'static str]],
    program: Program,
    arguments: &'static [&'static str],
    settings: &'static [(&'static str, &'static str)],
}

/// How a peer is started.
enum Program {
    /// Something on `PATH`.
    OnPath(&'static str),
    /// Something that was installed with it.
    Installed(&'static str),
}

/// In the order in which they run.
pub(super) const PEERS: [Peer; 2] = [
    Peer {
        name: "node",
        folder: "node",
        lock: "package-lock.json",
        install: &[&["npm", "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]],
        program: Program::OnPath("node"),
        arguments: &["main.js"],
        settings: &[("NODE_ENV", "production")],
    },
    Peer {
        name: "python",
        folder: "python",
        lock: "requirements.txt",
        install: &[
            &["python3", "-m", "venv", "venv"],
            &[
                "venv/bin/python",
                "-m",
                "pip",
                "install",
                "--disable-pip-version-check",
                "-r",
                "requirements.txt",
            ],
            &["venv/bin/python", "-m", "compileall", "-q", "."],
        ],
        program: Program::Installed("venv/bin/python"),
        arguments: &[
            "-m",
            "uvicorn",
            "main:app",
            "--host",
            "127.0.0.1",
            "--port",
            "{port}",
            "--no-access-log",
            "--log-level",
            "warning",
            "--loop",
            "uvloop",
            "--http",
            "httptools",
        ],
        settings: &[],
    },
];

/// Says that what was installed is what the lock names.
const DONE: &str = "installed";

impl Peer {
    /// Copies it below the target folder and installs its packages, unless that was done before.
    pub(super) async fn install(&self) -> anyhow::Result<Contender> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(self.folder);
        ensure!(source.is_dir(), "its source is only in the checkout that hubward was built from");
        let own = std::env::current_exe()?;
        let target = own.ancestors().nth(2).context("this program lies nowhere")?;
        let folder = target.join("bench-peers").join(self.folder);
        fs::create_dir_all(&folder)?;
        // Another run may be doing the same.
        let guard = fs::File::create(folder.join("lock"))?;
        guard.lock()?;
        for entry in fs::read_dir(&source)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::copy(entry.path(), folder.join(entry.file_name()))?;
            }
        }
        let lock = fs::read_to_string(folder.join(self.lock))?;
        if fs::read_to_string(folder.join(DONE)).ok().as_deref() != Some(&lock) {
            for command in self.install {
                run(command, &folder).await?;
            }
            fs::write(folder.join(DONE), &lock)?;
        }
        let program = match self.program {
            Program::OnPath(name) => PathBuf::from(name),
            Program::Installed(path) => folder.join(path),
        };
        Ok(Contender {
            name: self.name,
            program,
            arguments: self.arguments,
            settings: self.settings,
            folder,
            may_be_shown_disorder: true,
        })
    }
}

async fn run(command: &[&str], folder: &Path) -> anyhow::Result<()> {
    let [program, arguments @ ..] = command else { return Ok(()) };
    let inside = folder.join(program);
    let path = if program.contains('/') { inside.as_path() } else { Path::new(program) };
    let output = Command::new(path).args(arguments).current_dir(folder).stdin(Stdio::null()).output().await;
    let output = match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            anyhow::bail!("there is no `{program}` on PATH")
        }
        other => other.with_context(|| format!("`{program}` cannot be started"))?,
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    ensure!(output.status.success(), "`{}` failed: {last}", command.join(" "));
    Ok(())
}
