//! A document's JSON Schema, made from its Rust types, and its violations in words.

use std::collections::BTreeSet;

use jsonschema::{
    JsonType, ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind},
    paths::{Location, LocationSegment},
};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    document::{Document, Place},
    mistake::{Mistake, Mistakes},
    suggest::{nearest, shown},
};

/// The annotation beside `pattern` that says the rule in words. Editors that know it (the language
/// server of VS Code's JSON and YAML extensions does) show the same words as we do.
pub const PATTERN_MESSAGE: &str = "patternErrorMessage";

/// Our annotation for names that are often written and that are not fields, each with the reason.
pub const NOT_FIELDS: &str = "x-not-fields";

/// How many unknown fields of one mapping are told one by one.
const MAX_UNKNOWN: usize = 20;

/// The schema of one kind of document.
#[derive(Debug)]
pub struct Schema {
    value: Value,
    validator: Validator,
}

impl Schema {
    /// Makes the schema of a type. Draft 7, which every editor knows; without references, so that a
    /// violation's place in it is easily read.
    ///
    /// # Panics
    /// If the type's own annotations (a `pattern`) are not valid: a mistake in our code that the
    /// first test shows.
    pub fn of<T: JsonSchema>() -> Schema {
        let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
        let value = settings.into_generator().into_root_schema_for::<T>().to_value();
        let validator = jsonschema::options()
            .with_pattern_options(jsonschema::PatternOptions::regex())
            .build(&value)
            .expect("the schema of our own types is valid");
        Schema { value, validator }
    }

    /// The schema itself, for editors.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// All that the schema and the reader find wrong with a document.
    pub fn check(&self, document: &Document) -> Mistakes {
        let mut mistakes = document.mistakes().clone();
        for error in self.validator.iter_errors(document.value()) {
            if mistakes.is_full() {
                mistakes.count_one();
            } else {
                mistakes.extend(self.explain(document, &error));
            }
        }
        mistakes
    }

    /// The typed value of a document without mistakes.
    ///
    /// # Errors
    /// All mistakes.
    pub fn read<T: DeserializeOwned>(&self, document: &Document) -> Result<T, Mistakes> {
        self.check(document).or(())?;
        T::deserialize(document.value()).map_err(|error| {
            // The schema and the types come from one source, so this says that they disagree.
            Mistakes::from(document.root().mistake(
                format!("this does not fit: {}", shown(&error.to_string())),
                "compare with the sample document",
            ))
        })
    }

    fn explain(&self, document: &Document, error: &ValidationError<'_>) -> Vec<Mistake> {
        let place = locate(document, error.instance_path());
        let rule = self.rule(error.schema_path());
        let instance = error.instance();
        let one = |message: String, fix: String| vec![place.mistake(message, fix)];
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                unexpected.iter().take(MAX_UNKNOWN).map(|name| unknown(&place, name, rule)).collect()
            }
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                if misspelled(instance, name, rule) {
                    return Vec::new();
                }
                one(format!("`{name}` is missing"), format!("add `{name}: …`{}", about(rule, name)))
            }
            ValidationErrorKind::OneOfNotValid { .. } | ValidationErrorKind::OneOfMultipleValid { .. } => {
                one_of(&place, instance, rule)
            }
            // The allowed values say more than their type does, and are told on their own.
            ValidationErrorKind::Type { .. } if rule.get("enum").or(rule.get("const")).is_some() => {
                Vec::new()
            }
            ValidationErrorKind::Type { kind } => {
                let (message, fix) = wrong_type(&place, instance, kind);
                one(message, fix)
            }
            ValidationErrorKind::Enum { options } => {
                let (message, fix) = not_an_option(instance, options);
                one(message, fix)
            }
            ValidationErrorKind::Constant { expected_value } => {
                let (what, how) = match (instance.as_ref(), expected_value.as_ref()) {
                    (Value::String(_), Value::Number(_)) => ("the text ", ", without quotes"),
                    _ => ("", ""),
                };
                one(
                    format!("this must be {expected_value}, not {what}{}", brief(instance)),
                    format!("write {expected_value}{how}"),
                )
            }
            ValidationErrorKind::Pattern { pattern } => {
                let words = rule.get(PATTERN_MESSAGE).and_then(Value::as_str);
                let words = words.map_or_else(|| format!("a text that matches {pattern}"), str::to_owned);
                one(format!("{} is not allowed here", brief(instance)), format!("write {words}"))
            }
            ValidationErrorKind::MaxItems { limit } => one(
                format!("there are {} entries, and at most {limit} are allowed", length(instance)),
                "remove some".to_owned(),
            ),
            ValidationErrorKind::MinItems { limit } => one(
                format!("there are {} entries, and at least {limit} is needed", length(instance)),
                "add one".to_owned(),
            ),
            ValidationErrorKind::MaxProperties { limit } => one(
                format!("there are {} fields, and at most {limit} are allowed", length(instance)),
                "remove some".to_owned(),
            ),
            ValidationErrorKind::MinLength { .. } => {
                one("this text is empty".to_owned(), "write something, or leave the field out".to_owned())
            }
            ValidationErrorKind::MaxLength { limit } => {
                one("this text is too long".to_owned(), format!("write at most {limit} characters"))
            }
            ValidationErrorKind::Minimum { limit } => {
                one(format!("{} is too small", brief(instance)), format!("write {limit} or more"))
            }
            ValidationErrorKind::Maximum { limit } => {
                one(format!("{} is too large", brief(instance)), format!("write {limit} or less"))
            }
            _ => one(shown(&error.to_string()).into_owned(), "see the reference of the document".to_owned()),
        }
    }

    /// The part of the schema that holds the violated keyword.
    fn rule(&self, path: &Location) -> &Value {
        let path = path.as_str();
        let parent = path.rfind('/').map_or("", |end| &path[..end]);
        self.value.pointer(parent).unwrap_or(&Value::Null)
    }
}

fn locate<'a>(document: &'a Document, path: &Location) -> Place<'a> {
    path.segments().fold(document.root(), |place, segment| match segment {
        LocationSegment::Property(name) => place.field(&name),
        LocationSegment::Index(index) => place.item(index),
    })
}

fn fields_of(rule: &Value) -> impl Iterator<Item = &str> {
    rule.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.as_str())
}

fn unknown(place: &Place<'_>, name: &str, rule: &Value) -> Mistake {
    let at = place.name_of(name);
    if name == "<<" {
        return at.mistake("merge keys (`<<`) are not part of YAML 1.2", "write the fields out");
    }
    if let Some(reason) = rule.get(NOT_FIELDS).and_then(|names| names.get(name)).and_then(Value::as_str) {
        return at.mistake(format!("there is no field `{}`: {reason}", shown(name)), "drop the line");
    }
    let fix = match nearest(name, fields_of(rule)) {
        Some(known) => format!("write `{known}`"),
        None => {
            let known: Vec<_> = fields_of(rule).map(|name| format!("`{name}`")).collect();
            format!("drop it; the fields here are {}", known.join(", "))
        }
    };
    at.mistake("unknown field", fix)
}

/// Whether a missing field is there under a name that is nearly right: that is one mistake, not two.
fn misspelled(instance: &Value, missing: &str, rule: &Value) -> bool {
    let known: BTreeSet<&str> = fields_of(rule).collect();
    instance.as_object().is_some_and(|given| {
        let unknown = given.keys().filter(|name| !known.contains(name.as_str()));
        unknown.take(MAX_UNKNOWN).any(|name| nearest(name, known.iter().copied()) == Some(missing))
    })
}

/// The first sentence of a field's description, as a hint.
fn about(rule: &Value, field: &str) -> String {
    let description = rule.get("properties").and_then(|p| p.get(field)).and_then(|p| p.get("description"));
    let Some(text) = description.and_then(Value::as_str) else { return String::new() };
    let line = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let sentence = line.split(". ").next().unwrap_or_default().trim_end_matches('.');
    format!(" ({sentence})")
}

/// `oneOf` is used for one thing only: exactly one of some fields has to be there.
fn one_of(place: &Place<'_>, instance: &Value, rule: &Value) -> Vec<Mistake> {
    let branches = rule.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let names: Vec<&str> = branches.filter_map(|branch| branch.get("required")?.get(0)?.as_str()).collect();
    if !instance.is_object() || names.iter().any(|name| misspelled(instance, name, rule)) {
        return Vec::new();
    }
    let listed = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let given: Vec<&&str> = names.iter().filter(|name| instance.get(**name).is_some()).collect();
    let (message, fix) = match (given.is_empty(), names.len()) {
        (true, 1) => (format!("{listed} is missing"), format!("add {listed}{}", about(rule, names[0]))),
        (true, _) => (format!("one of {listed} is missing"), "add one of them".to_owned()),
        (false, _) => (format!("only one of {listed} can be given"), "keep one of them".to_owned()),
    };
    vec![place.mistake(message, fix)]
}

fn wrong_type(place: &Place<'_>, instance: &Value, expected: &TypeKind) -> (String, String) {
    let is = |wanted: JsonType| match expected {
        TypeKind::Single(kind) => *kind == wanted,
        TypeKind::Multiple(kinds) => kinds.contains(wanted),
    };
    let (what, example) = if is(JsonType::String) {
        ("a text", "a text")
    } else if is(JsonType::Array) {
        ("a list", "a list: `[one, two]`, or a `- ` line for each entry")
    } else if is(JsonType::Object) {
        ("a mapping", "`field: value` lines, indented below this one")
    } else if is(JsonType::Boolean) {
        ("`true` or `false`", "`true` or `false`, without quotes")
    } else {
        ("a whole number", "a whole number, without quotes")
    };
    if instance.is_null() {
        return (
            format!("this is empty and should be {what}"),
            "write a value, or leave the field out".to_owned(),
        );
    }
    let spelling = place.spelling();
    let fix = match &spelling {
        Some(spelling) if is(JsonType::String) => format!("quote it: \"{spelling}\""),
        _ => format!("write {example}"),
    };
    let given = spelling.map_or_else(|| brief(instance), |spelling| format!("`{spelling}`"));
    (format!("this should be {what} and is {given}"), fix)
}

fn not_an_option(instance: &Value, options: &Value) -> (String, String) {
    let words: Vec<&str> = options.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let listed = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let meant = match instance {
        // What YAML 1.1 and many editors turn `on` and `off` into.
        Value::Bool(true) => words.iter().find(|word| **word == "on").copied(),
        Value::Bool(false) => words.iter().find(|word| **word == "off").copied(),
        Value::String(text) => nearest(text, words.iter().copied()),
        _ => None,
    };
    let fix = meant.map_or_else(|| format!("write one of {listed}"), |word| format!("write `{word}`"));
    (format!("{} is not one of {listed}", brief(instance)), fix)
}

fn length(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.len(),
        Value::Object(fields) => fields.len(),
        _ => 0,
    }
}

/// A value, short enough to be quoted.
fn brief(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) | Value::Number(_) => format!("`{value}`"),
        Value::String(text) => format!("`{}`", shown(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}
