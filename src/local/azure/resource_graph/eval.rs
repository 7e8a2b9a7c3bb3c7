//! Expressions, with every name resolved, and what they come to for a row.

use std::{borrow::Cow, rc::Rc};

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::{
    parse::{Comparison, Matching, Part},
    value::{Datum, Type, moment},
};

/// A row, by the numbers of its columns.
pub(super) trait Cells {
    fn cell(&self, at: usize) -> Datum<'_>;
}

/// An expression over the columns of a row. Parts may be shared: a column that others are made of.
#[derive(Debug)]
pub(super) enum Bound {
    Column(usize),
    Constant(Datum<'static>),
    Member(Rc<Bound>, String),
    Item(Rc<Bound>, usize),
    Call(Function, Vec<Rc<Bound>>),
    All(Vec<Rc<Bound>>),
    Any(Vec<Rc<Bound>>),
    Compare(Rc<Bound>, Comparison, Rc<Bound>),
    Match(Rc<Bound>, Matching, Rc<Bound>),
    Among { left: Rc<Bound>, items: Vec<Rc<Bound>>, cased: bool, negated: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    ToText,
    ToMoment,
    ToTruth,
    ToWhole,
    Lower,
    Upper,
    Join,
    Pack,
    Length,
    IsEmpty,
    IsNotEmpty,
    IsNull,
    IsNotNull,
    Not,
    If,
    Ago,
    Now,
}

/// Every function: name, least and most arguments, and what comes of it.
const FUNCTIONS: [(&str, Function, usize, usize, Type); 21] = [
    ("tostring", Function::ToText, 1, 1, Type::Text),
    ("todatetime", Function::ToMoment, 1, 1, Type::Date),
    ("tobool", Function::ToTruth, 1, 1, Type::Bool),
    ("toint", Function::ToWhole, 1, 1, Type::Long),
    ("tolong", Function::ToWhole, 1, 1, Type::Long),
    ("tolower", Function::Lower, 1, 1, Type::Text),
    ("toupper", Function::Upper, 1, 1, Type::Text),
    ("strcat", Function::Join, 1, 64, Type::Text),
    ("bag_pack", Function::Pack, 2, 128, Type::Dynamic),
    ("pack", Function::Pack, 2, 128, Type::Dynamic),
    ("pack_dictionary", Function::Pack, 2, 128, Type::Dynamic),
    ("array_length", Function::Length, 1, 1, Type::Long),
    ("isempty", Function::IsEmpty, 1, 1, Type::Bool),
    ("isnotempty", Function::IsNotEmpty, 1, 1, Type::Bool),
    ("isnull", Function::IsNull, 1, 1, Type::Bool),
    ("isnotnull", Function::IsNotNull, 1, 1, Type::Bool),
    ("not", Function::Not, 1, 1, Type::Bool),
    ("iff", Function::If, 3, 3, Type::Dynamic),
    ("iif", Function::If, 3, 3, Type::Dynamic),
    ("ago", Function::Ago, 1, 1, Type::Date),
    ("now", Function::Now, 0, 0, Type::Date),
];

impl Function {
    /// A function by its name, if it takes so many arguments, and what comes of it; `Err` for another
    /// number of them, `None` for a name that is not known.
    pub(super) fn find(name: &str, count: usize) -> Option<Result<(Self, Type), ()>> {
        let (_, function, least, most, kind) = FUNCTIONS.iter().find(|(known, ..)| *known == name)?;
        let pairs = *function != Function::Pack || count.is_multiple_of(2);
        let fits = (*least..=*most).contains(&count) && pairs;
        Some(if fits { Ok((*function, *kind)) } else { Err(()) })
    }

    /// Whether a column that is made by it goes by the name of what it was made of.
    pub(super) fn keeps_name(name: &str) -> bool {
        ["tostring", "todatetime", "tobool", "toint", "tolong"].contains(&name)
    }
}

impl Bound {
    /// What it comes to. `now` is the same for the whole query.
    pub(super) fn value<'r>(&'r self, row: &'r dyn Cells, now: OffsetDateTime) -> Datum<'r> {
        match self {
            Bound::Column(at) => row.cell(*at),
            Bound::Constant(value) => value.borrowed(),
            Bound::Member(inner, name) => inner.value(row, now).member(name),
            Bound::Item(inner, at) => inner.value(row, now).item(*at),
            Bound::Call(function, items) => call(*function, items, row, now),
            Bound::All(parts) => chain(parts, false, row, now),
            Bound::Any(parts) => chain(parts, true, row, now),
            Bound::Compare(left, comparison, right) => {
                compare(&left.value(row, now), *comparison, &right.value(row, now))
            }
            Bound::Match(left, how, right) => {
                let (left, right) = (left.value(row, now).into_text(), right.value(row, now).into_text());
                Datum::Bool(matches(&left, *how, &right))
            }
            Bound::Among { left, items, cased, negated } => {
                let left = left.value(row, now);
                let how = Matching { part: Part::Whole, cased: *cased, negated: false };
                let found = items.iter().any(|item| match (&left, item.value(row, now)) {
                    (Datum::Text(left), Datum::Text(item)) => matches(left, how, &item),
                    (left, item) => left.order(&item).is_some_and(std::cmp::Ordering::is_eq),
                });
                Datum::Bool(found != *negated)
            }
        }
    }

    /// As a truth value: what is none is null, and null is not true.
    pub(super) fn truth(&self, row: &dyn Cells, now: OffsetDateTime) -> Option<bool> {
        match self.value(row, now) {
            Datum::Bool(truth) => Some(truth),
            _ => None,
        }
    }
}

/// What several conditions come to together: the word that settles it, whatever the others are; null, if
/// one of them is.
fn chain(parts: &[Rc<Bound>], settles: bool, row: &dyn Cells, now: OffsetDateTime) -> Datum<'static> {
    let mut end = Datum::Bool(!settles);
    for part in parts {
        match part.truth(row, now) {
            Some(truth) if truth == settles => return Datum::Bool(settles),
            Some(_) => {}
            None => end = Datum::Null,
        }
    }
    end
}

/// Two nulls are neither equal nor unequal; one null is unequal to everything else.
/// <https://learn.microsoft.com/kusto/query/scalar-data-types/null-values>
fn compare(left: &Datum<'_>, comparison: Comparison, right: &Datum<'_>) -> Datum<'static> {
    let order = left.order(right);
    Datum::Bool(match comparison {
        Comparison::Equal | Comparison::Unequal => {
            if (left, right) == (&Datum::Null, &Datum::Null) {
                return Datum::Null;
            }
            order.is_some_and(std::cmp::Ordering::is_eq) == (comparison == Comparison::Equal)
        }
        comparison => {
            let Some(order) = order else { return Datum::Null };
            match comparison {
                Comparison::Less => order.is_lt(),
                Comparison::LessOrEqual => order.is_le(),
                Comparison::Greater => order.is_gt(),
                _ => order.is_ge(),
            }
        }
    })
}

fn matches(left: &str, how: Matching, right: &str) -> bool {
    let Matching { part, cased, negated } = how;
    if !cased && part == Part::Whole && left.is_ascii() && right.is_ascii() {
        return left.eq_ignore_ascii_case(right) != negated;
    }
    let folded = |text| if cased { Cow::Borrowed(text) } else { Cow::Owned(str::to_lowercase(text)) };
    let (left, right) = (folded(left), folded(right));
    let right = right.as_ref();
    let found = match part {
        Part::Whole => left == right,
        Part::Anywhere => left.contains(right),
        Part::Start => left.starts_with(right),
        Part::End => left.ends_with(right),
        Part::Term => left.match_indices(right).any(|(at, _)| {
            let before = left[..at].chars().next_back();
            let after = left[at + right.len()..].chars().next();
            [before, after].into_iter().flatten().all(|letter| !letter.is_alphanumeric())
        }),
    };
    found != negated
}

fn call<'r>(
    function: Function,
    items: &'r [Rc<Bound>],
    row: &'r dyn Cells,
    now: OffsetDateTime,
) -> Datum<'r> {
    let value = |at: usize| items.get(at).map_or(Datum::Null, |item| item.value(row, now));
    let text = |at: usize| value(at).into_text();
    match function {
        Function::ToText => Datum::Text(text(0)),
        Function::Lower => Datum::owned(text(0).to_lowercase()),
        Function::Upper => Datum::owned(text(0).to_uppercase()),
        Function::Join => Datum::owned((0..items.len()).map(text).collect()),
        Function::ToMoment => match value(0) {
            date @ Datum::Date(_) => date,
            other => moment(&other.into_text()).map_or(Datum::Null, Datum::Date),
        },
        Function::ToTruth => match value(0) {
            truth @ Datum::Bool(_) => truth,
            Datum::Long(number) => Datum::Bool(number != 0),
            other => match other.into_text().to_ascii_lowercase().as_str() {
                "true" | "1" => Datum::Bool(true),
                "false" | "0" => Datum::Bool(false),
                _ => Datum::Null,
            },
        },
        Function::ToWhole => match value(0) {
            number @ Datum::Long(_) => number,
            other => other.into_text().parse().map_or(Datum::Null, Datum::Long),
        },
        Function::Pack => {
            let pairs = (0..items.len()).step_by(2);
            let bag: Map<String, Value> =
                pairs.map(|at| (text(at).into_owned(), value(at + 1).into_json())).collect();
            Datum::Json(Cow::Owned(Value::Object(bag)))
        }
        Function::Length => match value(0) {
            Datum::Json(json) => json
                .as_array()
                .map_or(Datum::Null, |list| i64::try_from(list.len()).map_or(Datum::Null, Datum::Long)),
            _ => Datum::Null,
        },
        Function::IsEmpty => Datum::Bool(text(0).is_empty()),
        Function::IsNotEmpty => Datum::Bool(!text(0).is_empty()),
        Function::IsNull => Datum::Bool(value(0) == Datum::Null),
        Function::IsNotNull => Datum::Bool(value(0) != Datum::Null),
        Function::Not => match value(0) {
            Datum::Bool(truth) => Datum::Bool(!truth),
            _ => Datum::Null,
        },
        Function::If => value(if value(0) == Datum::Bool(true) { 1 } else { 2 }),
        Function::Ago => match value(0) {
            Datum::Span(span) => Datum::Date(now - span),
            _ => Datum::Null,
        },
        Function::Now => Datum::Date(now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_match_as_kusto_matches_them() {
        let how = |part, cased| Matching { part, cased, negated: false };
        for (left, part, cased, right, fits) in [
            ("Hub1", Part::Whole, false, "hUB1", true),
            ("Hub1", Part::Whole, true, "hub1", false),
            ("rg-Plant-01", Part::Anywhere, false, "PLANT", true),
            ("rg-Plant-01", Part::Term, false, "plant", true),
            ("rg-Plants-01", Part::Term, false, "plant", false),
            ("rg-Plant-01", Part::Start, true, "RG", false),
            ("rg-Plant-01", Part::End, false, "-01", true),
            ("STRASSE", Part::Whole, false, "straße", false),
        ] {
            assert_eq!(matches(left, how(part, cased), right), fits, "{left} {part:?} {right}");
            let negated = Matching { negated: true, ..how(part, cased) };
            assert_eq!(matches(left, negated, right), !fits);
        }
    }

    #[test]
    fn null_is_unequal_to_everything_but_null() {
        let is = |left: &Datum<'_>, right: &Datum<'_>| {
            [Comparison::Equal, Comparison::Unequal, Comparison::Less].map(|how| compare(left, how, right))
        };
        let (one, yes, no) = (Datum::Long(1), Datum::Bool(true), Datum::Bool(false));
        assert_eq!(is(&Datum::Null, &Datum::Null), [Datum::Null, Datum::Null, Datum::Null]);
        assert_eq!(is(&Datum::Null, &one), [no.clone(), yes.clone(), Datum::Null]);
        assert_eq!(is(&one, &Datum::Real(1.5)), [no, yes.clone(), yes]);
    }
}
