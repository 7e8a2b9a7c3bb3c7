//! The blob that is to be imported, checked line by line before anything is started: an import cannot
//! be undone, and a line that the service does not understand is told only afterwards.
//!
//! <https://learn.microsoft.com/azure/iot-hub/iot-hub-bulk-identity-mgmt#import-devices>

use serde::Serialize;
use serde_json::Value;

/// What the service can do with a line.
const MODES: [&str; 10] = [
    "create",
    "update",
    "updateIfMatchETag",
    "delete",
    "deleteIfMatchETag",
    "createOrUpdate",
    "createOrUpdateIfMatchETag",
    "updateTwin",
    "updateTwinIfMatchETag",
    "createOrUpdateTwin",
];
/// Bad lines that are told; the rest are counted.
const TOLD: usize = 20;
/// Longest line that is taken: far above the largest device with its twin.
const LONGEST: usize = 256 * 1024;

/// A line that cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BadLine {
    /// Its number, from 1.
    pub line: u64,
    /// The device, if the line names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// What is wrong.
    pub problem: String,
}

/// Checks an input as it comes, in pieces.
#[derive(Debug, Default)]
pub struct Checker {
    rest: Vec<u8>,
    line: u64,
    /// How many devices the good lines are about.
    pub devices: u64,
    /// How many lines are bad.
    pub bad: u64,
    /// The first of them.
    pub told: Vec<BadLine>,
}

impl Checker {
    /// Takes the next piece.
    pub fn take(&mut self, piece: &[u8]) {
        for byte in piece {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.rest);
                self.check(&line);
            } else if self.rest.len() <= LONGEST {
                self.rest.push(*byte);
            }
        }
    }

    /// Takes the end.
    pub fn finish(&mut self) {
        let line = std::mem::take(&mut self.rest);
        if !line.is_empty() {
            self.check(&line);
        }
    }

    fn check(&mut self, line: &[u8]) {
        self.line += 1;
        if line.len() > LONGEST {
            return self.fault(None, format!("the line is longer than {LONGEST} bytes"));
        }
        let Ok(text) = std::str::from_utf8(line) else {
            return self.fault(None, "the line is not UTF-8 text".to_owned());
        };
        // A byte order mark and Windows line ends do no harm; an export without keys begins with a
        // sentence, which the service passes over.
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() || (self.line == 1 && !text.starts_with('{')) {
            return;
        }
        match serde_json::from_str::<Value>(text) {
            Err(error) => self.fault(None, format!("the line is not JSON: {error}")),
            Ok(json) => match problem(&json) {
                None => self.devices += 1,
                Some(problem) => {
                    let id = json.get("id").and_then(Value::as_str).map(|id| id.chars().take(128).collect());
                    self.fault(id, problem);
                }
            },
        }
    }

    fn fault(&mut self, device_id: Option<String>, problem: String) {
        self.bad += 1;
        if self.told.len() < TOLD {
            self.told.push(BadLine { line: self.line, device_id, problem });
        }
    }
}

/// What is wrong with a line, if anything is.
fn problem(json: &Value) -> Option<String> {
    let Some(device) = json.as_object() else {
        return Some("the line is not a JSON object".to_owned());
    };
    let text = |name: &str| device.get(name).and_then(Value::as_str);
    let Some(id) = text("id") else { return Some("`id` is missing".to_owned()) };
    for (name, id) in [("id", Some(id)), ("moduleId", text("moduleId"))] {
        if let Some(id) = id
            && !is_id(id)
        {
            return Some(format!(
                "`{name}` is not 1 to 128 letters, digits and - . + % _ # * ? ! ( ) , : = @ $ '"
            ));
        }
    }
    let mode = text("importMode");
    match (device.get("importMode"), mode) {
        (None, _) => {}
        (Some(_), Some(mode)) if MODES.iter().any(|known| known.eq_ignore_ascii_case(mode)) => {}
        (Some(other), _) => {
            return Some(format!("`importMode` is {other}, which is none of {}", MODES.join(", ")));
        }
    }
    if device.get("moduleId").is_none_or(Value::is_null) {
        match text("status") {
            Some(word) if ["enabled", "disabled"].iter().any(|known| known.eq_ignore_ascii_case(word)) => {}
            Some(_) => return Some("`status` is neither `enabled` nor `disabled`".to_owned()),
            None => return Some("`status` is missing; every device needs it".to_owned()),
        }
    }
    let by_etag = mode.is_some_and(|mode| mode.to_ascii_lowercase().ends_with("ifmatchetag"));
    if by_etag && text("eTag").is_none() && text("etag").is_none() && text("twinETag").is_none() {
        return Some("`importMode` compares the `eTag`, and the line has none".to_owned());
    }
    None
}

/// What the service takes as an id.
fn is_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.+%_#*?!(),:=@$'".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Checker {
        let mut checker = Checker::default();
        // In odd pieces, as a network gives them.
        text.as_bytes().chunks(7).for_each(|piece| checker.take(piece));
        checker.finish();
        checker
    }

    #[test]
    fn good_lines_are_counted_and_bad_ones_told_by_number() {
        let text = "Keys are left out of this export\r\n\
            {\"id\":\"d1\",\"status\":\"enabled\",\"importMode\":\"createOrUpdate\"}\r\n\
            \n\
            {\"id\":\"d2\",\"importMode\":\"create\"}\n\
            {\"id\":\"d 3\",\"status\":\"enabled\"}\n\
            {\"id\":\"d4\",\"status\":\"enabled\",\"importMode\":\"upsert\"}\n\
            {\"id\":\"d5\",\"moduleId\":\"m\"}\n\
            {\"id\":\"d6\",\"status\":\"on\"}\n\
            {\"id\":\"d7\",\"status\":\"disabled\",\"importMode\":\"DeleteIfMatchETag\"}\n\
            {\"id\":\"d8\",\n\
            [1]\n\
            {\"status\":\"enabled\"}";
        let checker = checked(text);
        assert_eq!((checker.devices, checker.bad), (2, 8));
        let told: Vec<_> = checker.told.iter().map(|bad| (bad.line, bad.device_id.as_deref())).collect();
        let lines = [
            (4, Some("d2")),
            (5, Some("d 3")),
            (6, Some("d4")),
            (8, Some("d6")),
            (9, Some("d7")),
            (10, None),
            (11, None),
            (12, None),
        ];
        assert_eq!(told, lines);
        assert!(checker.told[0].problem.contains("`status` is missing"));
    }

    #[test]
    fn an_endless_line_and_many_bad_lines_cost_little() {
        let checker = checked(&"x".repeat(1_000_000));
        assert_eq!((checker.bad, checker.told.len()), (1, 1));
        let checker = checked(&"{}\n".repeat(5000));
        assert_eq!((checker.bad, checker.told.len()), (5000, TOLD));
    }
}
