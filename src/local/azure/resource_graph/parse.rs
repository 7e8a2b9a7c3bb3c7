//! A query taken apart: a table, and what is done to its rows, one operator after the other.
//!
//! <https://learn.microsoft.com/azure/governance/resource-graph/concepts/query-language>

use std::time::Duration;

use super::tokens::{Lexeme, Mistake, Token, tokens};

/// Deepest nesting that is read.
const DEPTH: usize = 64;

/// A query.
pub(super) struct Query {
    /// Where in the query which token is; expressions name theirs by its number.
    pub(super) lexemes: Vec<Lexeme>,
    /// The table; left out, it is `resources`.
    pub(super) table: Option<(usize, String)>,
    pub(super) stages: Vec<Stage>,
}

pub(super) enum Stage {
    Where(Expr),
    Project(Vec<Named>),
    /// Names of columns, of which `*` may stand for a part.
    ProjectAway(Vec<(usize, String)>),
    Extend(Vec<Named>),
    Order(Vec<Key>),
    Take(usize),
    Top(usize, Vec<Key>),
    Count,
    Distinct(Vec<Named>),
    Summarize {
        aggregates: Vec<Named>,
        by: Vec<Named>,
    },
}

/// An expression, perhaps with a name of its own.
pub(super) struct Named {
    pub(super) name: Option<String>,
    pub(super) expr: Expr,
}

pub(super) struct Key {
    pub(super) expr: Expr,
    pub(super) descending: bool,
    pub(super) nulls_first: bool,
}

/// An expression, with the token that it is told by.
pub(super) struct Expr {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Text(String),
    Long(i64),
    Real(f64),
    Bool(bool),
    Span(Duration),
    Name(String),
    Member(Box<Expr>, String),
    Item(Box<Expr>, usize),
    Call(String, Vec<Expr>),
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Compare(Box<Expr>, Comparison, Box<Expr>),
    Match { left: Box<Expr>, how: Matching, right: Box<Expr> },
    Among { left: Box<Expr>, items: Vec<Expr>, cased: bool, negated: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// How two texts are held against each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Matching {
    pub(super) part: Part,
    pub(super) cased: bool,
    pub(super) negated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    Anywhere,
    Start,
    End,
    /// A word between signs.
    Term,
}

/// Takes a query apart.
pub(super) fn parse(text: &str) -> Result<Query, Mistake> {
    let mut parser = Parser { lexemes: tokens(text)?, at: 0, depth: 0 };
    let mut stages = Vec::new();
    let table = match (parser.peek(0), parser.peek(1)) {
        // The table may be left out; then the query begins with an operator.
        (Token::Word(name), Token::Sign("|") | Token::End) if name != "count" => {
            let table = (parser.at, name.clone());
            parser.at += 1;
            Some(table)
        }
        _ => {
            stages.push(parser.stage()?);
            None
        }
    };
    while parser.sign(&["|"]).is_some() {
        stages.push(parser.stage()?);
    }
    match parser.peek(0) {
        Token::End => Ok(Query { lexemes: parser.lexemes, table, stages }),
        _ => Err(parser.unexpected("'|'")),
    }
}

struct Parser {
    lexemes: Vec<Lexeme>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self, ahead: usize) -> &Token {
        self.lexemes.get(self.at + ahead).map_or(&Token::End, |lexeme| &lexeme.token)
    }

    fn mistake(&self, code: &'static str, at: usize) -> Mistake {
        let last = self.lexemes.len().saturating_sub(1);
        self.lexemes[at.min(last)].mistake(code)
    }

    fn too_deep(&self) -> Mistake {
        self.mistake("ParserFailure", self.at).saying("The query is nested too deeply.")
    }

    fn unexpected(&self, expected: &str) -> Mistake {
        self.mistake("ParserFailure", self.at).expecting(expected)
    }

    fn sign(&mut self, wanted: &[&str]) -> Option<&'static str> {
        match self.peek(0) {
            Token::Sign(sign) if wanted.contains(sign) => {
                let sign = *sign;
                self.at += 1;
                Some(sign)
            }
            _ => None,
        }
    }

    fn expect(&mut self, wanted: &str) -> Result<(), Mistake> {
        self.sign(&[wanted]).map(|_| ()).ok_or_else(|| self.unexpected(&format!("'{wanted}'")))
    }

    fn keyword(&mut self, wanted: &str) -> bool {
        let found = matches!(self.peek(0), Token::Word(word) if word == wanted);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, expected: &str) -> Result<String, Mistake> {
        let Token::Word(word) = self.peek(0) else { return Err(self.unexpected(expected)) };
        let word = word.clone();
        self.at += 1;
        Ok(word)
    }

    fn whole_number(&mut self) -> Result<usize, Mistake> {
        let Token::Long(number) = self.peek(0) else { return Err(self.unexpected("a number")) };
        let number = usize::try_from(*number).map_err(|_| self.unexpected("a number"))?;
        self.at += 1;
        Ok(number)
    }

    /// Names of operators are told apart by case, as in Kusto.
    fn stage(&mut self) -> Result<Stage, Mistake> {
        let start = self.at;
        let mut operator = self.word("an operator")?;
        if matches!((self.peek(0), self.peek(1)), (Token::Sign("-"), Token::Word(_))) {
            self.at += 1;
            operator = format!("{operator}-{}", self.word("a name")?);
        }
        Ok(match operator.as_str() {
            "where" | "filter" => Stage::Where(self.either()?),
            "project" => Stage::Project(self.list(Self::named)?),
            "project-away" => Stage::ProjectAway(self.list(Self::pattern)?),
            "extend" => Stage::Extend(self.list(Self::named)?),
            "distinct" => Stage::Distinct(self.list(Self::named)?),
            "order" | "sort" => {
                if !self.keyword("by") {
                    return Err(self.unexpected("'by'"));
                }
                Stage::Order(self.list(Self::key)?)
            }
            "take" | "limit" => Stage::Take(self.whole_number()?),
            "top" => {
                let count = self.whole_number()?;
                if !self.keyword("by") {
                    return Err(self.unexpected("'by'"));
                }
                Stage::Top(count, self.list(Self::key)?)
            }
            "count" => Stage::Count,
            "summarize" => {
                let aggregates = match self.peek(0) {
                    Token::Word(word) if word == "by" => Vec::new(),
                    _ => self.list(Self::named)?,
                };
                let by = if self.keyword("by") { self.list(Self::named)? } else { Vec::new() };
                Stage::Summarize { aggregates, by }
            }
            _ => return Err(self.mistake("InvalidQueryLanguage", start)),
        })
    }

    /// One or more, between commas.
    fn list<T>(&mut self, one: impl Fn(&mut Self) -> Result<T, Mistake>) -> Result<Vec<T>, Mistake> {
        let mut all = vec![one(self)?];
        while self.sign(&[","]).is_some() {
            all.push(one(self)?);
        }
        Ok(all)
    }

    fn named(&mut self) -> Result<Named, Mistake> {
        let name = match (self.peek(0), self.peek(1)) {
            (Token::Word(name), Token::Sign("=")) => Some(name.clone()),
            _ => None,
        };
        self.at += if name.is_some() { 2 } else { 0 };
        Ok(Named { name, expr: self.either()? })
    }

    fn pattern(&mut self) -> Result<(usize, String), Mistake> {
        let (start, mut pattern) = (self.at, String::new());
        loop {
            match self.peek(0) {
                Token::Word(word) => pattern.push_str(word),
                Token::Sign("*") => pattern.push('*'),
                _ if pattern.is_empty() => return Err(self.unexpected("a column")),
                _ => return Ok((start, pattern)),
            }
            self.at += 1;
        }
    }

    fn key(&mut self) -> Result<Key, Mistake> {
        let expr = self.either()?;
        let descending = !self.keyword("asc");
        if descending {
            self.keyword("desc");
        }
        // Unless it is said, what is null is the least.
        let mut nulls_first = !descending;
        if self.keyword("nulls") {
            nulls_first = self.keyword("first");
            if !nulls_first && !self.keyword("last") {
                return Err(self.unexpected("'last'"));
            }
        }
        Ok(Key { expr, descending, nulls_first })
    }

    fn either(&mut self) -> Result<Expr, Mistake> {
        if self.depth == DEPTH {
            return Err(self.too_deep());
        }
        self.depth += 1;
        let either = self.chain("or", Self::both, Kind::Any);
        self.depth -= 1;
        either
    }

    fn both(&mut self) -> Result<Expr, Mistake> {
        self.chain("and", Self::comparison, Kind::All)
    }

    /// One part, or several with a word between them: a list, so that long chains are not deep.
    fn chain(
        &mut self,
        word: &str,
        part: impl Fn(&mut Self) -> Result<Expr, Mistake>,
        kind: impl Fn(Vec<Expr>) -> Kind,
    ) -> Result<Expr, Mistake> {
        let first = part(self)?;
        let at = self.at;
        if !self.keyword(word) {
            return Ok(first);
        }
        let mut parts = vec![first, part(self)?];
        while self.keyword(word) {
            parts.push(part(self)?);
        }
        Ok(Expr { at, kind: kind(parts) })
    }

    fn comparison(&mut self) -> Result<Expr, Mistake> {
        let (left, at) = (self.path()?, self.at);
        let whole = |negated| Matching { part: Part::Whole, cased: false, negated };
        if let Some(sign) = self.sign(&["==", "!=", "<=", ">=", "<", ">", "=~", "!~"]) {
            let (left, right) = (Box::new(left), Box::new(self.path()?));
            let comparison = match sign {
                "==" => Comparison::Equal,
                "!=" => Comparison::Unequal,
                "<=" => Comparison::LessOrEqual,
                ">=" => Comparison::GreaterOrEqual,
                "<" => Comparison::Less,
                ">" => Comparison::Greater,
                sign => return Ok(Expr { at, kind: Kind::Match { left, how: whole(sign == "!~"), right } }),
            };
            return Ok(Expr { at, kind: Kind::Compare(left, comparison, right) });
        }
        let negated = self.sign(&["!"]).is_some();
        let Token::Word(word) = self.peek(0) else {
            return if negated { Err(self.unexpected("an operator")) } else { Ok(left) };
        };
        let (word, cased) = match word.strip_suffix("_cs") {
            Some(word) => (word.to_owned(), true),
            None => (word.clone(), false),
        };
        let part = match word.as_str() {
            "contains" => Part::Anywhere,
            "startswith" => Part::Start,
            "endswith" => Part::End,
            "has" => Part::Term,
            "in" if !cased => {
                self.at += 1;
                let cased = self.sign(&["~"]).is_none();
                self.expect("(")?;
                let items = self.list(Self::either)?;
                self.expect(")")?;
                return Ok(Expr { at, kind: Kind::Among { left: Box::new(left), items, cased, negated } });
            }
            _ if negated => return Err(self.unexpected("an operator")),
            _ => return Ok(left),
        };
        self.at += 1;
        let (left, right) = (Box::new(left), Box::new(self.path()?));
        Ok(Expr { at, kind: Kind::Match { left, how: Matching { part, cased, negated }, right } })
    }

    /// A value, and the way into it.
    fn path(&mut self) -> Result<Expr, Mistake> {
        let mut value = self.single()?;
        for _ in 0..DEPTH {
            if self.sign(&["."]).is_some() {
                let at = self.at;
                let name = self.word("a name")?;
                value = Expr { at, kind: Kind::Member(Box::new(value), name) };
            } else if self.sign(&["["]).is_some() {
                let at = self.at;
                let kind = match self.peek(0).clone() {
                    Token::Text(name) => Kind::Member(Box::new(value), name),
                    Token::Long(number) => {
                        let number = usize::try_from(number).map_err(|_| self.unexpected("an index"))?;
                        Kind::Item(Box::new(value), number)
                    }
                    _ => return Err(self.unexpected("an index")),
                };
                self.at += 1;
                self.expect("]")?;
                value = Expr { at, kind };
            } else {
                return Ok(value);
            }
        }
        Err(self.too_deep())
    }

    fn single(&mut self) -> Result<Expr, Mistake> {
        let at = self.at;
        let kind = match self.peek(0).clone() {
            Token::Text(text) => Kind::Text(text),
            Token::Long(number) => Kind::Long(number),
            Token::Real(number) => Kind::Real(number),
            Token::Span(span) => Kind::Span(span),
            Token::Sign("(") => {
                self.at += 1;
                let inner = self.either()?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Sign("[") if matches!(self.peek(1), Token::Text(_)) => {
                // A column whose name is no word.
                self.at += 1;
                let Token::Text(name) = self.peek(0).clone() else { return Err(self.unexpected("a name")) };
                self.at += 1;
                self.expect("]")?;
                return Ok(Expr { at: at + 1, kind: Kind::Name(name) });
            }
            Token::Word(word) => match (word.as_str(), self.peek(1)) {
                (_, Token::Sign("(")) => {
                    self.at += 2;
                    let items = match self.peek(0) {
                        Token::Sign(")") => Vec::new(),
                        _ => self.list(Self::either)?,
                    };
                    self.expect(")")?;
                    return Ok(Expr { at, kind: Kind::Call(word, items) });
                }
                ("true" | "false", _) => Kind::Bool(word == "true"),
                ("and" | "or" | "by", _) => return Err(self.unexpected("a value")),
                _ => Kind::Name(word),
            },
            Token::Sign(_) | Token::End => return Err(self.unexpected("a value")),
        };
        self.at += 1;
        Ok(Expr { at, kind })
    }
}
