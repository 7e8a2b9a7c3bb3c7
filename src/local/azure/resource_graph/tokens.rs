//! A query cut into words, literals and signs, each with its place.

use std::time::Duration;

use serde_json::{Value, json};

/// Longest query that is read, in tokens.
const LENGTH: usize = 2000;

/// What is wrong with a query, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    /// What kind of mistake it is, as the service names it.
    pub(super) code: &'static str,
    /// In words, where there is more to say than the code.
    pub(super) message: Option<String>,
    expected: Option<String>,
    token: String,
    line: usize,
    column: usize,
}

impl Mistake {
    /// As an element of `details`.
    pub(super) fn view(&self) -> Value {
        let mut view = json!({
            "code": self.code,
            "message": self.message.as_deref().unwrap_or(self.code),
            "line": self.line,
            "characterPositionInLine": self.column,
            "token": self.token,
        });
        if let Some(expected) = &self.expected {
            view["expectedToken"] = json!(expected);
        }
        view
    }

    pub(super) fn expecting(mut self, expected: &str) -> Self {
        self.expected = Some(expected.to_owned());
        self
    }

    pub(super) fn saying(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Word(String),
    Text(String),
    Long(i64),
    Real(f64),
    Span(Duration),
    Sign(&'static str),
    End,
}

/// A token with the text and the place that it has in the query: lines from 1, columns from 0.
#[derive(Debug, Clone)]
pub(super) struct Lexeme {
    pub(super) token: Token,
    text: String,
    line: usize,
    column: usize,
}

impl Lexeme {
    pub(super) fn mistake(&self, code: &'static str) -> Mistake {
        let Self { text, line, column, .. } = self;
        Mistake { code, message: None, expected: None, token: text.clone(), line: *line, column: *column }
    }
}

/// Longer ones first.
const SIGNS: [&str; 24] = [
    "==", "=~", "!=", "!~", "<=", ">=", "=", "<", ">", "|", "(", ")", "[", "]", ",", ".", "!", "~", "-", "+",
    "*", "/", "%", ";",
];

struct Lexer {
    letters: Vec<char>,
    at: usize,
    line: usize,
    line_start: usize,
}

/// Cuts a query; the last token is the end.
pub(super) fn tokens(query: &str) -> Result<Vec<Lexeme>, Mistake> {
    let mut lexer = Lexer { letters: query.chars().collect(), at: 0, line: 1, line_start: 0 };
    let mut found = Vec::new();
    loop {
        lexer.skip_space();
        let (start, line, column) = (lexer.at, lexer.line, lexer.at - lexer.line_start);
        let token = lexer.next();
        let text: String = match &token {
            Some(Token::End) => "<EOF>".to_owned(),
            Some(_) => lexer.letters.get(start..lexer.at).unwrap_or_default().iter().collect(),
            None => lexer.letters.get(start..).unwrap_or_default().iter().take(40).collect(),
        };
        let is_end = token == Some(Token::End);
        let lexeme = Lexeme { token: token.clone().unwrap_or(Token::End), text, line, column };
        if token.is_none() {
            return Err(lexeme.mistake("ParserFailure"));
        }
        if found.len() == LENGTH {
            return Err(lexeme.mistake("ParserFailure").saying("The query is too long."));
        }
        found.push(lexeme);
        if is_end {
            return Ok(found);
        }
    }
}

impl Lexer {
    fn letter(&self, ahead: usize) -> Option<char> {
        self.letters.get(self.at + ahead).copied()
    }

    /// Passes over blanks and comments.
    fn skip_space(&mut self) {
        while let Some(letter) = self.letter(0) {
            if letter == '\n' {
                self.line += 1;
                self.line_start = self.at + 1;
            } else if letter == '/' && self.letter(1) == Some('/') {
                while self.letter(1).is_some_and(|next| next != '\n') {
                    self.at += 1;
                }
            } else if !letter.is_whitespace() {
                return;
            }
            self.at += 1;
        }
    }

    fn run(&mut self, fits: impl Fn(char) -> bool) -> String {
        let rest = self.letters.get(self.at..).unwrap_or_default();
        let run: String = rest.iter().take_while(|letter| fits(**letter)).collect();
        self.at += run.chars().count();
        run
    }

    /// The next token; `None` where there is none.
    fn next(&mut self) -> Option<Token> {
        let Some(letter) = self.letter(0) else { return Some(Token::End) };
        if letter == '@' && matches!(self.letter(1), Some('\'' | '"')) {
            self.at += 1;
            return self.text(true);
        }
        if matches!(letter, '\'' | '"') {
            return self.text(false);
        }
        if letter.is_ascii_digit() {
            return self.number();
        }
        if letter.is_alphabetic() || letter == '_' || letter == '$' {
            return Some(Token::Word(
                self.run(|letter| letter.is_alphanumeric() || letter == '_' || letter == '$'),
            ));
        }
        let rest: String = self.letters.get(self.at..).unwrap_or_default().iter().take(2).collect();
        let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign))?;
        self.at += sign.len();
        Some(Token::Sign(sign))
    }

    /// A literal in quotes. In a verbatim one, a quote is written twice and a backslash is one.
    fn text(&mut self, verbatim: bool) -> Option<Token> {
        let quote = self.letter(0)?;
        let (mut at, mut text) = (self.at + 1, String::new());
        loop {
            let letter = *self.letters.get(at)?;
            at += 1;
            match letter {
                '\n' => return None,
                '\\' if !verbatim => {
                    text.push(match *self.letters.get(at)? {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        same @ ('\\' | '\'' | '"') => same,
                        _ => return None,
                    });
                    at += 1;
                }
                letter if letter == quote => {
                    if verbatim && self.letters.get(at) == Some(&quote) {
                        text.push(quote);
                        at += 1;
                        continue;
                    }
                    self.at = at;
                    return Some(Token::Text(text));
                }
                letter => text.push(letter),
            }
        }
    }

    /// A number, or with a unit a length of time.
    fn number(&mut self) -> Option<Token> {
        let mut digits = self.run(|letter| letter.is_ascii_digit());
        if self.letter(0) == Some('.') && self.letter(1).is_some_and(|next| next.is_ascii_digit()) {
            self.at += 1;
            digits = format!("{digits}.{}", self.run(|letter| letter.is_ascii_digit()));
        }
        let seconds = match self.run(|letter| letter.is_alphanumeric() || letter == '_').as_str() {
            "" if digits.contains('.') => return digits.parse().ok().map(Token::Real),
            "" => return digits.parse().ok().map(Token::Long),
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        let count: f64 = digits.parse().ok()?;
        Duration::try_from_secs_f64(count * seconds).ok().map(Token::Span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(query: &str) -> Vec<Token> {
        tokens(query).unwrap().into_iter().map(|lexeme| lexeme.token).collect()
    }

    #[test]
    fn literals_are_read_as_kusto_writes_them() {
        let text = |text: &str| Token::Text(text.to_owned());
        assert_eq!(
            cut(r#"'it\'s' "a'b" @'c:\d' @'e''f'"#)[..4],
            [text("it's"), text("a'b"), text(r"c:\d"), text("e'f")]
        );
        assert_eq!(
            cut("30m 1.5h 7 2.5 // rest\n!~")[..5],
            [
                Token::Span(Duration::from_secs(1800)),
                Token::Span(Duration::from_secs(5400)),
                Token::Long(7),
                Token::Real(2.5),
                Token::Sign("!~")
            ]
        );
    }

    #[test]
    fn a_mistake_tells_its_place() {
        for (query, line, column, token) in [
            ("resources | where a == 'b", 1, 23, "'b"),
            ("resources\n| # ", 2, 2, "# "),
            ("take 5x", 1, 5, "5x"),
        ] {
            let view = tokens(query).unwrap_err().view();
            assert_eq!(
                (view["line"].as_u64(), view["characterPositionInLine"].as_u64()),
                (Some(line), Some(column))
            );
            assert_eq!((&view["token"], &view["code"]), (&json!(token), &json!("ParserFailure")), "{query}");
        }
    }
}
