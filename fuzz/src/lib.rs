//! What is fuzzed: a function for each parser, which takes any bytes and panics where a promise is broken.
//!
//! The fuzzer's binaries call them, and so does `tests/it/fuzz_corpus.rs`, with every input that was kept.
//! A promise is one that holds for any input: what was read and written down is read again as the same, an id
//! has one key, an error is short. That nothing panics, takes long or takes much memory holds for all.

pub mod azure;
pub mod desired;
pub mod facts;
pub mod messages;

/// A parser with its promises.
pub type Target = fn(&[u8]);

/// All of them, by the name that their corpus has.
pub const TARGETS: &[(&str, Target)] = &[
    ("arm_errors", azure::arm_errors),
    ("claims", facts::claims),
    ("events", messages::events),
    ("graph_queries", azure::graph_queries),
    ("hubs", azure::hubs),
    ("ids", facts::ids),
    ("invocations", messages::invocations),
    ("profiles", desired::profiles),
    ("records", messages::records),
    ("requests", desired::requests),
    ("schedules", facts::schedules),
    ("words", facts::words),
    ("work", messages::work),
];

/// What parsers of text are given. Bytes that are no text never reach them.
fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}
