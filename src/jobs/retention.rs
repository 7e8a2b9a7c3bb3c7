//! Older exports of one schedule, deleted when a new one is done.

use crate::blobs::{BlobError, Container};
use crate::model::job::Keep;

/// Deletes what is older than the new export, but for those that stay. Answers with what went, and with
/// what kept the rest from going.
pub async fn apply(container: &Container, keep: &Keep, new: &str) -> (Vec<String>, Option<String>) {
    let mut removed = Vec::new();
    let names = match container.names(&keep.before).await {
        Ok(names) => names,
        Err(error) => return (removed, Some(error.to_string())),
    };
    if !names.iter().any(|name| name == new) {
        return (removed, Some(format!("the new export `{new}` is not there")));
    }
    for name in outlived(&names, keep, new) {
        if let Err(error) = delete(container, &name, keep).await {
            return (removed, Some(error.to_string()));
        }
        removed.push(name);
    }
    (removed, None)
}

/// The second blob first: as long as the first is there, it is found again.
async fn delete(container: &Container, name: &str, keep: &Keep) -> Result<(), BlobError> {
    if let Some(besides) = &keep.besides {
        container.delete(&format!("{name}{besides}")).await?;
    }
    container.delete(name).await
}

/// Names that go: of this schedule, of a time before the new one's, and too many.
fn outlived(names: &[String], keep: &Keep, new: &str) -> Vec<String> {
    let Some(new) = keep.time_in(new) else { return Vec::new() };
    let older = names.iter().filter_map(|name| Some((keep.time_in(name).filter(|time| *time < new)?, name)));
    let mut older: Vec<_> = older.collect();
    older.sort();
    let stay = (keep.count as usize).saturating_sub(1);
    let go = older.len().saturating_sub(stay);
    older.into_iter().take(go).map(|(_, name)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::schedule;

    #[test]
    fn only_older_exports_of_the_same_schedule_go() {
        let keep = Keep { count: 2, before: "hub1/nightly-".into(), after: ".txt".into(), besides: None };
        let at = |day: u8| {
            format!(
                "hub1/nightly-{}.txt",
                schedule::stamp(datetime!(2026-01-01 02:00 UTC).replace_day(day).unwrap())
            )
        };
        let mut names: Vec<String> = (1..=4).map(at).collect();
        names.extend(
            ["hub1/nightly-2025.txt", "hub1/nightly-x.txt", "hub1/nightly-20260101T020000Z.bak"]
                .map(str::to_owned),
        );
        assert_eq!(outlived(&names, &keep, &at(4)), [at(1), at(2)]);
        assert_eq!(outlived(&names, &Keep { count: 9, ..keep.clone() }, &at(4)), Vec::<String>::new());
        // What is newer than the new one belongs to a later run, which sees to it.
        assert_eq!(outlived(&names, &Keep { count: 1, ..keep.clone() }, &at(3)), [at(1), at(2)]);
        assert_eq!(outlived(&names, &Keep { count: 1, ..keep.clone() }, &at(1)), Vec::<String>::new());
        assert_eq!(outlived(&names, &keep, "hub1/nightly-by-hand.txt"), Vec::<String>::new());
    }
}
