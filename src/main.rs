//! The `doorbell` command: parses arguments, joins the command to what it starts, exits 0, 1 for a
//! failure, or 64 for a configuration that cannot be used.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use clap::error::ErrorKind;
use doorbell::cli::{self, Arguments, Command};
use doorbell::config::Config;
use doorbell::{app, client};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Polls and deliveries are many small allocations that one thread makes and another frees.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    client::install_crypto_provider();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let helps = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            // A closed standard output leaves nobody to tell.
            let _ = error.print();
            return if helps {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(cli::BAD_CONFIG)
            };
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let code = runtime.block_on(command(arguments));
        // What still runs in the background has no say in when the process ends.
        runtime.shutdown_timeout(Duration::from_millis(100));
        code
    }) {
        Ok(code) => code,
        Err(error) => {
            eprintln(&error);
            ExitCode::FAILURE
        }
    }
}

async fn command(arguments: Arguments) -> anyhow::Result<ExitCode> {
    // Before anything starts, so that a signal during the start is a drain too.
    let signals = Signals::install()?;
    match arguments.command.unwrap_or(Command::Run) {
        Command::Check { json } => Ok(cli::check(&arguments.config, json)),
        Command::Listen(listen) => cli::listen(listen, signals.into_next()).await,
        Command::SendTest(test) => match cli::read_config(&arguments.config) {
            Ok(config) => cli::send_test(&config, &test).await,
            Err(code) => Ok(code),
        },
        Command::Sources(remote) => match cli::read_config(&arguments.config) {
            Ok(config) => cli::sources(&config, &remote).await,
            Err(code) => Ok(code),
        },
        Command::Endpoints(remote) => match cli::read_config(&arguments.config) {
            Ok(config) => cli::endpoints(&config, &remote).await,
            Err(code) => Ok(code),
        },
        Command::Events(events) => match cli::read_config(&arguments.config) {
            Ok(config) => tokio::select! {
                shown = cli::events(&config, &events) => shown,
                () = signals.into_next() => Ok(ExitCode::SUCCESS),
            },
            Err(code) => Ok(code),
        },
        Command::Deliveries(deliveries) => match cli::read_config(&arguments.config) {
            Ok(config) => cli::deliveries(&config, &deliveries).await,
            Err(code) => Ok(code),
        },
        Command::Replay(replay) => match cli::read_config(&arguments.config) {
            Ok(config) => cli::replay(&config, &replay).await,
            Err(code) => Ok(code),
        },
        Command::Verify(arguments) => cli::verify_body(&arguments),
        Command::Secret { kind, json } => Ok(cli::secret(kind, json)?),
        Command::Poll(poll) => cli::look(&arguments.config, &poll).await,
        Command::Coverage(coverage) => match cli::read_config(&arguments.config) {
            Ok(config) => cli::coverage(&config, &coverage).await,
            Err(code) => Ok(code),
        },
        Command::Demo { duration } => demo(duration, signals).await,
        Command::Run => match cli::read_config(&arguments.config) {
            Ok(config) => run(config, signals).await,
            Err(code) => Ok(code),
        },
    }
}

/// The service: until SIGTERM or SIGINT, then a drain; a second signal ends it at once.
async fn run(config: Config, mut signals: Signals) -> anyhow::Result<ExitCode> {
    cli::log::install(&config.log);
    raise_file_limit();
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let doorbell = app::start(config).await?;
    signals.next().await;
    tokio::select! {
        // What the grace period cut off is in the log; ending when told to is no failure.
        _ = doorbell.drain() => Ok(ExitCode::SUCCESS),
        () = signals.next() => {
            tracing::warn!("a second signal: ending at once, what is in flight is cut off");
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn demo(duration: Option<Duration>, mut signals: Signals) -> anyhow::Result<ExitCode> {
    let stage = cli::demo::Stage::open().await?;
    let doorbell = app::start(stage.config()?).await?;
    stage.explain(doorbell.admin_address(), doorbell.proxy_addresses());
    tokio::select! {
        () = stage.play(duration) => {}
        () = signals.next() => {}
    }
    let scrape = doorbell.scrape();
    doorbell.drain().await;
    stage.summarise(&scrape);
    Ok(ExitCode::SUCCESS)
}

/// Raises the soft limit of open files to the hard one: each caller of the proxy costs two, and
/// many systems begin at 1,024, for the sake of programs that use `select`.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays low");
    }
}

/// What asks this process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        Ok(Self {
            terminate: signal(terminate)?,
            interrupt: signal(interrupt)?,
        })
    }

    /// Resolves at the next SIGTERM or SIGINT.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    async fn into_next(mut self) {
        self.next().await;
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the last word of a command that failed"
)]
fn eprintln(error: &anyhow::Error) {
    eprintln!("doorbell: {error:#}");
}
