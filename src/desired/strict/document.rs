//! A document's values with their positions, and the cursor that rules are checked with.

use serde_json::{Map, Value};

use super::{
    json,
    mistake::{Mistake, Mistakes, Position},
    suggest::shown,
    yaml,
};

/// One value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) at: Option<Position>,
    pub(super) kind: Kind,
    /// How an unquoted value that is not a text was spelled: `True`, `0x1F`.
    pub(super) source: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Option<Position>,
    pub(super) node: Node,
}

impl Node {
    fn from_value(value: Value) -> Node {
        let kind = match value {
            Value::Null => Kind::Null,
            Value::Bool(flag) => Kind::Bool(flag),
            Value::Number(number) => Kind::Number(number),
            Value::String(text) => Kind::Text(text),
            Value::Array(items) => Kind::List(items.into_iter().map(Node::from_value).collect()),
            Value::Object(fields) => Kind::Map(
                fields
                    .into_iter()
                    .map(|(key, value)| Entry { key, at: None, node: Node::from_value(value) })
                    .collect(),
            ),
        };
        Node { at: None, kind, source: None }
    }

    fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(flag) => Value::Bool(*flag),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::Text(text) => Value::String(text.clone()),
            Kind::List(items) => Value::Array(items.iter().map(Node::to_value).collect()),
            Kind::Map(entries) => {
                let fields = entries.iter().map(|entry| (entry.key.clone(), entry.node.to_value()));
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }
}

/// A document that was read, with the mistakes that reading it showed.
#[derive(Debug, Clone)]
pub struct Document {
    root: Node,
    value: Value,
    mistakes: Mistakes,
}

impl Document {
    /// Reads the one YAML document of a text: at most 1 MiB, 100 000 values and 32 levels.
    ///
    /// # Errors
    /// When there is nothing to go on: the text is not YAML, is empty, or passes a limit. Lesser
    /// mistakes, such as a duplicate key, are told by [`Schema::read`](super::Schema::read) together
    /// with all others.
    pub fn from_yaml(text: &str) -> Result<Document, Mistakes> {
        let (root, mistakes) = yaml::read(text)?;
        Ok(Document { value: root.to_value(), root, mistakes })
    }

    /// Reads one JSON value, with the same limits. Mistakes in it have a path and no line.
    ///
    /// # Errors
    /// When the text is not JSON or passes a limit. A name that comes twice is told by
    /// [`Schema::read`](super::Schema::read) together with all other mistakes.
    pub fn from_json(text: &str) -> Result<Document, Mistakes> {
        let (root, mistakes) = json::read(text)?;
        Ok(Document { value: root.to_value(), root, mistakes })
    }

    /// Takes a value that is already parsed, such as the body of a request. Mistakes in it have a
    /// path and no line.
    pub fn from_value(value: Value) -> Document {
        Document { root: Node::from_value(value.clone()), value, mistakes: Mistakes::default() }
    }

    /// The plain value.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The document's outermost value.
    pub fn root(&self) -> Place<'_> {
        Place { node: Some(&self.root), at: self.root.at, path: String::new() }
    }

    pub(super) fn mistakes(&self) -> &Mistakes {
        &self.mistakes
    }
}

/// A value in a document, or the place where one could stand.
///
/// Asking a place for something it does not have gives nothing and no mistake: the schema has
/// already told. So rules can be checked on a document that is partly wrong.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    node: Option<&'a Node>,
    at: Option<Position>,
    path: String,
}

impl<'a> Place<'a> {
    /// The field of that name.
    pub fn field(&self, name: &str) -> Place<'a> {
        let node = self.entry(name).map(|entry| &entry.node);
        Place { node, at: node.and_then(|node| node.at).or(self.at), path: join_key(&self.path, name) }
    }

    /// The name of a field, for mistakes about the name and not about the value.
    pub fn name_of(&self, field: &str) -> Place<'a> {
        let at = self.entry(field).and_then(|entry| entry.at).or(self.at);
        Place { node: None, at, path: join_key(&self.path, field) }
    }

    /// The item at that index.
    pub fn item(&self, index: usize) -> Place<'a> {
        let node = match self.node {
            Some(Node { kind: Kind::List(items), .. }) => items.get(index),
            _ => None,
        };
        Place { node, at: node.and_then(|node| node.at).or(self.at), path: join_index(&self.path, index) }
    }

    /// The items of a list; none if it is anything else.
    pub fn items(&self) -> impl Iterator<Item = Place<'a>> + use<'a> {
        let count = match self.node {
            Some(Node { kind: Kind::List(items), .. }) => items.len(),
            _ => 0,
        };
        let list = self.clone();
        (0..count).map(move |index| list.item(index))
    }

    /// The fields of a mapping, in the order of the text; none if it is anything else.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, Place<'a>)> + use<'a> {
        let entries: &[Entry] = match self.node {
            Some(Node { kind: Kind::Map(entries), .. }) => entries,
            _ => &[],
        };
        let path = self.path.clone();
        entries.iter().map(move |entry| {
            let place =
                Place { node: Some(&entry.node), at: entry.node.at, path: join_key(&path, &entry.key) };
            (entry.key.as_str(), place)
        })
    }

    /// Whether there is a value here.
    pub fn exists(&self) -> bool {
        self.node.is_some()
    }

    /// Whether this is a list, maybe an empty one.
    pub fn is_list(&self) -> bool {
        matches!(self.node, Some(Node { kind: Kind::List(_), .. }))
    }

    /// The text that stands here.
    pub fn text(&self) -> Option<&'a str> {
        match self.node {
            Some(Node { kind: Kind::Text(text), .. }) => Some(text),
            _ => None,
        }
    }

    /// Whether this is `true`.
    pub fn is_true(&self) -> bool {
        matches!(self.node, Some(Node { kind: Kind::Bool(true), .. }))
    }

    /// Whether this is `false`.
    pub fn is_false(&self) -> bool {
        matches!(self.node, Some(Node { kind: Kind::Bool(false), .. }))
    }

    /// Where this is in the document: `profiles[0].name`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A mistake at this place.
    pub fn mistake(&self, message: impl Into<String>, fix: impl Into<String>) -> Mistake {
        Mistake { at: self.at, path: self.path.clone(), message: message.into(), fix: fix.into() }
    }

    /// How a value that is neither text, list nor mapping is spelled: `True`, `0x1F`.
    pub(super) fn spelling(&self) -> Option<String> {
        let node = self.node?;
        match (&node.source, &node.kind) {
            (Some(source), Kind::Bool(_) | Kind::Number(_)) => Some(shown(source).into_owned()),
            (None, Kind::Bool(flag)) => Some(flag.to_string()),
            (None, Kind::Number(number)) => Some(number.to_string()),
            _ => None,
        }
    }

    fn entry(&self, name: &str) -> Option<&'a Entry> {
        match self.node {
            Some(Node { kind: Kind::Map(entries), .. }) => entries.iter().find(|entry| entry.key == name),
            _ => None,
        }
    }
}

/// `path.key`, or `path["odd key"]`.
pub(super) fn join_key(path: &str, key: &str) -> String {
    let simple = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if key.is_empty() || key.len() > 64 || !key.chars().all(simple) {
        format!("{path}[\"{}\"]", shown(key).replace('"', "\\\""))
    } else if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// `path[index]`.
pub(super) fn join_index(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}
