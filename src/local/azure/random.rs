//! The simulator's only source of chance: a generator seeded from [`Settings::seed`](super::Settings).
//!
//! The same seed and the same order of calls give the same GUIDs, keys and delays, so that a failed
//! test can be repeated.

use base64::{Engine, engine::general_purpose::STANDARD};
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};

/// Seeded GUIDs, keys and delays.
pub(super) struct Random(StdRng);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A generator of its own for one name: what it gives depends on the seed and the name alone, not
    /// on the calls before.
    pub(super) fn of(seed: u64, name: &str) -> Self {
        // FNV-1a.
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, mix);
        Self::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ hash)
    }

    /// A version 4 GUID with dashes, lower case.
    pub(super) fn guid(&mut self) -> String {
        let mut bytes = [0; 16];
        self.0.fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// A shared access key as the service makes them: 32 bytes in base64.
    pub(super) fn key(&mut self) -> String {
        let mut bytes = [0; 32];
        self.0.fill_bytes(&mut bytes);
        STANDARD.encode(bytes)
    }

    /// A key as storage accounts and Cosmos DB accounts have them: 64 bytes in base64.
    pub(super) fn long_key(&mut self) -> String {
        let mut bytes = [0; 64];
        self.0.fill_bytes(&mut bytes);
        STANDARD.encode(bytes)
    }

    /// `length` characters of `[a-z0-9]`.
    pub(super) fn letters(&mut self, length: usize) -> String {
        const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        (0..length).map(|_| char::from(ALPHABET[self.0.random_range(0..ALPHABET.len())])).collect()
    }

    /// A number between the two, which may be equal or the wrong way round.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        if high > low { self.0.random_range(low..=high) } else { low }
    }

    /// How far an etag moves: they grow, but not by one.
    pub(super) fn step(&mut self) -> u64 {
        self.0.random_range(1..=16)
    }

    pub(super) fn word(&mut self) -> u32 {
        self.0.next_u32()
    }
}
