//! Older exports of one schedule, deleted when a new one is done.

use super::blobs::{BlobError, Container};
use crate::{model::job::Keep, schedule};

/// Deletes all but the newest. Answers with what went, and with what kept the rest from going.
pub async fn apply(container: &Container, keep: &Keep, newest: &str) -> (Vec<String>, Option<String>) {
    let mut removed = Vec::new();
    let names = match container.names(&keep.before).await {
        Ok(names) => names,
        Err(error) => return (removed, Some(error.to_string())),
    };
    for name in outlived(&names, keep, newest) {
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

/// Names that go: of this schedule, older than the new one, and too many.
fn outlived(names: &[String], keep: &Keep, newest: &str) -> Vec<String> {
    let time_of = |name: &str| {
        let middle = name.strip_prefix(&keep.before)?.strip_suffix(&keep.after)?;
        schedule::time_of(middle)
    };
    let mut ours: Vec<_> = names.iter().filter_map(|name| Some((time_of(name)?, name))).collect();
    ours.sort();
    let others = ours.iter().filter(|(_, name)| *name != newest).map(|(_, name)| (*name).clone());
    let others: Vec<String> = others.collect();
    let stay = (keep.count as usize).saturating_sub(1);
    let go = others.len().saturating_sub(stay);
    others.into_iter().take(go).collect()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

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
        // The new one stays, whatever its time.
        assert_eq!(outlived(&names, &Keep { count: 1, ..keep }, &at(1)), [at(2), at(3), at(4)]);
    }
}
