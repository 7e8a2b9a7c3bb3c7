//! Routing queries: what a condition says of a message. What is not there is undefined, and so is what
//! is compared with it; only `true` routes a message.

use serde_json::{Map, Value, json};

use super::query::{Expr, Operator, Step};

/// A message as far as conditions can see it.
#[derive(Debug, Clone, Default)]
pub(super) struct Message {
    body: Value,
    properties: Map<String, Value>,
    system: Map<String, Value>,
    twin: Value,
}

impl Message {
    /// From the service's `message` and `twin`. A body that is text can be looked into only when the
    /// system properties say that it is JSON in UTF; one that is JSON already needs no such word.
    pub(super) fn new(message: &Value, twin: &Value) -> Self {
        let members = |name: &str| message[name].as_object().cloned().unwrap_or_default();
        let system = members("systemProperties");
        let is = |name: &str, part: &str| {
            let value = lookup(&system, name).and_then(Value::as_str).unwrap_or_default();
            value.to_ascii_lowercase().contains(part)
        };
        let body = match &message["body"] {
            Value::String(text) if is("contentType", "json") && is("contentEncoding", "utf-") => {
                serde_json::from_str(text).unwrap_or_default()
            }
            Value::String(_) => Value::Null,
            other => other.clone(),
        };
        Self { body, properties: members("appProperties"), system, twin: twin.clone() }
    }
}

/// A system property: `contentType`, `content-type` and `iothub-content-type` are one.
fn lookup<'a>(system: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let plain = |name: &str| {
        let name = name.to_ascii_lowercase().replace(['-', '$', '.'], "");
        name.strip_prefix("iothub").map(str::to_owned).unwrap_or(name)
    };
    let wanted = plain(name);
    system.iter().find(|(name, _)| plain(name) == wanted).map(|(_, value)| value)
}

fn walk(document: &Value, steps: &[Step]) -> Option<Value> {
    let found = steps.iter().try_fold(document, |at, step| match step {
        Step::Member(name) => at.get(name),
        Step::Item(index) => at.get(index),
    });
    found.cloned()
}

/// What a condition, or a part of one, says; `None` is undefined.
pub(super) fn value(expr: &Expr, message: &Message) -> Option<Value> {
    match expr {
        Expr::Literal(literal) => Some(literal.clone()),
        Expr::Property(name) => {
            let same = |(known, _): &(&String, &Value)| known.eq_ignore_ascii_case(name);
            message.properties.iter().find(same).map(|(_, value)| value.clone())
        }
        Expr::System(name) => lookup(&message.system, name).cloned(),
        Expr::Body(steps) if message.body.is_null() && steps.is_empty() => None,
        Expr::Body(steps) => walk(&message.body, steps),
        Expr::Twin(steps) => walk(&message.twin, steps),
        Expr::Not(inner) => Some(json!(!value(inner, message)?.as_bool()?)),
        Expr::Negative(inner) => number(-value(inner, message)?.as_f64()?),
        Expr::Among(left, list) => {
            let left = value(left, message)?;
            let found = list.iter().any(|item| {
                value(item, message).and_then(|item| compare(&left, Operator::Equal, &item)) == Some(true)
            });
            Some(json!(found))
        }
        Expr::Pair(left, operator, right) => pair(value(left, message), *operator, value(right, message)),
        Expr::Call(name, parts) => {
            let values: Vec<Option<Value>> = parts.iter().map(|part| value(part, message)).collect();
            call(name, &values)
        }
    }
}

fn number(number: f64) -> Option<Value> {
    serde_json::Number::from_f64(number).map(Value::Number)
}

fn pair(left: Option<Value>, operator: Operator, right: Option<Value>) -> Option<Value> {
    let truth = |value: &Option<Value>| value.as_ref().and_then(Value::as_bool);
    match operator {
        Operator::And => match (truth(&left), truth(&right)) {
            (Some(false), _) | (_, Some(false)) => Some(json!(false)),
            (Some(true), Some(true)) => Some(json!(true)),
            _ => None,
        },
        Operator::Or => match (truth(&left), truth(&right)) {
            (Some(true), _) | (_, Some(true)) => Some(json!(true)),
            (Some(false), Some(false)) => Some(json!(false)),
            _ => None,
        },
        Operator::Plus | Operator::Minus | Operator::Times | Operator::Divided | Operator::Modulo => {
            let (left, right) = (left?.as_f64()?, right?.as_f64()?);
            number(match operator {
                Operator::Plus => left + right,
                Operator::Minus => left - right,
                Operator::Times => left * right,
                Operator::Divided => left / right,
                _ => left % right,
            })
        }
        _ => compare(&left?, operator, &right?).map(|found| json!(found)),
    }
}

/// Values of different types are neither equal nor unequal.
fn compare(left: &Value, operator: Operator, right: &Value) -> Option<bool> {
    let order = match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?)?,
        (Value::String(left), Value::String(right)) => left.cmp(right),
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Null, Value::Null) => std::cmp::Ordering::Equal,
        _ => return None,
    };
    Some(match operator {
        Operator::Equal => order.is_eq(),
        Operator::Unequal => order.is_ne(),
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        Operator::GreaterOrEqual => order.is_ge(),
        _ => return None,
    })
}

fn call(name: &str, parts: &[Option<Value>]) -> Option<Value> {
    let first = parts.first().cloned().flatten();
    let text = |at: usize| parts.get(at).and_then(Option::as_ref).and_then(Value::as_str);
    let float = |at: usize| parts.get(at).and_then(Option::as_ref).and_then(Value::as_f64);
    let kind = |fits: fn(&Value) -> bool| Some(json!(first.as_ref().is_some_and(fits)));
    match name {
        "is_defined" => kind(|_| true),
        "is_array" => kind(Value::is_array),
        "is_bool" => kind(Value::is_boolean),
        "is_null" => kind(Value::is_null),
        "is_number" => kind(Value::is_number),
        "is_object" => kind(Value::is_object),
        "is_string" => kind(Value::is_string),
        "is_primitive" => kind(|value| !value.is_array() && !value.is_object()),
        "as_number" => number(text(0).and_then(|text| text.parse().ok()).or_else(|| float(0))?),
        "abs" => number(float(0)?.abs()),
        "exp" => number(float(0)?.exp()),
        "power" => number(float(0)?.powf(float(1)?)),
        "square" => number(float(0)?.powi(2)),
        "ceiling" => number(float(0)?.ceil()),
        "floor" => number(float(0)?.floor()),
        "sqrt" => number(float(0)?.sqrt()),
        "sign" => number(float(0).map(|value| if value == 0.0 { 0.0 } else { value.signum() })?),
        "length" => Some(json!(text(0)?.chars().count())),
        "lower" => Some(json!(text(0)?.to_lowercase())),
        "upper" => Some(json!(text(0)?.to_uppercase())),
        "concat" => {
            let all: Option<Vec<&str>> = (0..parts.len()).map(text).collect();
            Some(json!(all?.concat()))
        }
        "substring" => {
            let (from, many) = (float(1)?.max(0.0), float(2).unwrap_or(f64::MAX));
            let letters = text(0)?.chars().enumerate();
            let inside = |at: usize| {
                let at = u32::try_from(at).map_or(f64::MAX, f64::from);
                at >= from && at - from < many
            };
            Some(json!(letters.filter(|(at, _)| inside(*at)).map(|(_, letter)| letter).collect::<String>()))
        }
        "index_of" => {
            let (whole, part) = (text(0)?, text(1)?);
            let at = whole.find(part).map(|at| whole[..at].chars().count());
            Some(at.map_or(json!(-1), |at| json!(at)))
        }
        "starts_with" => Some(json!(text(0)?.starts_with(text(1)?))),
        "ends_with" => Some(json!(text(0)?.ends_with(text(1)?))),
        "contains" => Some(json!(text(0)?.contains(text(1)?))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::azure::hub::query::parse;

    #[test]
    fn conditions_have_three_answers() {
        let message = Message::new(
            &json!({
                "body": "{\"weather\": {\"temperature\": 50, \"names\": [\"a\", \"b\"]}}",
                "appProperties": {"level": "critical", "n": "7", "odd-name": "x"},
                "systemProperties": {"content-type": "application/json", "contentEncoding": "UTF-8"},
            }),
            &json!({"tags": {"area": "north"}, "properties": {"desired": {"a": 1}}}),
        );
        for (condition, expected) in [
            ("true", Some(true)),
            ("FALSE", Some(false)),
            ("level = 'critical'", Some(true)),
            ("LEVEL <> \"critical\"", Some(false)),
            ("level = 'critical' AND NOT n = '8'", Some(true)),
            ("missing = 'x'", None),
            ("missing = 'x' OR level = 'critical'", Some(true)),
            ("missing = 'x' AND level = 'other'", Some(false)),
            ("n > 5", None),
            ("as_number(n) > 5", Some(true)),
            ("$body.weather.temperature >= 2 * (20 + 5)", Some(true)),
            ("$body.weather.names[1] = 'b'", Some(true)),
            ("$contentType = 'application/json'", Some(true)),
            ("$twin.tags.area = 'north' and $twin.properties.desired.a = 1", Some(true)),
            ("{odd-name} = 'x'", Some(true)),
            ("is_defined(missing)", Some(false)),
            ("starts_with(level, 'crit') and length(level) = 8", Some(true)),
            ("level IN ('a', 'critical') and level not in ('b')", Some(true)),
            ("-1 < 0", Some(true)),
        ] {
            let expr = parse(condition).unwrap_or_else(|err| panic!("{condition}: {err:?}"));
            assert_eq!(value(&expr, &message), expected.map(Value::Bool), "{condition}");
        }
    }

    #[test]
    fn mistakes_are_told_by_place() {
        for (condition, column) in [
            ("", 1),
            ("level =", 8),
            ("(true", 6),
            ("a = 'x", 5),
            ("true true", 6),
            ("nope(1)", 1),
            ("a ! b", 3),
        ] {
            let mistake = parse(condition).unwrap_err().view();
            assert_eq!(mistake["location"]["start"]["column"], column, "{condition}: {mistake}");
        }
        assert!(parse(&"(".repeat(10_000)).is_err());
        assert!(parse(&format!("{}true", "NOT ".repeat(1000))).is_ok());
        assert!(parse(&format!("{}true", "true AND ".repeat(10_000))).is_err());
    }
}
