//! A query with its names resolved and its types checked, before any row is looked at.
//!
//! Columns that operators make are kept as expressions over the rows that there are, so that nothing is
//! made for rows that are filtered out or on another page.

use std::rc::Rc;

use super::{
    eval::{Bound, Function},
    parse::{Expr, Key, Kind, Named, Query, Stage},
    tables::{COLUMNS, Table},
    tokens::Mistake,
    value::{Datum, Type},
};

/// Most parts of an expression, counted with those of the columns that it is made of.
const WEIGHT: usize = 5000;
/// Deepest nesting of one, counted in the same way: it is walked down on the stack.
const DEPTH: usize = 200;

/// What to do, step by step, and the columns of what comes of it.
pub(super) struct Plan {
    pub(super) table: Table,
    pub(super) steps: Vec<Step>,
    pub(super) columns: Vec<Column>,
    /// It says itself how many rows there are to be: then there is no paging.
    pub(super) is_limited: bool,
}

pub(super) enum Step {
    Filter(Rc<Bound>),
    Sort(Vec<SortKey>),
    Take(usize),
    /// Rows of their own: keys, then aggregates.
    Group {
        by: Vec<Rc<Bound>>,
        folds: Vec<Fold>,
    },
}

pub(super) struct SortKey {
    pub(super) expr: Rc<Bound>,
    pub(super) descending: bool,
    pub(super) nulls_first: bool,
}

pub(super) enum Fold {
    Count,
    CountIf(Rc<Bound>),
    List(Rc<Bound>),
    Set(Rc<Bound>),
    Distinct(Rc<Bound>),
    Least(Rc<Bound>),
    Most(Rc<Bound>),
}

#[derive(Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) value: Typed,
}

#[derive(Clone)]
pub(super) struct Typed {
    pub(super) expr: Rc<Bound>,
    pub(super) kind: Type,
    weight: usize,
    depth: usize,
}

/// Resolves a query.
pub(super) fn bind(query: &Query) -> Result<Plan, Mistake> {
    let table = match &query.table {
        None => Table::Resources,
        Some((at, name)) => Table::named(name).ok_or_else(|| {
            let text = format!("There is no table '{name}'.");
            query.lexemes[*at].mistake("UnknownTable").saying(text)
        })?,
    };
    let columns =
        COLUMNS.iter().enumerate().map(|(at, (name, kind))| Column::made(name, at, *kind)).collect();
    let mut binder = Binder { query, columns, steps: Vec::new(), is_limited: false };
    for stage in &query.stages {
        binder.stage(stage)?;
    }
    let Binder { columns, steps, is_limited, .. } = binder;
    Ok(Plan { table, steps, columns, is_limited })
}

impl Column {
    fn made(name: &str, at: usize, kind: Type) -> Self {
        Self {
            name: name.to_owned(),
            value: Typed { expr: Rc::new(Bound::Column(at)), kind, weight: 1, depth: 1 },
        }
    }
}

struct Binder<'q> {
    query: &'q Query,
    columns: Vec<Column>,
    steps: Vec<Step>,
    is_limited: bool,
}

impl Binder<'_> {
    fn mistake(&self, at: usize, code: &'static str, text: impl Into<String>) -> Mistake {
        self.query.lexemes[at].mistake(code).saying(text)
    }

    fn stage(&mut self, stage: &Stage) -> Result<(), Mistake> {
        match stage {
            Stage::Where(expr) => {
                let condition = self.truth(expr)?;
                self.steps.push(Step::Filter(condition));
            }
            Stage::Project(list) => self.columns = self.named(list)?,
            Stage::Extend(list) => {
                for column in self.named(list)? {
                    match self.columns.iter_mut().find(|known| known.name == column.name) {
                        Some(known) => *known = column,
                        None => self.columns.push(column),
                    }
                }
            }
            Stage::ProjectAway(patterns) => {
                for (at, pattern) in patterns {
                    let before = self.columns.len();
                    self.columns.retain(|column| !fits(pattern, &column.name));
                    if self.columns.len() == before && !pattern.contains('*') {
                        return Err(self.mistake(
                            *at,
                            "UnknownColumn",
                            format!("There is no column '{pattern}'."),
                        ));
                    }
                }
            }
            Stage::Order(keys) => self.sort(keys)?,
            Stage::Take(count) => self.take(*count),
            Stage::Top(count, keys) => {
                self.sort(keys)?;
                self.take(*count);
            }
            Stage::Count => self.group(Vec::new(), vec![("Count".to_owned(), Fold::Count, Type::Long)]),
            Stage::Distinct(list) => {
                let by = self.keys(list)?;
                self.group(by, Vec::new());
            }
            Stage::Summarize { aggregates, by } => {
                let by = self.keys(by)?;
                let mut folds: Vec<(String, Fold, Type)> = Vec::new();
                for named in aggregates {
                    let (name, fold, kind) = self.fold(&named.expr)?;
                    let name = named.name.clone().unwrap_or(name);
                    if by
                        .iter()
                        .map(|key| &key.name)
                        .chain(folds.iter().map(|(name, ..)| name))
                        .any(|it| *it == name)
                    {
                        return Err(self.twice(&named.expr, &name));
                    }
                    folds.push((name, fold, kind));
                }
                self.group(by, folds);
            }
        }
        Ok(())
    }

    fn take(&mut self, count: usize) {
        self.steps.push(Step::Take(count));
        self.is_limited = true;
    }

    fn sort(&mut self, keys: &[Key]) -> Result<(), Mistake> {
        let mut bound = Vec::new();
        for key in keys {
            let value = self.expr(&key.expr)?;
            self.no_dynamic(&key.expr, value.kind, "order by")?;
            bound.push(SortKey {
                expr: value.expr,
                descending: key.descending,
                nulls_first: key.nulls_first,
            });
        }
        self.steps.push(Step::Sort(bound));
        Ok(())
    }

    fn group(&mut self, by: Vec<Column>, folds: Vec<(String, Fold, Type)>) {
        let names = by.iter().map(|key| (key.name.clone(), key.value.kind));
        let made = names.chain(folds.iter().map(|(name, _, kind)| (name.clone(), *kind)));
        self.columns = made.enumerate().map(|(at, (name, kind))| Column::made(&name, at, kind)).collect();
        self.steps.push(Step::Group {
            by: by.into_iter().map(|key| key.value.expr).collect(),
            folds: folds.into_iter().map(|(_, fold, _)| fold).collect(),
        });
    }

    /// What rows are put together by: never something that may be anything.
    fn keys(&self, list: &[Named]) -> Result<Vec<Column>, Mistake> {
        let keys = self.named(list)?;
        for (key, named) in keys.iter().zip(list) {
            self.no_dynamic(&named.expr, key.value.kind, "summarize by")?;
        }
        Ok(keys)
    }

    fn no_dynamic(&self, expr: &Expr, kind: Type, operator: &str) -> Result<(), Mistake> {
        if kind != Type::Dynamic {
            return Ok(());
        }
        let text = format!("'{operator}' takes no dynamic value; say what it is, as with tostring().");
        Err(self.mistake(expr.at, "InvalidArgument", text))
    }

    /// A fold, the name that it has by itself, and what comes of it.
    fn fold(&self, expr: &Expr) -> Result<(String, Fold, Type), Mistake> {
        let Kind::Call(name, items) = &expr.kind else {
            return Err(self.mistake(expr.at, "InvalidArgument", "An aggregate function is needed here."));
        };
        let wrong = || {
            let text = format!("'{name}' takes another number of arguments.");
            self.mistake(expr.at, "InvalidArgument", text)
        };
        let (prefix, fold, kind) = match (name.as_str(), items.as_slice()) {
            ("count", []) => ("count", Fold::Count, Type::Long),
            ("countif", [item]) => {
                return Ok(("countif_".to_owned(), Fold::CountIf(self.truth(item)?), Type::Long));
            }
            ("make_list", [item]) => ("list", Fold::List(self.expr(item)?.expr), Type::Dynamic),
            ("make_set", [item]) => ("set", Fold::Set(self.expr(item)?.expr), Type::Dynamic),
            ("dcount", [item]) => ("dcount", Fold::Distinct(self.expr(item)?.expr), Type::Long),
            ("min" | "max", [item]) => {
                let value = self.expr(item)?;
                self.no_dynamic(item, value.kind, name)?;
                let fold = if name == "min" { Fold::Least(value.expr) } else { Fold::Most(value.expr) };
                (name.as_str(), fold, value.kind)
            }
            ("count" | "countif" | "make_list" | "make_set" | "dcount" | "min" | "max", _) => {
                return Err(wrong());
            }
            _ => return Err(self.unknown_function(expr.at, name)),
        };
        let of = items.first().and_then(own_name).unwrap_or_default();
        Ok((format!("{prefix}_{of}"), fold, kind))
    }

    /// Columns by the names that they are given or have by themselves. No name may be there twice.
    fn named(&self, list: &[Named]) -> Result<Vec<Column>, Mistake> {
        let mut columns: Vec<Column> = Vec::new();
        let mut unnamed = 0;
        for Named { name, expr } in list {
            let name = name.clone().or_else(|| own_name(expr)).unwrap_or_else(|| {
                unnamed += 1;
                format!("Column{unnamed}")
            });
            if columns.iter().any(|known| known.name == name) {
                return Err(self.twice(expr, &name));
            }
            columns.push(Column { name, value: self.expr(expr)? });
        }
        Ok(columns)
    }

    fn twice(&self, expr: &Expr, name: &str) -> Mistake {
        self.mistake(expr.at, "InvalidArgument", format!("There would be two columns '{name}'."))
    }

    fn unknown_function(&self, at: usize, name: &str) -> Mistake {
        self.mistake(at, "UnknownFunction", format!("There is no function '{name}'."))
    }

    fn truth(&self, expr: &Expr) -> Result<Rc<Bound>, Mistake> {
        let Typed { expr: bound, kind, .. } = self.expr(expr)?;
        self.boolean(expr, (bound, kind))
    }

    fn boolean(&self, expr: &Expr, (bound, kind): (Rc<Bound>, Type)) -> Result<Rc<Bound>, Mistake> {
        match kind {
            Type::Bool => Ok(bound),
            _ => Err(self.mistake(expr.at, "InvalidArgument", "A condition has to be true or false.")),
        }
    }

    fn dynamic(&self, at: usize, (bound, kind): (Rc<Bound>, Type)) -> Result<Rc<Bound>, Mistake> {
        match kind {
            Type::Dynamic => Ok(bound),
            _ => Err(self.mistake(at, "InvalidArgument", "Only what is dynamic has members.")),
        }
    }

    fn expr(&self, expr: &Expr) -> Result<Typed, Mistake> {
        let constant =
            |value, kind| Typed { expr: Rc::new(Bound::Constant(value)), kind, weight: 1, depth: 1 };
        let (mut weight, mut depth) = (1_usize, 0);
        let mut part = |inner: &Expr| -> Result<(Rc<Bound>, Type), Mistake> {
            let Typed { expr, kind, weight: own, depth: below } = self.expr(inner)?;
            weight = weight.saturating_add(own);
            depth = depth.max(below);
            Ok((expr, kind))
        };
        let (bound, kind) = match &expr.kind {
            Kind::Text(text) => return Ok(constant(Datum::owned(text.clone()), Type::Text)),
            Kind::Long(number) => return Ok(constant(Datum::Long(*number), Type::Long)),
            Kind::Real(number) => return Ok(constant(Datum::Real(*number), Type::Real)),
            Kind::Bool(truth) => return Ok(constant(Datum::Bool(*truth), Type::Bool)),
            Kind::Span(span) => return Ok(constant(Datum::Span(*span), Type::Span)),
            Kind::Name(name) => {
                let known = self.columns.iter().find(|column| column.name == *name);
                return known.map(|column| column.value.clone()).ok_or_else(|| {
                    self.mistake(expr.at, "UnknownColumn", format!("There is no column '{name}'."))
                });
            }
            Kind::Member(inner, name) => {
                let of = part(inner)?;
                (Bound::Member(self.dynamic(expr.at, of)?, name.clone()), Type::Dynamic)
            }
            Kind::Item(inner, at) => {
                let of = part(inner)?;
                (Bound::Item(self.dynamic(expr.at, of)?, *at), Type::Dynamic)
            }
            Kind::Call(name, items) => {
                let (function, kind) = match Function::find(name, items.len()) {
                    None => return Err(self.unknown_function(expr.at, name)),
                    Some(Err(())) => {
                        let text = format!("'{name}' takes another number of arguments.");
                        return Err(self.mistake(expr.at, "InvalidArgument", text));
                    }
                    Some(Ok(found)) => found,
                };
                let items: Vec<(Rc<Bound>, Type)> = items.iter().map(part).collect::<Result<_, _>>()?;
                let wants = match function {
                    Function::Ago => Some(Type::Span),
                    Function::Not | Function::If => Some(Type::Bool),
                    _ => None,
                };
                if wants.is_some_and(|wants| items.first().is_some_and(|(_, kind)| *kind != wants)) {
                    let text = format!("'{name}' takes another kind of argument.");
                    return Err(self.mistake(expr.at, "InvalidArgument", text));
                }
                let kind = match (function, items.as_slice()) {
                    (Function::If, [_, (_, yes), (_, no)]) if yes == no => *yes,
                    _ => kind,
                };
                (Bound::Call(function, items.into_iter().map(|(item, _)| item).collect()), kind)
            }
            Kind::All(parts) | Kind::Any(parts) => {
                let bound = parts.iter().map(|one| self.boolean(one, part(one)?));
                let bound = bound.collect::<Result<_, _>>()?;
                let is_all = matches!(expr.kind, Kind::All(_));
                (if is_all { Bound::All(bound) } else { Bound::Any(bound) }, Type::Bool)
            }
            Kind::Compare(left, comparison, right) => {
                let ((left, one), (right, other)) = (part(left)?, part(right)?);
                self.comparable(expr.at, one, other)?;
                (Bound::Compare(left, *comparison, right), Type::Bool)
            }
            Kind::Match { left, how, right } => {
                let ((left, one), (right, other)) = (part(left)?, part(right)?);
                self.comparable(expr.at, one, Type::Text)?;
                self.comparable(expr.at, other, Type::Text)?;
                (Bound::Match(left, *how, right), Type::Bool)
            }
            Kind::Among { left, items, cased, negated } => {
                let (left, one) = part(left)?;
                let items: Vec<(Rc<Bound>, Type)> = items.iter().map(part).collect::<Result<_, _>>()?;
                for (_, other) in &items {
                    self.comparable(expr.at, one, *other)?;
                }
                let items = items.into_iter().map(|(item, _)| item).collect();
                (Bound::Among { left, items, cased: *cased, negated: *negated }, Type::Bool)
            }
        };
        if weight > WEIGHT || depth > DEPTH {
            return Err(self.mistake(expr.at, "InvalidArgument", "The expression is too large."));
        }
        Ok(Typed { expr: Rc::new(bound), kind, weight, depth: depth + 1 })
    }

    fn comparable(&self, at: usize, one: Type, other: Type) -> Result<(), Mistake> {
        if one.compares_with(other) {
            return Ok(());
        }
        let text = format!("{} and {} cannot be compared.", one.word(), other.word());
        Err(self.mistake(at, "InvalidArgument", text))
    }
}

/// The name that a column has by itself: its own, the way into it, or that of what it was converted from.
fn own_name(expr: &Expr) -> Option<String> {
    match &expr.kind {
        Kind::Name(name) => Some(name.clone()),
        Kind::Member(inner, name) => Some(format!("{}_{name}", own_name(inner)?)),
        Kind::Item(inner, at) => Some(format!("{}_{at}", own_name(inner)?)),
        Kind::Call(name, items) if Function::keeps_name(name) => own_name(items.first()?),
        _ => None,
    }
}

/// Whether a name is of a pattern with at most one `*` that counts.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, end)) => {
            let end = end.trim_start_matches('*');
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        }
    }
}
