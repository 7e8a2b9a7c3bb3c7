//! YAML text to values with positions.
//!
//! The parser's events are read one by one and not through its own tree, because that tree loses
//! what we report: both places of a duplicate key, and how an unquoted value was spelled. Reading
//! events also keeps depth, size and the expansion of aliases in our hands.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};
use serde_json::Number;

use super::{
    document::{Entry, Kind, Node, join_index, join_key},
    mistake::{Mistake, Mistakes, Position},
    suggest::{is_invisible, shown},
};

/// Largest text that is read.
pub(super) const MAX_TEXT_BYTES: usize = 1024 * 1024;
/// Most values that are read. Far above any real document; keeps a list of mistakes affordable.
pub(super) const MAX_VALUES: usize = 100_000;
/// Deepest nesting.
pub(super) const MAX_DEPTH: usize = 32;
/// How much aliases may add, in values and characters. An alias is a convenience, not a program.
const MAX_COPIED: usize = 256 * 1024;

/// Reads the one document of a text.
///
/// Mistakes that leave a usable tree (duplicate keys, tags, a second document) come with it, so that
/// the schema's mistakes can be told along with them.
///
/// # Errors
/// When there is no tree: bad syntax, an empty text, or a limit was passed.
pub(super) fn read(text: &str) -> Result<(Node, Mistakes), Mistakes> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(Mistakes::from(Mistake {
            at: None,
            path: String::new(),
            message: format!("the text has {} bytes, and at most {MAX_TEXT_BYTES} are read", text.len()),
            fix: "check that this is the right file, or split it".to_owned(),
        }));
    }
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        let step = match event {
            Ok((event, span)) => reader.on_event(event, position(&span.start)),
            Err(error) => {
                reader.mistakes.extend(syntax_mistakes(text, &error));
                Err(Stop)
            }
        };
        if step.is_err() {
            break;
        }
    }
    match reader.root {
        Some(root) => Ok((root, reader.mistakes)),
        None => {
            if reader.mistakes.is_empty() {
                reader.mistakes.push(empty_document());
            }
            Err(reader.mistakes.or(()).err().unwrap_or_default())
        }
    }
}

/// Nothing more can be read; the reason is among the mistakes.
struct Stop;

/// What is being filled.
enum Open {
    List { items: Vec<Node> },
    Map { entries: Vec<Entry>, seen: HashMap<String, Position>, key: Option<(String, Position)> },
}

struct Frame {
    open: Open,
    at: Position,
    anchor: usize,
    /// Values and bytes of text so far: what an alias of this would add.
    weight: usize,
    /// Levels below this one.
    depth: usize,
    /// A list or mapping in the place of a key: read to its end and dropped.
    is_key: bool,
}

struct Anchored {
    node: Node,
    weight: usize,
    depth: usize,
}

#[derive(Default)]
struct Reader {
    stack: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    root: Option<Node>,
    values: usize,
    copied: usize,
    mistakes: Mistakes,
}

impl Reader {
    fn on_event(&mut self, event: Event<'_>, at: Position) -> Result<(), Stop> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                self.report(
                    at,
                    "a second document begins here",
                    "keep one document in a file, and drop the `---`",
                );
                Err(Stop)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
            Event::Scalar(text, style, anchor, tag) => {
                self.count(at)?;
                if self.expects_key() {
                    self.take_key(text.into_owned(), at);
                    return Ok(());
                }
                let node = self.scalar(&text, style, tag.as_deref(), at);
                let weight = 1 + text.len();
                self.keep(anchor, &node, weight, 0, at)?;
                self.attach(node, weight, 0);
                Ok(())
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(Open::List { items: Vec::new() }, anchor, tag.as_deref(), at)
            }
            Event::MappingStart(anchor, tag) => {
                let map = Open::Map { entries: Vec::new(), seen: HashMap::new(), key: None };
                self.open(map, anchor, tag.as_deref(), at)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => self.alias(id, at),
        }
    }

    fn open(&mut self, open: Open, anchor: usize, tag: Option<&Tag>, at: Position) -> Result<(), Stop> {
        self.count(at)?;
        if self.stack.len() >= MAX_DEPTH {
            return self.stop(
                at,
                format!("values are nested more than {MAX_DEPTH} deep"),
                "check brackets and indentation",
            );
        }
        let is_key = self.expects_key();
        if is_key {
            self.report(at, "a list or a mapping stands where a field's name belongs", "write a plain name");
        }
        let fits = match &open {
            Open::List { .. } => "seq",
            Open::Map { .. } => "map",
        };
        if tag.is_some_and(|tag| !(tag.is_yaml_core_schema() && tag.suffix == fits)) {
            self.report(at, "tags such as `!name` are not used here", "drop the tag");
        }
        self.stack.push(Frame { open, at, anchor, weight: 1, depth: 0, is_key });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Stop> {
        let Some(Frame { open, at, anchor, weight, depth, is_key }) = self.stack.pop() else {
            return Ok(());
        };
        if is_key {
            self.skip_key(at);
            return Ok(());
        }
        let kind = match open {
            Open::List { items } => Kind::List(items),
            Open::Map { entries, .. } => Kind::Map(entries),
        };
        let node = Node { at: Some(at), kind, source: None };
        self.keep(anchor, &node, weight, depth + 1, at)?;
        self.attach(node, weight, depth + 1);
        Ok(())
    }

    fn alias(&mut self, id: usize, at: Position) -> Result<(), Stop> {
        self.count(at)?;
        if self.expects_key() {
            self.report(at, "an alias stands where a field's name belongs", "write the name out");
            self.skip_key(at);
            return Ok(());
        }
        let Some(Anchored { node, weight, depth }) = self.anchors.get(&id) else {
            return self.stop(
                at,
                "this alias stands inside the value that it repeats",
                "write the value out",
            );
        };
        let (weight, depth) = (*weight, *depth);
        self.copied += weight;
        if self.copied > MAX_COPIED || self.stack.len() + depth > MAX_DEPTH {
            return self.too_much(at);
        }
        let node = node.clone();
        self.attach(node, weight, depth);
        Ok(())
    }

    /// Remembers an anchored value for its aliases.
    fn keep(
        &mut self,
        anchor: usize,
        node: &Node,
        weight: usize,
        depth: usize,
        at: Position,
    ) -> Result<(), Stop> {
        if anchor == 0 {
            return Ok(());
        }
        self.copied += weight;
        if self.copied > MAX_COPIED {
            return self.too_much(at);
        }
        self.anchors.insert(anchor, Anchored { node: node.clone(), weight, depth });
        Ok(())
    }

    fn attach(&mut self, node: Node, node_weight: usize, node_depth: usize) {
        let Some(Frame { open, weight, depth, .. }) = self.stack.last_mut() else {
            self.root.get_or_insert(node);
            return;
        };
        *weight += node_weight;
        *depth = (*depth).max(node_depth);
        match open {
            Open::List { items } => items.push(node),
            Open::Map { entries, seen, key } => {
                let Some((name, at)) = key.take() else { return };
                *weight += name.len();
                // Told already: a name that is bad or taken.
                if name.is_empty() || seen.contains_key(&name) {
                    return;
                }
                seen.insert(name.clone(), at);
                entries.push(Entry { key: name, at: Some(at), node });
            }
        }
    }

    fn expects_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { open: Open::Map { key: None, .. }, .. }))
    }

    /// Puts an empty name in the place of a bad one, so that the value that follows has somewhere to go.
    fn skip_key(&mut self, at: Position) {
        if let Some(Frame { open: Open::Map { key, .. }, .. }) = self.stack.last_mut() {
            *key = Some((String::new(), at));
        }
    }

    fn take_key(&mut self, name: String, at: Position) {
        if name.is_empty() {
            self.report(at, "a field has no name", "write its name before the `:`");
        }
        let mut first = None;
        if let Some(Frame { open: Open::Map { seen, key, .. }, .. }) = self.stack.last_mut() {
            first = seen.get(&name).copied();
            *key = Some((name.clone(), at));
        }
        if let Some(first) = first {
            let message = format!("`{}` is written twice, first on line {}", shown(&name), first.line);
            self.report(at, message, "keep one of the two");
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, at: Position) -> Node {
        if let Some(c) = text.chars().find(|c| is_invisible(*c)) {
            let message = format!("this value holds the invisible character U+{:04X}", u32::from(c));
            self.report(at, message, "delete the value and type it again");
        }
        let as_text = match tag {
            None => style != ScalarStyle::Plain,
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => true,
            Some(_) => {
                let fix = "drop the tag, and quote the value if it is a text";
                self.report(at, "tags such as `!name` are not used here", fix);
                true
            }
        };
        let kind = if as_text { Kind::Text(text.to_owned()) } else { plain(text) };
        let source = (!matches!(kind, Kind::Text(_))).then(|| text.to_owned());
        Node { at: Some(at), kind, source }
    }

    fn count(&mut self, at: Position) -> Result<(), Stop> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return self.stop(at, format!("there are more than {MAX_VALUES} values"), "split the document");
        }
        Ok(())
    }

    fn too_much(&mut self, at: Position) -> Result<(), Stop> {
        self.stop(at, "anchors and aliases make this document too large", "write the values out")
    }

    fn stop(&mut self, at: Position, message: impl Into<String>, fix: &str) -> Result<(), Stop> {
        self.report(at, message, fix);
        self.root = None;
        Err(Stop)
    }

    fn report(&mut self, at: Position, message: impl Into<String>, fix: &str) {
        let mistake =
            Mistake { at: Some(at), path: self.path(), message: message.into(), fix: fix.to_owned() };
        self.mistakes.push(mistake);
    }

    fn path(&self) -> String {
        self.stack.iter().fold(String::new(), |path, frame| match &frame.open {
            Open::List { items } => join_index(&path, items.len()),
            Open::Map { key: Some((key, _)), .. } => join_key(&path, key),
            Open::Map { key: None, .. } => path,
        })
    }
}

/// An unquoted value, as YAML 1.2's core schema reads it. `on`, `off`, `yes` and `no` are texts.
fn plain(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" | "True" | "TRUE" => return Kind::Bool(true),
        "false" | "False" | "FALSE" => return Kind::Bool(false),
        _ => {}
    }
    let based = |prefix, radix| {
        text.strip_prefix(prefix)
            .filter(|t| !t.starts_with('+'))
            .and_then(|t| u64::from_str_radix(t, radix).ok())
    };
    if let Some(number) = based("0x", 16).or_else(|| based("0o", 8)) {
        return Kind::Number(number.into());
    }
    if let Ok(number) = text.parse::<i64>() {
        return Kind::Number(number.into());
    }
    let is_decimal = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
        && text.bytes().any(|b| b.is_ascii_digit());
    match text.parse::<f64>().ok().filter(|_| is_decimal).and_then(Number::from_f64) {
        Some(number) => Kind::Number(number),
        None => Kind::Text(text.to_owned()),
    }
}

fn position(marker: &Marker) -> Position {
    Position { line: marker.line().max(1), column: marker.col() + 1 }
}

fn empty_document() -> Mistake {
    Mistake {
        at: None,
        path: String::new(),
        message: "the document is empty".to_owned(),
        fix: "write its fields".to_owned(),
    }
}

/// The parser's one complaint in our words; for tabs, every line that is indented with one.
fn syntax_mistakes(text: &str, error: &ScanError) -> Vec<Mistake> {
    let mistake = |at, message: String, fix: &str| Mistake {
        at: Some(at),
        path: String::new(),
        message,
        fix: fix.to_owned(),
    };
    let at = position(error.marker());
    let tabbed = |line: &str| line[..line.len() - line.trim_start_matches([' ', '\t']).len()].contains('\t');
    let near = at.line.saturating_sub(2);
    if text.lines().skip(near).take(2).any(tabbed) {
        return text
            .lines()
            .enumerate()
            .filter(|(_, line)| tabbed(line))
            .map(|(nth, line)| Position { line: nth + 1, column: line.find('\t').unwrap_or(0) + 1 })
            .map(|at| mistake(at, "a tab indents this line".to_owned(), "indent with spaces"))
            .collect();
    }
    let info = error.info();
    let fix = if info.contains("unknown anchor") {
        "define the anchor (`&name`) above its alias (`*name`)"
    } else if info.contains("mapping values are not allowed") || info.contains("simple key expect") {
        "indent this line like its neighbours, and quote a value that holds `: `"
    } else if info.contains("invalid indentation") {
        "indent this line more than the field it belongs to; a closing bracket too"
    } else if info.contains("flow") || info.contains("bracket") || info.contains("expected ',' or") {
        "close every `[` and `{`, and put commas between the items"
    } else if info.contains("quoted") {
        "close the quote, and double any quote of the same kind inside"
    } else if info.contains("unexpected character") {
        "quote a value that begins with `@`, `%` or a backtick"
    } else {
        "check indentation, quotes and brackets here and on the line before"
    };
    vec![mistake(at, format!("this is not YAML: {}", shown(info)), fix)]
}
