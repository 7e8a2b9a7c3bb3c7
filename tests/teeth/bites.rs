//! Which deliberate mistake is made: the one that `HUBWARD_BITES` names. Added to a copy of the source by
//! `tests/teeth/run`, and to nothing else.

use std::sync::LazyLock;

static WHICH: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("HUBWARD_BITES").ok());

pub(crate) fn bites(mistake: &str) -> bool {
    WHICH.as_deref() == Some(mistake)
}
