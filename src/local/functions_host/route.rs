//! Route templates of HTTP functions: `orders/{id:int}`, `files/{*rest}`, `list/{page?}`.
//!
//! Facts: <https://learn.microsoft.com/azure/azure-functions/functions-bindings-http-webhook-trigger>
//! and ASP.NET Core's route templates. A parameter is a whole segment here; `{a}-{b}` is refused.

use std::fmt;

use serde_json::{Map, Value};

/// A template with the route prefix in front.
#[derive(Debug, Clone)]
pub(crate) struct RouteTemplate {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone)]
enum Segment {
    Literal(String),
    Parameter { name: String, constraint: Option<Constraint>, optional: bool },
    CatchAll { name: String },
}

#[derive(Debug, Clone, Copy)]
enum Constraint {
    Int,
    Bool,
    Guid,
    Alpha,
    Number,
}

impl RouteTemplate {
    pub(crate) fn parse(prefix: &str, route: &str) -> Result<Self, String> {
        let text = [prefix, route].map(|part| part.trim_matches('/')).join("/").trim_matches('/').to_owned();
        let segments: Vec<Segment> =
            text.split('/').filter(|part| !part.is_empty()).map(Segment::parse).collect::<Result<_, _>>()?;
        let all_but_last = segments.split_last().map(|(_, rest)| rest).unwrap_or_default();
        let misplaced = |segment: &Segment| {
            matches!(segment, Segment::CatchAll { .. } | Segment::Parameter { optional: true, .. })
        };
        if all_but_last.iter().any(misplaced) {
            return Err(format!(
                "in the route `{text}` only the last segment can be optional or catch the rest"
            ));
        }
        Ok(Self { text, segments })
    }

    /// The route parameters of a path that matches; literals are compared without case.
    pub(crate) fn matches(&self, path: &str) -> Option<Map<String, Value>> {
        let mut parts = path.trim_matches('/').split('/').filter(|part| !part.is_empty());
        let mut found = Map::new();
        for segment in &self.segments {
            match (segment, parts.next().map(percent_decode)) {
                (Segment::Literal(literal), Some(part)) if literal.eq_ignore_ascii_case(&part) => {}
                (Segment::Literal(_), _) => return None,
                (Segment::Parameter { name, constraint, .. }, Some(part)) => {
                    found.insert(name.clone(), convert(*constraint, part)?);
                }
                (Segment::Parameter { optional, .. }, None) => {
                    if !optional {
                        return None;
                    }
                }
                (Segment::CatchAll { name }, first) => {
                    let rest = first.into_iter().chain(parts.map(percent_decode)).collect::<Vec<_>>();
                    found.insert(name.clone(), Value::from(rest.join("/")));
                    return Some(found);
                }
            }
        }
        parts.next().is_none().then_some(found)
    }

    /// Smaller is more specific: of two templates that match a path, the smaller one wins.
    pub(crate) fn precedence(&self) -> Vec<u8> {
        let rank = |segment: &Segment| match segment {
            Segment::Literal(_) => 0,
            Segment::Parameter { constraint: Some(_), .. } => 1,
            Segment::Parameter { constraint: None, .. } => 2,
            Segment::CatchAll { .. } => 3,
        };
        self.segments.iter().map(rank).collect()
    }
}

impl fmt::Display for RouteTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, String> {
        if !text.contains(['{', '}']) {
            return Ok(Self::Literal(text.to_owned()));
        }
        let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        let inner = inner.filter(|inner| !inner.contains(['{', '}']));
        let inner = inner.ok_or_else(|| format!("the route segment `{text}` is not supported"))?;
        if let Some(name) = inner.strip_prefix('*') {
            return Ok(Self::CatchAll { name: name.trim_start_matches('*').to_owned() });
        }
        let (inner, optional) = inner.strip_suffix('?').map_or((inner, false), |inner| (inner, true));
        let (name, constraint) = match inner.split_once(':') {
            None => (inner, None),
            Some((name, "int" | "long")) => (name, Some(Constraint::Int)),
            Some((name, "bool")) => (name, Some(Constraint::Bool)),
            Some((name, "guid")) => (name, Some(Constraint::Guid)),
            Some((name, "alpha")) => (name, Some(Constraint::Alpha)),
            Some((name, "double" | "float" | "decimal")) => (name, Some(Constraint::Number)),
            Some((_, other)) => return Err(format!("the route constraint `{other}` is not supported")),
        };
        Ok(Self::Parameter { name: name.to_owned(), constraint, optional })
    }
}

fn convert(constraint: Option<Constraint>, part: String) -> Option<Value> {
    match constraint {
        None => Some(Value::from(part)),
        Some(Constraint::Int) => part.parse::<i64>().ok().map(Value::from),
        Some(Constraint::Bool) => part.to_lowercase().parse::<bool>().ok().map(Value::from),
        Some(Constraint::Guid) => part.parse::<uuid::Uuid>().ok().map(|_| Value::from(part)),
        Some(Constraint::Alpha) => {
            part.chars().all(|char| char.is_ascii_alphabetic()).then(|| Value::from(part))
        }
        Some(Constraint::Number) => part.parse::<f64>().ok().map(Value::from),
    }
}

/// Undoes `%20`; what is not a valid escape, or not UTF-8, stays as it is.
fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let hex = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, hex) {
            (b'%', Some(value)) => {
                decoded.push(value);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn templates_match_whole_paths_and_convert_parameters() {
        let cases = [
            ("orders/{id:int}", "/api/orders/17", Some(json!({ "id": 17 }))),
            ("orders/{id:int}", "/api/orders/o-17", None),
            ("orders/{id}", "/API/Orders/o%2F17", Some(json!({ "id": "o/17" }))),
            ("orders/{id}", "/api/orders", None),
            ("orders/{id?}", "/api/orders", Some(json!({}))),
            ("files/{*rest}", "/api/files/a/b", Some(json!({ "rest": "a/b" }))),
            ("files/{*rest}", "/api/files", Some(json!({ "rest": "" }))),
            ("a", "/api/a/b", None),
        ];
        for (template, path, expected) in cases {
            let found = RouteTemplate::parse("api", template).unwrap().matches(path).map(Value::Object);
            assert_eq!(found, expected, "{template} {path}");
        }
        assert!(RouteTemplate::parse("", "/a/").unwrap().matches("/a").is_some());
        for refused in ["{a}-{b}", "{a:regex(x)}", "{*a}/b"] {
            assert!(RouteTemplate::parse("api", refused).is_err(), "{refused}");
        }
    }
}
