//! Small tools on untyped JSON: look up, create on the way, compare by path.

use serde_json::{Map, Value};

/// What stands at a JSON pointer below an object.
pub(super) fn lookup<'a>(root: &'a Map<String, Value>, pointer: &str) -> Option<&'a Value> {
    let rest = pointer.strip_prefix('/')?;
    match rest.split_once('/') {
        None => root.get(rest),
        Some((first, below)) => root.get(first)?.pointer(&format!("/{below}")),
    }
}

/// The array at a path of object members, created (with the objects above it) where absent or null.
/// `None` if something that is neither object nor array stands in the way.
pub(super) fn array_at<'a>(root: &'a mut Map<String, Value>, pointer: &str) -> Option<&'a mut Vec<Value>> {
    let mut parts: Vec<&str> = pointer.split('/').skip(1).collect();
    let last = parts.pop()?;
    let mut node = root;
    for part in parts {
        let below = node.entry(part).or_insert(Value::Null);
        if below.is_null() {
            *below = Value::Object(Map::new());
        }
        node = below.as_object_mut()?;
    }
    let list = node.entry(last).or_insert(Value::Null);
    if list.is_null() {
        *list = Value::Array(Vec::new());
    }
    list.as_array_mut()
}

/// JSON pointers of everything that differs, deepest first found; a member that appeared or
/// vanished counts, and so does a change of order in an array. A container that appeared is
/// reported by its contents, so that `/a/b/0` tells the whole change.
pub fn changed_paths(before: &Value, after: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    compare("", Some(before), Some(after), &mut paths);
    paths
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, paths: &mut Vec<String>) {
    let empty_map = Map::new();
    match (before, after) {
        (Some(a), Some(b)) if a == b => {}
        (a, Some(Value::Object(b))) if is_object_or_nothing(a) && (a.is_some() || !b.is_empty()) => {
            let a = a.and_then(Value::as_object).unwrap_or(&empty_map);
            let before_count = paths.len();
            for name in a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))) {
                compare(&format!("{path}/{}", escape(name)), a.get(name), b.get(name), paths);
            }
            if paths.len() == before_count {
                paths.push(path.to_owned());
            }
        }
        (a, Some(Value::Array(b))) if is_array_or_nothing(a) && (a.is_some() || !b.is_empty()) => {
            let a = a.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let before_count = paths.len();
            for index in 0..a.len().max(b.len()) {
                compare(&format!("{path}/{index}"), a.get(index), b.get(index), paths);
            }
            if paths.len() == before_count {
                paths.push(path.to_owned());
            }
        }
        _ => paths.push(path.to_owned()),
    }
}

fn is_object_or_nothing(value: Option<&Value>) -> bool {
    matches!(value, None | Some(Value::Null | Value::Object(_)))
}

fn is_array_or_nothing(value: Option<&Value>) -> bool {
    matches!(value, None | Some(Value::Null | Value::Array(_)))
}

/// Escapes a member name for a JSON pointer (RFC 6901).
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_told_by_path() {
        let before = json!({"a": {"b": [1, 2]}, "c": 1, "gone": true});
        let after = json!({"a": {"b": [1, 3, 4]}, "c": 1, "new": {"x": {"y": 1}}, "empty": []});
        let mut paths = changed_paths(&before, &after);
        paths.sort();
        assert_eq!(paths, ["/a/b/1", "/a/b/2", "/empty", "/gone", "/new/x/y"]);
        assert!(changed_paths(&before, &before).is_empty());
    }

    #[test]
    fn containers_that_vanish_or_change_type_are_told() {
        assert_eq!(changed_paths(&json!({"a": {"b": 1}}), &json!({"a": 1})), ["/a"]);
        assert_eq!(changed_paths(&json!({"a": null}), &json!({"a": {}})), ["/a"]);
        assert_eq!(changed_paths(&json!({"a": []}), &json!({})), ["/a"]);
    }
}
