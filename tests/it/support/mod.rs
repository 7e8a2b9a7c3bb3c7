//! Builders that the stories share.

pub(crate) mod azurite;
pub(crate) mod cloud;
pub(crate) mod local;
pub(crate) mod packages;
pub(crate) mod page;
pub(crate) mod portal;
pub(crate) mod profiles;
pub(crate) mod shell;
pub(crate) mod world;

use serde_json::Value;

/// All fixtures of a folder, by file name without `.json`.
pub(crate) fn fixtures(folder: &str) -> Vec<(String, Value)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    let mut found: Vec<(String, Value)> = std::fs::read_dir(&root)
        .unwrap_or_else(|error| panic!("{}: {error}", root.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        })
        .collect();
    assert!(!found.is_empty(), "no fixtures in {folder}");
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}
