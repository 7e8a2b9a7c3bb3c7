//! `importErrors.log`: the only place where an import tells which lines failed. Its job ends "completed"
//! all the same.

use serde_json::Value;

/// The blob's name, in the output container.
pub const NAME: &str = "importErrors.log";
/// Lines that are told; the rest are counted.
const TOLD: usize = 20;
/// Longest line that is told, in characters.
const LONGEST: usize = 300;

/// What failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failures {
    /// How many lines.
    pub count: u64,
    /// The first of them.
    pub first: Vec<String>,
}

/// Reads the log. Lines that are not JSON are none of a device: the service writes a sentence first.
pub fn read(text: &str) -> Failures {
    let mut failures = Failures::default();
    for line in text.lines().map(str::trim) {
        let Some(json) = line.starts_with('{').then(|| serde_json::from_str::<Value>(line).ok()).flatten()
        else {
            continue;
        };
        failures.count += 1;
        if failures.first.len() < TOLD {
            let member = |name: &str| match &json[name] {
                Value::String(text) => text.clone(),
                Value::Null => "?".to_owned(),
                other => other.to_string(),
            };
            let text = format!("{}: {} {}", member("deviceId"), member("errorCode"), member("errorStatus"));
            failures.first.push(text.chars().take(LONGEST).collect());
        }
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_about_devices_count() {
        let text = "Some devices could not be imported\n{\"deviceId\":\"d1\",\"errorCode\":409001,\"errorStatus\":\"DeviceAlreadyExists\"}\n\n{broken\n{\"deviceId\":\"d2\",\"errorCode\":\"x\"}";
        let failures = read(text);
        assert_eq!(failures.count, 2);
        assert_eq!(failures.first, ["d1: 409001 DeviceAlreadyExists", "d2: x ?"]);
        assert_eq!(read(""), Failures::default());
    }
}
