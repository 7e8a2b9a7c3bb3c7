//! The operators' command line.
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 fine, 1 something went wrong,
//! 2 wrong usage or settings, 3 blocked, refused, or a right is missing, 4 the service refused for good,
//! 5 not ended in time.

mod apply;
mod azure;
mod bench;
mod campaign;
mod demo;
mod doctor;
mod exports;
mod failed;
mod grants;
mod host;
mod hubs;
mod jobs;
mod local;
mod package;
mod plan;
mod request;
mod resync;
mod simulate;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::desired;

/// Identity-based egress, with no keys, for fleets of Azure IoT Hubs.
#[derive(Debug, Parser)]
#[command(name = "hubward", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play the main job in a simulated Azure and verify the result.
    Demo(demo::DemoArgs),
    /// Run a simulated Azure and the Functions host until stopped.
    Local(local::LocalArgs),
    /// Show what would change, and change nothing.
    Plan(plan::PlanArgs),
    /// Bring hubs to what their profiles say, from here and with your own sign-in.
    Apply(apply::ApplyArgs),
    /// List the fleet: each hub's profile, identities and last outcome.
    Hubs(hubs::HubsArgs),
    /// Compare the whole fleet with the profiles, and put hubs that differ on the queue.
    Resync(resync::ResyncArgs),
    /// Check, send and follow operators' requests.
    Request(request::RequestArgs),
    /// Bring a profile to a fleet wave by wave.
    Campaign(campaign::CampaignArgs),
    /// See what did not end well, send it again, or drop it.
    Failed(failed::FailedArgs),
    /// Show what our own identity may do, what is missing, and what grants it.
    Doctor(doctor::DoctorArgs),
    /// Look into the roles that hubs' identities hold.
    Grants(grants::GrantsArgs),
    /// Export and import hubs' devices in bulk, with the hub's identity.
    Jobs(jobs::JobsArgs),
    /// Look into the exports that are made on schedule.
    Exports(exports::ExportsArgs),
    /// Count what the work costs, in a simulated Azure.
    Bench(bench::BenchArgs),
    /// Play runs with everything that can go wrong, by seed, and see that what has to hold does.
    Simulate(simulate::SimulateArgs),
    /// Stage what is deployed: host.json, the functions, the handler; and zip it.
    Package(package::PackageArgs),
    /// Print the JSON Schema of a document, for editors.
    Schema(SchemaArgs),
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
struct SchemaArgs {
    /// Which document.
    document: SchemaOf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SchemaOf {
    /// profiles.yaml
    Profiles,
    /// Operators' requests
    Request,
}

/// What a command came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// All is well.
    Fine,
    /// It could not be found out.
    Unknown,
    /// It has not ended in time.
    TimedOut,
    /// Blocked or refused, or a right is missing.
    Refused,
    /// The service refused for good.
    Failed,
}

impl Ending {
    fn code(self) -> ExitCode {
        match self {
            Ending::Fine => ExitCode::SUCCESS,
            Ending::Refused => ExitCode::from(3),
            Ending::Failed => ExitCode::from(4),
            Ending::TimedOut => ExitCode::from(5),
            Ending::Unknown => ExitCode::FAILURE,
        }
    }
}

/// Settings or arguments that cannot work.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Parses the arguments, runs the command, and says how the process should end.
pub async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(ending) => ending.code(),
        Err(error) => {
            complain(&error);
            if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<Ending> {
    match cli.command {
        Command::Demo(args) => demo::run(args).await,
        Command::Local(args) => local::run(args).await,
        Command::Plan(args) => plan::run(args).await,
        Command::Doctor(args) => doctor::run(args).await,
        Command::Grants(args) => grants::run(args).await,
        Command::Jobs(args) => jobs::run(args).await,
        Command::Exports(args) => exports::run(args).await,
        Command::Bench(args) => bench::run(args).await,
        Command::Simulate(args) => simulate::run(args).await,
        Command::Package(args) => package::run(args).await,
        Command::Apply(args) => apply::run(args).await,
        Command::Hubs(args) => hubs::run(args).await,
        Command::Resync(args) => resync::run(args).await,
        Command::Request(args) => request::run(args).await,
        Command::Campaign(args) => campaign::run(args).await,
        Command::Failed(args) => failed::run(args).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "hubward", &mut script);
            print(&String::from_utf8_lossy(&script));
            Ok(Ending::Fine)
        }
        Command::Schema(SchemaArgs { document }) => {
            let schema = match document {
                SchemaOf::Profiles => desired::json_schema(),
                SchemaOf::Request => desired::request_schema(),
            };
            print(&format!("{}\n", serde_json::to_string_pretty(&schema)?));
            Ok(Ending::Fine)
        }
    }
}

/// Writes a result to stdout. A reader that went away (`| head`) is not an error.
fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes a remark to stderr.
fn remark(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Writes an error and its causes to stderr.
fn complain(error: &anyhow::Error) {
    remark(&format!("error: {error}"));
    for cause in error.chain().skip(1) {
        remark(&format!("  because: {cause}"));
    }
}

/// The handler to run or to ship: the one given, or one built from this checkout.
#[derive(Debug, Clone, Args)]
struct HandlerArgs {
    /// The handler's binary, instead of building it from this checkout.
    #[arg(long, global = true, value_name = "FILE")]
    handler: Option<PathBuf>,
}
