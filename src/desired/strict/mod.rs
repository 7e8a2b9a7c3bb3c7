//! Reading a document strictly: every mistake at once, each with its line, its path and the fix.
//!
//! ```text
//! text ──yaml──► Node (values with positions) ──Schema──► mistakes ──► typed value
//! ```
//!
//! Nothing here knows what a document is about. What a document may hold is said by Rust types
//! (`serde` and `schemars`); [`Schema`] turns those into a JSON Schema, holds a [`Document`] against
//! it, and puts each violation into words. Rules that a schema cannot express are checked by the
//! document's owner on a [`Place`], which knows its position and its path.
//!
//! ```
//! use hubward::desired::strict::{Document, Schema};
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #[serde(rename_all = "camelCase", deny_unknown_fields)]
//! struct Request {
//!     max_hubs: u32,
//! }
//!
//! let schema = Schema::of::<Request>();
//! let document = Document::from_yaml("maxHub: 3").unwrap();
//! let mistakes = schema.read::<Request>(&document).err().unwrap();
//! assert_eq!(mistakes.to_string(), "line 1, maxHub: unknown field; fix: write `maxHubs`");
//! ```

mod document;
mod json;
mod mistake;
mod schema;
mod suggest;
mod yaml;

#[cfg(test)]
mod tests;

pub use document::{Document, Place};
pub use mistake::{Mistake, Mistakes, Position};
pub use schema::{NOT_FIELDS, PATTERN_MESSAGE, Schema};
pub use suggest::{nearest, shown};
