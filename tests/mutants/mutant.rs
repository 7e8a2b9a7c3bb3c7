//! Which mutant is switched on: the one whose number `HUBWARD_MUTANT` holds. Added to a copy of the source by
//! `tests/mutants/schemata.py`, and to nothing else.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::Write,
    sync::{LazyLock, Mutex},
};

static WHICH: LazyLock<Option<usize>> = LazyLock::new(|| std::env::var("HUBWARD_MUTANT").ok()?.parse().ok());

/// Where the mutants that are come by are written, one number a line, and which have been.
static REACHED: LazyLock<Option<Mutex<(File, HashSet<usize>)>>> = LazyLock::new(|| {
    let path = std::env::var_os("HUBWARD_MUTANTS_REACHED")?;
    let file = OpenOptions::new().create(true).append(true).open(path).ok()?;
    Some(Mutex::new((file, HashSet::new())))
});

pub(crate) fn is(number: usize) -> bool {
    if let Some(reached) = &*REACHED {
        let mut reached = reached.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if reached.1.insert(number) {
            let _ = reached.0.write_all(format!("{number}\n").as_bytes());
        }
    }
    *WHICH == Some(number)
}
