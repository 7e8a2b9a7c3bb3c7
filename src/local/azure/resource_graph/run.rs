//! A plan carried out: filtered first, paged afterwards, and only the page is made into JSON.

use std::{cmp::Ordering, collections::HashMap, rc::Rc};

use serde_json::Value;
use time::OffsetDateTime;

use super::{
    bind::{Fold, Plan, SortKey, Step},
    eval::{Bound, Cells},
    tables::{Resource, Shown},
    value::Datum,
};

/// Which rows are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    pub(super) skip: usize,
    pub(super) top: usize,
}

/// Rows, in the order of the plan's columns, and how many there are on all pages.
pub(super) struct Answered {
    pub(super) total: usize,
    pub(super) rows: Vec<Vec<Value>>,
}

enum Row<'a> {
    Resource(Resource<'a>),
    Made(Vec<Datum<'static>>),
}

impl Cells for Vec<Datum<'static>> {
    fn cell(&self, at: usize) -> Datum<'_> {
        self.get(at).map_or(Datum::Null, Datum::borrowed)
    }
}

impl Row<'_> {
    /// Shows its cells to someone. What has to be made for that is dropped again.
    fn show<T>(&self, look: impl FnOnce(&dyn Cells) -> T) -> T {
        match self {
            Row::Resource(resource) => look(&Shown::of(resource)),
            Row::Made(cells) => look(cells),
        }
    }
}

/// Carries out a plan over the rows of its table.
pub(super) fn run<'a>(
    plan: &Plan,
    table: impl Iterator<Item = Resource<'a>>,
    now: OffsetDateTime,
    page: Page,
) -> Answered {
    // The filters at the beginning, row by row, so that what a row shows is made once for all of them.
    let first =
        plan.steps.iter().position(|step| !matches!(step, Step::Filter(_))).unwrap_or(plan.steps.len());
    let (filters, rest) = plan.steps.split_at(first);
    let passes = |cells: &dyn Cells, step: &Step| match step {
        Step::Filter(condition) => condition.truth(cells, now) == Some(true),
        _ => true,
    };
    let table = table.map(Row::Resource);
    let mut rows: Vec<Row<'a>> =
        table.filter(|row| row.show(|cells| filters.iter().all(|step| passes(cells, step)))).collect();
    for step in rest {
        match step {
            Step::Filter(_) => rows.retain(|row| row.show(|cells| passes(cells, step))),
            Step::Sort(keys) => rows = sorted(rows, keys, now),
            Step::Take(count) => rows.truncate(*count),
            Step::Group { by, folds } => rows = grouped(&rows, by, folds, now),
        }
    }
    let shown = rows.iter().skip(page.skip).take(page.top).map(|row| {
        row.show(|cells| {
            let values = plan.columns.iter().map(|column| column.value.expr.value(cells, now).into_json());
            values.collect()
        })
    });
    Answered { total: rows.len(), rows: shown.collect() }
}

fn sorted<'a>(rows: Vec<Row<'a>>, keys: &[SortKey], now: OffsetDateTime) -> Vec<Row<'a>> {
    let keyed = rows.into_iter().map(|row| {
        let own: Vec<Datum<'static>> =
            row.show(|cells| keys.iter().map(|key| key.expr.value(cells, now).into_owned()).collect());
        (own, row)
    });
    let mut keyed: Vec<_> = keyed.collect();
    keyed.sort_by(|(a, _), (b, _)| {
        let pairs = keys.iter().zip(a.iter().zip(b));
        pairs.map(|(key, (a, b))| in_order(key, a, b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    });
    keyed.into_iter().map(|(_, row)| row).collect()
}

fn in_order(key: &SortKey, a: &Datum<'_>, b: &Datum<'_>) -> Ordering {
    match (a == &Datum::Null, b == &Datum::Null) {
        (true, true) => Ordering::Equal,
        (null, other) if null != other => {
            if null == key.nulls_first {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
        _ => {
            let order = a.order(b).unwrap_or(Ordering::Equal);
            if key.descending { order.reverse() } else { order }
        }
    }
}

/// What tells two values apart, whatever they are.
fn distinct(value: &Datum<'_>) -> String {
    match value {
        Datum::Text(text) => format!("'{text}"),
        Datum::Null => String::new(),
        other => other.clone().into_text().into_owned(),
    }
}

/// A group as it fills.
struct Group {
    key: Vec<Datum<'static>>,
    pots: Vec<Pot>,
}

#[derive(Default)]
struct Pot {
    count: i64,
    list: Vec<Value>,
    seen: std::collections::HashSet<String>,
    best: Option<Datum<'static>>,
}

impl Pot {
    /// Takes a row in. What is null is in no list and no set, and is not counted as a value.
    fn add(&mut self, fold: &Fold, cells: &dyn Cells, now: OffsetDateTime) {
        let value = |expr: &'_ Rc<Bound>| match expr.value(cells, now).into_owned() {
            Datum::Null => None,
            value => Some(value),
        };
        match fold {
            Fold::Count => self.count += 1,
            Fold::CountIf(condition) => self.count += i64::from(condition.truth(cells, now) == Some(true)),
            Fold::List(expr) => self.list.extend(value(expr).map(Datum::into_json)),
            Fold::Set(expr) => {
                if let Some(value) = value(expr)
                    && self.seen.insert(distinct(&value))
                {
                    self.list.push(value.into_json());
                }
            }
            Fold::Distinct(expr) => {
                if let Some(value) = value(expr) {
                    self.seen.insert(distinct(&value));
                }
            }
            Fold::Least(expr) | Fold::Most(expr) => {
                let wanted = if matches!(fold, Fold::Least(_)) { Ordering::Less } else { Ordering::Greater };
                if let Some(value) = value(expr)
                    && self.best.as_ref().is_none_or(|best| value.order(best) == Some(wanted))
                {
                    self.best = Some(value);
                }
            }
        }
    }

    fn ends(self, fold: &Fold) -> Datum<'static> {
        match fold {
            Fold::Count | Fold::CountIf(_) => Datum::Long(self.count),
            Fold::Distinct(_) => Datum::Long(i64::try_from(self.seen.len()).unwrap_or(i64::MAX)),
            Fold::List(_) | Fold::Set(_) => Datum::Json(std::borrow::Cow::Owned(Value::Array(self.list))),
            Fold::Least(_) | Fold::Most(_) => self.best.unwrap_or(Datum::Null),
        }
    }
}

/// Puts rows together, in the order in which their keys come up first.
fn grouped<'a>(rows: &[Row<'_>], by: &[Rc<Bound>], folds: &[Fold], now: OffsetDateTime) -> Vec<Row<'a>> {
    let pots = || folds.iter().map(|_| Pot::default()).collect();
    let mut groups: Vec<Group> = Vec::new();
    let mut places: HashMap<Vec<String>, usize> = HashMap::new();
    if by.is_empty() {
        // Everything is one group, even nothing.
        groups.push(Group { key: Vec::new(), pots: pots() });
        places.insert(Vec::new(), 0);
    }
    for row in rows {
        row.show(|cells| {
            let key: Vec<Datum<'_>> = by.iter().map(|key| key.value(cells, now)).collect();
            let place = *places.entry(key.iter().map(distinct).collect()).or_insert_with(|| {
                groups.push(Group { key: key.into_iter().map(Datum::into_owned).collect(), pots: pots() });
                groups.len() - 1
            });
            for (pot, fold) in groups[place].pots.iter_mut().zip(folds) {
                pot.add(fold, cells, now);
            }
        });
    }
    let made = groups.into_iter().map(|Group { mut key, pots }| {
        key.extend(pots.into_iter().zip(folds).map(|(pot, fold)| pot.ends(fold)));
        Row::Made(key)
    });
    made.collect()
}
