//! Routing queries: the conditions of routes, taken apart.
//!
//! What there is: literals, application properties (bare, or in braces), `$`-system properties,
//! `$body.x`, `$twin.x`, comparisons, `IN`, arithmetic, `AND`, `OR`, `NOT`, parentheses and the
//! documented functions. `query_eval` gives them values.
//! <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-routing-query-syntax>

use serde_json::{Value, json};

/// Deepest nesting that is read, and most tokens: neither overflows the stack.
const DEPTH: usize = 64;
const LENGTH: usize = 2000;

/// The functions that the service documents.
const FUNCTIONS: [&str; 26] = [
    "abs",
    "exp",
    "power",
    "square",
    "ceiling",
    "floor",
    "sign",
    "sqrt",
    "as_number",
    "is_array",
    "is_bool",
    "is_defined",
    "is_null",
    "is_number",
    "is_object",
    "is_primitive",
    "is_string",
    "concat",
    "length",
    "lower",
    "upper",
    "substring",
    "index_of",
    "starts_with",
    "ends_with",
    "contains",
];

/// A condition or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Literal(Value),
    /// An application property.
    Property(String),
    /// A system property.
    System(String),
    Body(Vec<Step>),
    Twin(Vec<Step>),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    Pair(Box<Expr>, Operator, Box<Expr>),
    Among(Box<Expr>, Vec<Expr>),
    Call(String, Vec<Expr>),
}

/// A step into a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Member(String),
    Item(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Plus,
    Minus,
    Times,
    Divided,
    Modulo,
}

/// What is wrong with a condition, and where: columns of its only line, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) message: String,
    start: usize,
    end: usize,
}

impl Mistake {
    /// As an element of `details.compilationErrors`.
    pub(super) fn view(&self) -> Value {
        json!({
            "message": self.message,
            "severity": "error",
            "location": {
                "start": {"line": 1, "column": self.start},
                "end": {"line": 1, "column": self.end},
            },
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    /// In braces: an application property, whatever it is called.
    Braced(String),
    Dollar(String),
    Text(String),
    Number(f64),
    Sign(&'static str),
}

struct Parser {
    tokens: Vec<(Token, usize, usize)>,
    at: usize,
    depth: usize,
    length: usize,
}

/// Takes a condition apart.
pub(super) fn parse(condition: &str) -> Result<Expr, Mistake> {
    let tokens = tokens(condition)?;
    if let Some((_, start, end)) = tokens.get(LENGTH) {
        let message = "the condition is too long".to_owned();
        return Err(Mistake { message, start: *start, end: *end });
    }
    let mut parser = Parser { tokens, at: 0, depth: 0, length: condition.chars().count() };
    let expr = parser.either()?;
    match parser.tokens.get(parser.at) {
        None => Ok(expr),
        Some(_) => Err(parser.mistake("the condition should end here")),
    }
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn tokens(text: &str) -> Result<Vec<(Token, usize, usize)>, Mistake> {
    const SIGNS: [&str; 17] =
        ["<=", ">=", "!=", "<>", "=", "<", ">", "+", "-", "*", "/", "%", "(", ")", ",", ".", "["];
    let letters: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&letter) = letters.get(at) {
        let start = at;
        let rest = &letters[at..];
        let run = |from: usize, fits: &dyn Fn(char) -> bool| {
            let tail = letters.get(from..).unwrap_or_default();
            tail.iter().take_while(|letter| fits(**letter)).collect::<String>()
        };
        let token = if letter.is_whitespace() {
            at += 1;
            continue;
        } else if letter == '\'' || letter == '"' || letter == '{' {
            let close = if letter == '{' { '}' } else { letter };
            let inner = run(at + 1, &|letter| letter != close);
            at += inner.chars().count() + 2;
            if at > letters.len() {
                let message = format!("`{close}` is missing");
                return Err(Mistake { message, start: start + 1, end: letters.len() + 1 });
            }
            if letter == '{' { Token::Braced(inner) } else { Token::Text(inner) }
        } else if letter.is_ascii_digit() {
            let digits = run(at, &|letter| letter.is_ascii_digit() || letter == '.');
            at += digits.len();
            let number = digits.parse().map_err(|_| Mistake {
                message: format!("`{digits}` is not a number"),
                start: start + 1,
                end: at + 1,
            })?;
            Token::Number(number)
        } else if letter == '$' {
            let name = run(at + 1, &is_name);
            at += name.chars().count() + 1;
            Token::Dollar(name)
        } else if is_name(letter) {
            let name = run(at, &is_name);
            at += name.chars().count();
            Token::Word(name)
        } else {
            let starts =
                |sign: &&&str| sign.chars().zip(rest).all(|(a, b)| a == *b) && sign.len() <= rest.len();
            let sign = SIGNS.iter().chain(&["]"]).find(starts).ok_or_else(|| Mistake {
                message: format!("`{letter}` is not expected"),
                start: start + 1,
                end: start + 2,
            })?;
            at += sign.len();
            Token::Sign(sign)
        };
        found.push((token, start + 1, at + 1));
    }
    Ok(found)
}

impl Parser {
    fn mistake(&self, message: &str) -> Mistake {
        let end = (self.length + 1, self.length + 1);
        let (start, end) = self.tokens.get(self.at).map_or(end, |(_, start, end)| (*start, *end));
        Mistake { message: message.to_owned(), start, end }
    }

    fn sign(&mut self, wanted: &[&str]) -> Option<&'static str> {
        match self.tokens.get(self.at) {
            Some((Token::Sign(sign), ..)) if wanted.contains(sign) => {
                self.at += 1;
                Some(sign)
            }
            _ => None,
        }
    }

    fn expect(&mut self, wanted: &str) -> Result<(), Mistake> {
        self.sign(&[wanted]).map(|_| ()).ok_or_else(|| self.mistake(&format!("`{wanted}` is expected")))
    }

    fn keyword(&mut self, wanted: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some((Token::Word(word), ..)) if word.eq_ignore_ascii_case(wanted));
        self.at += usize::from(found);
        found
    }

    fn either(&mut self) -> Result<Expr, Mistake> {
        if self.depth == DEPTH {
            return Err(self.mistake("the condition is nested too deeply"));
        }
        self.depth += 1;
        let mut left = self.both()?;
        while self.keyword("OR") {
            left = Expr::Pair(Box::new(left), Operator::Or, Box::new(self.both()?));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn both(&mut self) -> Result<Expr, Mistake> {
        let mut left = self.not()?;
        while self.keyword("AND") {
            left = Expr::Pair(Box::new(left), Operator::And, Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr, Mistake> {
        let mut times = 0_usize;
        while self.keyword("NOT") {
            times += 1;
        }
        let inner = self.comparison()?;
        // Twice is not the same as never: it still wants a truth value.
        Ok((0..times.min(2 + times % 2)).fold(inner, |inner, _| Expr::Not(Box::new(inner))))
    }

    fn comparison(&mut self) -> Result<Expr, Mistake> {
        let left = self.sum()?;
        if self.keyword("IN") {
            return Ok(Expr::Among(Box::new(left), self.list()?));
        }
        let before = self.at;
        if self.keyword("NOT") {
            if self.keyword("IN") {
                return Ok(Expr::Not(Box::new(Expr::Among(Box::new(left), self.list()?))));
            }
            self.at = before;
        }
        let Some(sign) = self.sign(&["=", "!=", "<>", "<=", ">=", "<", ">"]) else { return Ok(left) };
        let operator = match sign {
            "=" => Operator::Equal,
            "<" => Operator::Less,
            "<=" => Operator::LessOrEqual,
            ">" => Operator::Greater,
            ">=" => Operator::GreaterOrEqual,
            _ => Operator::Unequal,
        };
        Ok(Expr::Pair(Box::new(left), operator, Box::new(self.sum()?)))
    }

    fn sum(&mut self) -> Result<Expr, Mistake> {
        let mut left = self.product()?;
        while let Some(sign) = self.sign(&["+", "-"]) {
            let operator = if sign == "+" { Operator::Plus } else { Operator::Minus };
            left = Expr::Pair(Box::new(left), operator, Box::new(self.product()?));
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Expr, Mistake> {
        let mut left = self.single()?;
        while let Some(sign) = self.sign(&["*", "/", "%"]) {
            let operator = match sign {
                "*" => Operator::Times,
                "/" => Operator::Divided,
                _ => Operator::Modulo,
            };
            left = Expr::Pair(Box::new(left), operator, Box::new(self.single()?));
        }
        Ok(left)
    }

    /// `(a, b)`
    fn list(&mut self) -> Result<Vec<Expr>, Mistake> {
        self.expect("(")?;
        let mut items = Vec::new();
        if self.sign(&[")"]).is_some() {
            return Ok(items);
        }
        loop {
            items.push(self.either()?);
            if self.sign(&[","]).is_none() {
                break;
            }
        }
        self.expect(")")?;
        Ok(items)
    }

    fn steps(&mut self) -> Result<Vec<Step>, Mistake> {
        let mut steps = Vec::new();
        loop {
            if self.sign(&["."]).is_some() {
                let (Token::Word(name) | Token::Braced(name)) = self.next("a name is expected")? else {
                    self.at -= 1;
                    return Err(self.mistake("a name is expected"));
                };
                steps.push(Step::Member(name));
            } else if self.sign(&["["]).is_some() {
                let index = match self.next("an index is expected")? {
                    Token::Text(name) => Step::Member(name),
                    Token::Number(number) if number.fract() == 0.0 && number < 1e6 => {
                        Step::Item(format!("{number}").parse().unwrap_or_default())
                    }
                    _ => {
                        self.at -= 1;
                        return Err(self.mistake("an index is expected"));
                    }
                };
                self.expect("]")?;
                steps.push(index);
            } else {
                return Ok(steps);
            }
        }
    }

    fn next(&mut self, wanted: &str) -> Result<Token, Mistake> {
        let token = self.tokens.get(self.at).map(|(token, ..)| token.clone());
        let token = token.ok_or_else(|| self.mistake(wanted))?;
        self.at += 1;
        Ok(token)
    }

    fn single(&mut self) -> Result<Expr, Mistake> {
        let mut negative = false;
        while self.sign(&["-"]).is_some() {
            negative = !negative;
        }
        let inner = match self.next("a value is expected")? {
            Token::Text(text) => Expr::Literal(json!(text)),
            Token::Number(number) => Expr::Literal(json!(number)),
            Token::Braced(name) => Expr::Property(name),
            Token::Dollar(name) => {
                let steps = self.steps()?;
                match name.to_ascii_lowercase().as_str() {
                    "body" => Expr::Body(steps),
                    "twin" => Expr::Twin(steps),
                    "" => return Err(self.mistake("a name is expected")),
                    _ => Expr::System(name),
                }
            }
            Token::Sign("(") => {
                let inner = self.either()?;
                self.expect(")")?;
                inner
            }
            Token::Word(word) => self.word(word)?,
            Token::Sign(_) => {
                self.at -= 1;
                return Err(self.mistake("a value is expected"));
            }
        };
        Ok(if negative { Expr::Negative(Box::new(inner)) } else { inner })
    }

    fn word(&mut self, word: String) -> Result<Expr, Mistake> {
        let lower = word.to_ascii_lowercase();
        if matches!(self.tokens.get(self.at), Some((Token::Sign("("), ..))) {
            if !FUNCTIONS.contains(&lower.as_str()) {
                self.at -= 1;
                return Err(self.mistake(&format!("there is no function `{word}`")));
            }
            return Ok(Expr::Call(lower, self.list()?));
        }
        Ok(match lower.as_str() {
            "true" => Expr::Literal(json!(true)),
            "false" => Expr::Literal(json!(false)),
            "null" => Expr::Literal(Value::Null),
            "and" | "or" | "in" | "not" => {
                self.at -= 1;
                return Err(self.mistake("a value is expected"));
            }
            _ => Expr::Property(word),
        })
    }
}
