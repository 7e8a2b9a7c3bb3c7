//! Reads JSON into nodes: names that come twice are told, and what is too deep or too large ends the
//! reading. JSON has no lines worth naming; a mistake has its path.

use std::{collections::BTreeSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{
    document::{Entry, Kind, Node, join_index, join_key},
    mistake::{Mistake, Mistakes},
    suggest::shown,
    yaml::{MAX_DEPTH, MAX_TEXT_BYTES, MAX_VALUES},
};

/// Reads a whole text.
pub(super) fn read(text: &str) -> Result<(Node, Mistakes), Mistakes> {
    let whole = |message: String, fix: &str| {
        Mistakes::from(Mistake { at: None, path: String::new(), message, fix: fix.to_owned() })
    };
    if text.len() > MAX_TEXT_BYTES {
        let message = format!("the text has {} bytes; at most {MAX_TEXT_BYTES} are taken", text.len());
        return Err(whole(message, "send less"));
    }
    let mut reader = Reader { mistakes: Mistakes::default(), nodes: 0 };
    let mut json = serde_json::Deserializer::from_str(text);
    let seed = Seed { reader: &mut reader, path: String::new(), depth: 0 };
    let root = seed.deserialize(&mut json).and_then(|root| json.end().map(|()| root));
    root.map(|root| (root, reader.mistakes)).map_err(|error| {
        whole(format!("this is not JSON that can be taken: {error}"), "send one JSON object")
    })
}

struct Reader {
    mistakes: Mistakes,
    nodes: usize,
}

/// One value to read, and where it is.
struct Seed<'r> {
    reader: &'r mut Reader,
    path: String,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Node, D::Error> {
        self.reader.nodes += 1;
        if self.reader.nodes > MAX_VALUES {
            return Err(D::Error::custom(format!("it has more than {MAX_VALUES} values")));
        }
        if self.depth > MAX_DEPTH {
            return Err(D::Error::custom(format!("it is nested more than {MAX_DEPTH} levels deep")));
        }
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(node(Kind::Null))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Node, E> {
        Ok(node(Kind::Bool(flag)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(node(Kind::Number(number.into())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(node(Kind::Number(number.into())))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Node, E> {
        let number = serde_json::Number::from_f64(number);
        number.map(|number| node(Kind::Number(number))).ok_or_else(|| E::custom("a number is out of range"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(node(Kind::Text(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        loop {
            let path = join_index(&self.path, list.len());
            let seed = Seed { reader: &mut *self.reader, path, depth: self.depth + 1 };
            match items.next_element_seed(seed)? {
                Some(item) => list.push(item),
                None => return Ok(node(Kind::List(list))),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Node, A::Error> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = BTreeSet::new();
        while let Some(key) = fields.next_key::<String>()? {
            let path = join_key(&self.path, &key);
            let seed = Seed { reader: &mut *self.reader, path: path.clone(), depth: self.depth + 1 };
            let value = fields.next_value_seed(seed)?;
            if !seen.insert(key.clone()) {
                let message = format!("`{}` comes twice", shown(&key));
                let fix = "keep one of the two".to_owned();
                self.reader.mistakes.push(Mistake { at: None, path, message, fix });
            } else {
                entries.push(Entry { key, at: None, node: value });
            }
        }
        Ok(node(Kind::Map(entries)))
    }
}

fn node(kind: Kind) -> Node {
    Node { at: None, kind, source: None }
}
