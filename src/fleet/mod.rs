//! The fleet as a whole: where every hub stands, as the last resync found it.

mod report;

pub use report::{FleetReport, HubRow, Standing, Stopped};
