//! What a person at a terminal says: the commands and how their answers look.
//!
//! Decides words and colours. Starting the service is `app`'s, one floor up; `main` joins the two.
#![expect(clippy::print_stderr, reason = "faults are told where a person looks")]

/// Prints a line; a reader that has gone ends the command quietly, as `head` expects it.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::say_line(format_args!($($text)*)) };
}

mod check;
mod coverage;
pub mod demo;
mod listen;
pub mod log;
mod look;
mod paint;
mod receiver;
mod remote;
mod secret;
mod send_test;
mod verify;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

pub use check::check;
pub use coverage::coverage;
pub use listen::listen;
pub use look::look;
pub use remote::{deliveries, endpoints, events, replay, sources};
pub use secret::secret;
pub use send_test::send_test;
pub use verify::verify_body;

use crate::config::{self, Config};

/// A doorbell for APIs that can only be polled: polls them, detects what changed, rings signed
/// webhooks, and passes ordinary calls through its proxy.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Arguments {
    /// The configuration file
    #[arg(
        long,
        short,
        global = true,
        env = "DOORBELL_CONFIG",
        default_value = "doorbell.toml",
        value_name = "FILE"
    )]
    pub config: PathBuf,
    /// What to do; `run` when absent
    #[command(subcommand)]
    pub command: Option<Command>,
}

const AFTER_HELP: &str = "\
First steps:
  doorbell demo                 see it ring, without network or configuration
  doorbell check                read a configuration and say what it means
  doorbell listen               a receiver to point an endpoint at
  doorbell poll SOURCE          what a poll would find, without ringing anybody

Exit status: 0 success, 1 failure, 64 a configuration or command line that cannot be used.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service until SIGTERM or SIGINT
    Run,
    /// Read the configuration and print what it means
    Check {
        /// Faults or meaning as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show everything at work: a ticket API that changes, a source, a receiver, a proxied route
    Demo {
        /// End by itself after this long, with a summary
        #[arg(long = "for", value_parser = humantime::parse_duration, value_name = "DURATION")]
        duration: Option<Duration>,
    },
    /// Receive webhooks, verify them, and print type, subject and patch
    Listen(ListenArguments),
    /// Show how the sources of a doorbell at work stand
    Sources(RemoteArguments),
    /// Show how the endpoints of a doorbell at work stand, those made over its API among them
    Endpoints(RemoteArguments),
    /// Show what happened, and with `--follow` what happens
    Events(EventsArguments),
    /// Show deliveries: pending, delivered or dead
    Deliveries(DeliveriesArguments),
    /// Ring deliveries once more, under the same ids and with the same bodies
    Replay(ReplayArguments),
    /// Send an endpoint one webhook that nothing happened for, and show what came back
    SendTest(SendTestArguments),
    /// Verify a webhook that somebody received, and say exactly why if it is not to be believed
    Verify(VerifyArguments),
    /// Make a new secret for an endpoint
    Secret {
        /// Shared with the receiver, or an ed25519 key of which the receiver needs the public half
        #[arg(long, value_enum, default_value = "symmetric")]
        kind: SecretKind,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Poll a source and show what would ring, without ringing anybody
    #[command(after_help = POLL_HELP)]
    Poll(PollArguments),
    /// Ask a running doorbell which GETs its callers repeat, and which sources would save them
    Coverage(CoverageArguments),
}

const POLL_HELP: &str = "\
Asks the upstream as the next poll would, compares with the snapshot in the store, and shows the
events that would ring as a diff. Nothing is rung and nothing is kept, and a doorbell that runs on
the same store is not disturbed. A second later it asks once more: what differs then differs by
itself, and is hinted at. Neither request counts for the budget of a running doorbell.

  doorbell poll issues                      what would ring
  doorbell poll issues --of repo=a/b        one partition of a source that `each` divides
  doorbell poll issues --json | jq .events  for programs
  doorbell poll issues --suggest            rules for it, learnt from a few answers and tried
  doorbell poll --suggest --url https://api.example/issues > doorbell.toml

Exit status: 0 the upstream was understood, 1 it was not, 64 there is no such source.";

fn apart(text: &str) -> Result<Duration, String> {
    const MAX: Duration = Duration::from_hours(1);
    let apart = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let is_fit = apart <= MAX;
    is_fit
        .then_some(apart)
        .ok_or_else(|| "at most 1h".to_owned())
}

/// What `poll` is told.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct PollArguments {
    /// The source's name
    #[arg(required_unless_present = "url")]
    pub source: Option<String>,
    /// Which partition, where `each` divides the source; without it the first
    #[arg(long, value_name = "NAME=VALUE")]
    pub of: Vec<String>,
    /// Ask once only: no hints about what differs by itself
    #[arg(long)]
    pub once: bool,
    /// Propose `items`, `id`, `ignore`, `unordered` and `paginate` as TOML, and try them
    #[arg(long)]
    pub suggest: bool,
    /// Learn from this URL, which no configuration has yet: the whole file is proposed
    #[arg(long, requires = "suggest", conflicts_with_all = ["source", "of"], value_name = "URL")]
    pub url: Option<url::Url>,
    /// How many answers to learn from
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u32).range(1..=20))]
    pub polls: u32,
    /// How long between them
    #[arg(long, default_value = "1s", value_parser = apart, value_name = "DURATION")]
    pub apart: Duration,
    /// Show every event, however many they are
    #[arg(long)]
    pub all: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// How a doorbell at work is asked.
#[derive(Debug, clap::Args)]
pub struct RemoteArguments {
    /// Where its admin API is; absent: where the configuration's `admin.listen` says
    #[arg(long, env = "DOORBELL_URL", value_name = "URL")]
    pub url: Option<url::Url>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// What `events` is told.
#[derive(Debug, clap::Args)]
pub struct EventsArguments {
    /// Go on with those that happen, from now on or after `--after`
    #[arg(long, short)]
    pub follow: bool,
    /// Only of this source
    #[arg(long)]
    pub source: Option<String>,
    /// Only of this type, `issues.updated`
    #[arg(long = "type", value_name = "TYPE")]
    pub event_type: Option<String>,
    /// After this cursor, the `next` of a page of the API
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<String>,
    /// At most so many of those that happened
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
    /// How it is asked
    #[command(flatten)]
    pub remote: RemoteArguments,
}

/// What `deliveries` is told.
#[derive(Debug, clap::Args)]
pub struct DeliveriesArguments {
    /// Where they stand
    #[arg(long, default_value = "pending", value_parser = ["pending", "delivered", "dead"])]
    pub state: String,
    /// Only to this endpoint
    #[arg(long)]
    pub endpoint: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
    /// How it is asked
    #[command(flatten)]
    pub remote: RemoteArguments,
}

/// What `replay` is told.
#[derive(Debug, clap::Args)]
pub struct ReplayArguments {
    /// The endpoint's name
    pub endpoint: String,
    /// Which deliveries: those that used up their attempts, those that were accepted, or both
    #[arg(long, default_value = "dead", value_parser = ["dead", "delivered", "any"])]
    pub state: String,
    /// Whose events happened then or later: a time like 2026-11-23T18:00:00Z, or so long ago, 2h
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Whose events happened then or before
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Whose events are of such a type, `issues.*`; may be given several times
    #[arg(long = "type", value_name = "GLOB")]
    pub types: Vec<String>,
    /// Only say how many there are
    #[arg(long)]
    pub dry_run: bool,
    /// How it is asked
    #[command(flatten)]
    pub remote: RemoteArguments,
}

/// What `listen` is told.
#[derive(Debug, clap::Args)]
pub struct ListenArguments {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8787", value_name = "ADDRESS")]
    pub address: SocketAddr,
    /// The endpoint's secret (`whsec_…`); without one a new secret is made and printed
    #[arg(
        long,
        env = "DOORBELL_SECRET",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    pub secret: Option<String>,
    /// One JSON object a webhook, after one that tells the address and a secret that was made
    #[arg(long)]
    pub json: bool,
}

/// What `coverage` is told.
#[derive(Debug, clap::Args)]
pub struct CoverageArguments {
    /// Where the running doorbell's admin API is, if not where the configuration has it listen
    #[arg(long, value_name = "URL")]
    pub admin: Option<url::Url>,
    /// How many GETs to tell of
    #[arg(long, default_value = "50", value_name = "COUNT")]
    pub limit: usize,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// What `send-test` is told.
#[derive(Debug, clap::Args)]
pub struct SendTestArguments {
    /// The endpoint's name
    pub endpoint: String,
    /// Like an event of this type, `issues.updated`, instead of `doorbell.test`; receivers take it
    /// for true
    #[arg(long = "type", value_name = "TYPE")]
    pub event_type: Option<String>,
    /// The item that such an event is about: a file with JSON, or `-` for standard input
    #[arg(long, value_name = "FILE", requires = "event_type")]
    pub item: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// What `verify` is told.
#[derive(Debug, clap::Args)]
pub struct VerifyArguments {
    /// The body as it came: a file, or `-` for standard input
    #[arg(default_value = "-")]
    pub body: PathBuf,
    /// A header as it came, `NAME: VALUE`, or `@FILE` with such lines; give all that begin with
    /// `webhook-`, or `x-hub-signature-256`
    #[arg(long = "header", short = 'H', value_name = "HEADER")]
    pub headers: Vec<String>,
    /// The endpoint's secret (`whsec_…`), or the public key (`whpk_…`); of several one must match
    #[arg(
        long = "secret",
        env = "DOORBELL_SECRET",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    pub secrets: Vec<String>,
    /// However long ago it was sent
    #[arg(long)]
    pub any_time: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Kinds of secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SecretKind {
    /// `whsec_…`: HMAC-SHA256, shared with the receiver
    Symmetric,
    /// `whsk_…` and its `whpk_…`: ed25519, which not all receivers' libraries know
    Asymmetric,
}

fn say_line(line: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

/// The exit status for a configuration that cannot be used: `EX_USAGE` of sysexits.h.
pub const BAD_CONFIG: u8 = 64;

/// Reads the configuration, or prints every fault of it.
///
/// # Errors
/// The exit status that says "bad configuration".
pub fn read_config(path: &std::path::Path) -> Result<Config, ExitCode> {
    config::load(path).map_err(|faults| {
        if paint::to_terminal(&std::io::stderr()) {
            eprint!("{}", faults.in_colour());
        } else {
            eprint!("{faults}");
        }
        ExitCode::from(BAD_CONFIG)
    })
}
