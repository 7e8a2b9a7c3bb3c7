//! Other people's programs, from npm and PyPI, installed below the target folder, with their versions pinned.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What npm and pip say when they cannot reach their registry.
const UNREACHABLE: [&str; 10] = [
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "ENETUNREACH",
    "Failed to establish a new connection",
    "Temporary failure in name resolution",
    "Failed to resolve",
    "Connection refused",
];

/// What pip says where nothing is published for this Python.
const UNPUBLISHED: &str = "No matching distribution found";

/// Why something cannot be installed on this machine through no fault of ours.
fn excuse(cause: &str) -> Option<&'static str> {
    if UNREACHABLE.iter().any(|word| cause.contains(word)) {
        return Some("the package registry cannot be reached");
    }
    cause.contains(UNPUBLISHED).then_some("there are no packages for this Python; for 3.11 to 3.13 there are")
}

/// Says which tests did not run, and why. Not by `eprintln`, which nobody sees while tests pass.
fn did_not_run(tests: &str, why: &str) {
    let _ = std::io::stderr().write_all(format!("the tests {tests} did NOT run: {why}\n").as_bytes());
}

/// Whether these programs are on the path. Where one is not, it is said which tests did not run.
pub(crate) fn here(tests: &str, programs: &[&str]) -> Result<bool, String> {
    for program in programs {
        match Command::new(program).arg("--version").output() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                did_not_run(tests, &format!("there is no `{program}` on PATH"));
                return Ok(false);
            }
            Err(error) => return Err(format!("`{program}` cannot be started: {error}")),
            Ok(_) => {}
        }
    }
    Ok(true)
}

/// A folder of the target folder with something installed in it: again, whenever `pins` are not those of the last
/// time. None on a machine on which it cannot be, which is said; anything else that goes wrong is a failure.
pub(crate) fn installed(
    tests: &str,
    name: &str,
    pins: &str,
    install: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<Option<PathBuf>, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name(name);
    let io = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(&folder).map_err(io)?;
    // Another run of the tests may be doing the same.
    let lock = fs::File::create(folder.join("lock")).map_err(io)?;
    lock.lock().map_err(io)?;
    let done = folder.join("pins");
    if fs::read_to_string(&done).is_ok_and(|last| last == pins) {
        return Ok(Some(folder));
    }
    let _ = fs::remove_file(&done);
    if let Err(cause) = install(&folder) {
        let why = excuse(&cause).ok_or_else(|| cause.clone())?;
        did_not_run(tests, &format!("{why}\n{cause}"));
        return Ok(None);
    }
    fs::write(&done, pins).map_err(io)?;
    Ok(Some(folder))
}

/// Runs an installer to its end.
pub(crate) fn ran(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    Err(format!("{command:?} failed:\n{}", said.concat()))
}

/// A folder of the repository with programs for Node.js, and the packages that its `package-lock.json` names
/// beside copies of them.
pub(crate) fn node(
    tests: &str,
    name: &str,
    from: &str,
    programs: &[&str],
) -> Result<Option<PathBuf>, String> {
    if !here(tests, &["node", "npm"])? {
        return Ok(None);
    }
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(from);
    let pins = fs::read_to_string(from.join("package-lock.json")).map_err(|error| error.to_string())?;
    let copied = |to: &Path, names: &[&str]| {
        names.iter().try_for_each(|name| fs::copy(from.join(name), to.join(name)).map(|_| ()))
    };
    let folder = installed(tests, name, &pins, |folder| {
        copied(folder, &["package.json", "package-lock.json"]).map_err(|error| error.to_string())?;
        let npm = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"];
        ran(Command::new("npm").args(npm).arg(folder))
    })?;
    if let Some(folder) = &folder {
        copied(folder, programs).map_err(|error| error.to_string())?;
    }
    Ok(folder)
}

/// The folder of programs of a Python of its own, with what a file of requirements names.
pub(crate) fn python(tests: &str, name: &str, requirements: &str) -> Result<Option<PathBuf>, String> {
    if !here(tests, &["python3"])? {
        return Ok(None);
    }
    // Debian's Python comes without it.
    let venv = Command::new("python3").args(["-c", "import ensurepip, venv"]).output();
    if !venv.is_ok_and(|output| output.status.success()) {
        did_not_run(tests, "this Python makes no virtual environments (python3-venv)");
        return Ok(None);
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(requirements);
    let pins = fs::read_to_string(&file).map_err(|error| error.to_string())?;
    let folder = installed(tests, name, &pins, |folder| {
        ran(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder.join("venv")))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
        ran(Command::new(folder.join("venv/bin/python")).args(pip).arg(&file))
    })?;
    Ok(folder.map(|folder| folder.join("venv/bin")))
}
