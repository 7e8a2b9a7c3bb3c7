//! ARM's token buckets: for each subscription, principal and kind of call one that refills steadily.
//!
//! <https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling>

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::settings::Throttling;

#[derive(Debug, Default)]
pub(super) struct Buckets(BTreeMap<(String, String, &'static str), Bucket>);

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: OffsetDateTime,
}

/// The kind of a call, as the header of what remains names it.
pub(super) fn kind(method: &str) -> &'static str {
    match method {
        "GET" | "HEAD" => "reads",
        "DELETE" => "deletes",
        _ => "writes",
    }
}

impl Buckets {
    /// Takes a token: what remains, or how many of Azure's seconds until there is one.
    pub(super) fn take(
        &mut self,
        subscription: &str,
        principal: &str,
        method: &str,
        now: OffsetDateTime,
        settings: &Throttling,
    ) -> Result<u64, f64> {
        let kind = kind(method);
        let (size, rate) = match kind {
            "reads" => (settings.reads, settings.reads_per_second),
            "deletes" => (settings.deletes, settings.deletes_per_second),
            _ => (settings.writes, settings.writes_per_second),
        };
        let bucket = self
            .0
            .entry((subscription.to_ascii_lowercase(), principal.to_owned(), kind))
            .or_insert(Bucket { tokens: size, filled: now });
        let passed = (now - bucket.filled).as_seconds_f64().max(0.0);
        bucket.tokens = (bucket.tokens + passed * rate).min(size);
        bucket.filled = now;
        if !settings.enabled {
            return Ok(size as u64);
        }
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(bucket.tokens as u64);
        }
        Err(if rate > 0.0 { ((1.0 - bucket.tokens) / rate).max(1.0) } else { 60.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_refills() {
        let settings = Throttling { reads: 2.0, reads_per_second: 1.0, ..Throttling::default() };
        let mut buckets = Buckets::default();
        let now = OffsetDateTime::UNIX_EPOCH;
        let mut take = |now| buckets.take("s", "p", "GET", now, &settings);
        assert_eq!((take(now), take(now), take(now)), (Ok(1), Ok(0), Err(1.0)));
        assert_eq!(take(now + time::Duration::seconds(1)), Ok(0));
    }
}
