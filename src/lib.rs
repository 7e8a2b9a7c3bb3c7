//! Hubward gives Azure IoT Hubs identity-based egress, with no keys, across a fleet.
//!
//! ```text
//! Event Grid · storage queue ─► work item ─► Service Bus, one session a hub ─► look at one hub
//!
//!   profiles.yaml ─► DesiredHub ───┐
//!                                  ├─► plan() ─► next step ─► apply ─► look again ─► Report
//!   ARM ─read─► ObservedHub ───────┘    pure
//! ```
//!
//! An event says *where to look*, never *what to change*. Whatever takes longer than seconds is a
//! scheduled message. After a plan was applied, planning again gives an empty plan.
//!
//! # In reading order
//!
//! - [`model`]: what things are; [`desired`]: the operators' document; [`plan`](mod@plan): the decision. All
//!   three are pure.
//! - [`arm`]: Azure Resource Manager; [`observe`], [`apply`], [`prove`], [`reconcile`](mod@reconcile): look,
//!   take a step, ask the hub what came of it, the loop of all three.
//! - [`work`], [`bus`]: the work item and the queue it travels on; [`events`]: what Event Grid says;
//!   [`queue`]: storage queues, seen from outside.
//! - [`handler`]: the custom-handler protocol; [`functions`]: the functions on top of it.
//! - [`campaigns`]: a profile brought to a fleet wave by wave.
//! - [`config`], [`connect`], [`profiles`], [`telemetry`]: settings, connections, the loaded document,
//!   logs and traces.
//! - [`fleet`]: where every hub stands, as the last resync found it.
//! - [`status`]: the same for people, with what is parked and what comes next: JSON and a page.
//! - [`offboard`]: what hubs leave behind, found and taken away.
//! - [`rights`]: what we ourselves need to be allowed, and whether we are.
//! - [`cli`], [`package`]: the command line and the deployable folder.
//! - [`local`]: a simulated Azure and a stand-in for the Functions host. Never used in production.
//!
//! `docs/ARCHITECTURE.md` has the invariants and two walkthroughs.

pub mod apply;
pub mod arm;
pub mod audit;
pub mod blobs;
pub mod bus;
pub mod campaigns;
pub mod cli;
pub mod config;
pub mod connect;
pub mod desired;
pub mod events;
pub mod fleet;
pub mod functions;
pub mod handler;
pub mod jobs;
pub mod local;
pub mod model;
pub mod observe;
pub mod offboard;
pub mod outcomes;
pub mod package;
pub mod plan;
pub mod profiles;
pub mod prove;
pub mod queue;
pub mod reconcile;
pub mod rights;
pub mod schedule;
pub mod status;
pub mod telemetry;
pub mod work;
