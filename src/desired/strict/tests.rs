//! The reader and the schema, on a small document of their own.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{Document, Schema};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only the schema of it is looked at")]
struct Menu {
    /// What the menu is called.
    title: String,
    #[serde(default)]
    open: bool,
    #[serde(default)]
    #[schemars(length(max = 3))]
    dishes: Vec<Dish>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only the schema of it is looked at")]
struct Dish {
    name: String,
    #[serde(default)]
    price_cents: u32,
}

fn told(text: &str) -> String {
    let schema = Schema::of::<Menu>();
    match Document::from_yaml(text).and_then(|document| schema.read::<Menu>(&document)) {
        Ok(_) => "fine".to_owned(),
        Err(mistakes) => mistakes.to_string(),
    }
}

#[test]
fn good_texts_are_read() {
    assert_eq!(told("title: a\ndishes:\n- name: b\n  priceCents: 0x10"), "fine");
    assert_eq!(told("\u{feff}---\ntitle: >\n  folded\n  text\n...\n"), "fine");
    assert_eq!(told(r#"{"title": "json", "dishes": [{"name": "a\u00e9\n"}]}"#), "fine");
    assert_eq!(told("title: !!str 5"), "fine");
    assert_eq!(told("title: a\r\nopen: true\r\n"), "fine");
    assert_eq!(told("title: yes\nopen: True\n"), "fine", "`yes` is a text in YAML 1.2");
}

#[test]
fn anchors_repeat_a_value() {
    assert_eq!(told("title: a\ndishes:\n- &soup { name: soup }\n- *soup\n"), "fine");
    insta::assert_snapshot!(
        told("title: a\ndishes:\n- &soup { name: 5 }\n- *soup\n- <<: *soup\n"),
        @r#"
    line 3, dishes[0].name: this should be a text and is `5`; fix: quote it: "5"

    line 3, dishes[1].name: this should be a text and is `5`; fix: quote it: "5"

    line 5, dishes[2]: `name` is missing; fix: add `name: …`

    line 5, dishes[2]["<<"]: merge keys (`<<`) are not part of YAML 1.2; fix: write the fields out
    "#
    );
}

#[test]
fn types_are_told_in_words() {
    insta::assert_snapshot!(
        told("title: 1e3\nopen: \"yes\"\ndishes:\n  - soup\n  - { name: [], priceCents: -1 }\n  - { name: , priceCents: 1.5 }\n  - name: a\n"),
        @r#"
    line 1, title: this should be a text and is `1e3`; fix: quote it: "1e3"

    line 2, open: this should be `true` or `false` and is `yes`; fix: write `true` or `false`, without quotes

    line 4, dishes: there are 4 entries, and at most 3 are allowed; fix: remove some

    line 4, dishes[0]: this should be a mapping and is `soup`; fix: write `field: value` lines, indented below this one

    line 5, dishes[1].name: this should be a text and is a list; fix: write a text

    line 5, dishes[1].priceCents: `-1` is too small; fix: write 0 or more

    line 6, dishes[2].name: this is empty and should be a text; fix: write a value, or leave the field out

    line 6, dishes[2].priceCents: this should be a whole number and is `1.5`; fix: write a whole number, without quotes
    "#
    );
}

#[test]
fn names_are_told_once() {
    insta::assert_snapshot!(
        told("tilte: a\nopen: true\nopen: false\ncolour: red\n? [a]\n: b\n"),
        @r"
    line 1, tilte: unknown field; fix: write `title`

    line 3, open: `open` is written twice, first on line 2; fix: keep one of the two

    line 4, colour: unknown field; fix: drop it; the fields here are `title`, `open`, `dishes`

    line 5: a list or a mapping stands where a field's name belongs; fix: write a plain name
    "
    );
}

#[test]
fn broken_texts_are_told() {
    insta::assert_snapshot!(told(""), @"the document is empty; fix: write its fields");
    insta::assert_snapshot!(told("# nothing\n"), @"the document is empty; fix: write its fields");
    insta::assert_snapshot!(told("title: a: b\n"), @"line 1: this is not YAML: mapping values are not allowed in this context; fix: indent this line like its neighbours, and quote a value that holds `: `");
    insta::assert_snapshot!(told("title: [a\n"), @"line 2: this is not YAML: while parsing a flow sequence, expected ',' or ']'; fix: close every `[` and `{`, and put commas between the items");
    insta::assert_snapshot!(told("title: 'a\n"), @"line 1: this is not YAML: while scanning a quoted scalar, found unexpected end of stream; fix: close the quote, and double any quote of the same kind inside");
    insta::assert_snapshot!(told("title: @a\n"), @"line 1: this is not YAML: unexpected character: `@'; fix: quote a value that begins with `@`, `%` or a backtick");
    insta::assert_snapshot!(told("title: *a\n"), @"line 1: this is not YAML: while parsing node, found unknown anchor; fix: define the anchor (`&name`) above its alias (`*name`)");
    insta::assert_snapshot!(told("title: a\ndishes:\n\t- name: b\n\t  priceCents: 1\n"), @r"
    line 3: a tab indents this line; fix: indent with spaces

    line 4: a tab indents this line; fix: indent with spaces
    ");
    insta::assert_snapshot!(told("title: a\n---\ntitle: b\n"), @"line 2: a second document begins here; fix: keep one document in a file, and drop the `---`");
    insta::assert_snapshot!(told("title: !secret a\n"), @"line 1, title: tags such as `!name` are not used here; fix: drop the tag, and quote the value if it is a text");
    insta::assert_snapshot!(told("title: \"a\u{202e}b\"\n"), @"line 1, title: this value holds the invisible character U+202E; fix: delete the value and type it again");
    insta::assert_snapshot!(told("title: &a [*a]\n"), @"line 1, title[0]: this alias stands inside the value that it repeats; fix: write the value out");
}

#[test]
fn too_much_is_refused() {
    insta::assert_snapshot!(told(&"x".repeat(2 << 20)), @"the text has 2097152 bytes, and at most 1048576 are read; fix: check that this is the right file, or split it");
    insta::assert_snapshot!(told(&format!("title: {}", "[".repeat(100))), @"line 1, title[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]: values are nested more than 32 deep; fix: check brackets and indentation");
    insta::assert_snapshot!(told(&format!("dishes: [{}]", "a,".repeat(200_000))), @"line 1, dishes[99997]: there are more than 100000 values; fix: split the document");
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..10 {
        let row = format!("*a{},", n - 1).repeat(9);
        bomb.push_str(&format!("a{n}: &a{n} [{row}]\n"));
    }
    insta::assert_snapshot!(told(&bomb), @"line 5, a4: anchors and aliases make this document too large; fix: write the values out");
    let many = told(&format!("title: a\ndishes: [{}]", "5,".repeat(90_000)));
    assert!(many.ends_with("\n\nand 89901 more"), "{}", &many[many.len() - 80..]);
}

#[test]
fn values_from_elsewhere_have_paths_and_no_lines() {
    let schema = Schema::of::<Menu>();
    let document = Document::from_value(json!({"title": 5, "dishes": [{"nam": "a"}]}));
    insta::assert_snapshot!(schema.read::<Menu>(&document).unwrap_err(), @r#"
    dishes[0].nam: unknown field; fix: write `name`

    title: this should be a text and is `5`; fix: quote it: "5"
    "#);
}

#[test]
fn mistakes_serialize_with_their_place() {
    let schema = Schema::of::<Menu>();
    let mistakes = schema.check(&Document::from_yaml("title: a\nopen: 1").unwrap());
    insta::assert_snapshot!(serde_json::to_string(&mistakes).unwrap(), @r#"{"mistakes":[{"line":2,"column":7,"path":"open","message":"this should be `true` or `false` and is `1`","fix":"write `true` or `false`, without quotes"}],"notShown":0}"#);
}
