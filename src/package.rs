//! The deployable folder: `host.json` with the function folders right beside it, and the handler.
//!
//! The Functions host looks for function folders only directly below its script root, so what lies
//! in `functions/` in the repository is laid out flat here. The same folder is the root of the zip
//! that is deployed, the argument of `func start --script-root`, and what the local host runs from.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// The handler's name in the folder; `defaultExecutablePath` in host.json.
pub const HANDLER: &str = "hubward-handler";

/// The files that the package is made of, known at build time so that the command works anywhere.
pub const FILES: [(&str, &str); 10] = [
    ("host.json", include_str!("../host.json")),
    ("HubEvent/function.json", include_str!("../functions/HubEvent/function.json")),
    ("HubEventQueue/function.json", include_str!("../functions/HubEventQueue/function.json")),
    ("Hubs/function.json", include_str!("../functions/Hubs/function.json")),
    ("Request/function.json", include_str!("../functions/Request/function.json")),
    ("RequestBus/function.json", include_str!("../functions/RequestBus/function.json")),
    ("Resync/function.json", include_str!("../functions/Resync/function.json")),
    ("ScheduledExport/function.json", include_str!("../functions/ScheduledExport/function.json")),
    ("Status/function.json", include_str!("../functions/Status/function.json")),
    ("Work/function.json", include_str!("../functions/Work/function.json")),
];

/// Lays the folder out afresh and puts the handler into it, with its execute bit.
///
/// Only a folder that this function made before, or an empty one, is replaced.
pub fn stage(folder: &Path, handler: &Path) -> io::Result<()> {
    if folder.exists() {
        let is_ours = folder.join("host.json").exists() || fs::read_dir(folder)?.next().is_none();
        if !is_ours {
            let text = format!("{} is not a staged package; give an empty or new folder", folder.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        fs::remove_dir_all(folder)?;
    }
    for (name, text) in FILES {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)?;
    }
    let target = folder.join(HANDLER);
    fs::copy(handler, &target)?;
    make_executable(&target)
}

#[cfg(unix)]
fn make_executable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_executable(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Zips a staged folder for deployment. Unix modes are written into the zip whatever system this
/// runs on: plans that mount the package do not repair a missing execute bit.
pub fn zip(folder: &Path) -> io::Result<PathBuf> {
    let path = folder.with_extension("zip");
    let mut zip = ZipWriter::new(fs::File::create(&path)?);
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, text) in FILES {
        zip.start_file(name, options.unix_permissions(0o644))?;
        zip.write_all(text.as_bytes())?;
    }
    zip.start_file(HANDLER, options.unix_permissions(0o755))?;
    io::copy(&mut fs::File::open(folder.join(HANDLER))?, &mut zip)?;
    zip.finish()?;
    Ok(path)
}
