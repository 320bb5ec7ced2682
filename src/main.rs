//! The `doorbell` command: parses arguments, joins the command to what it starts, exits 0, 1 for a
//! failure, or 64 for a configuration that cannot be used.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use clap::error::ErrorKind;
use doorbell::cli::{self, Arguments, Command};
use doorbell::config::Config;
use doorbell::{app, client};
use tokio::signal::unix::{SignalKind, signal};

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
    match arguments.command.unwrap_or(Command::Run) {
        Command::Check { json } => Ok(cli::check(&arguments.config, json)),
        Command::Listen(listen) => cli::listen(listen, interrupted()).await,
        Command::Poll { source, json } => match cli::read_config(&arguments.config) {
            Ok(config) => cli::look(&config, &source, json).await,
            Err(code) => Ok(code),
        },
        Command::Demo { duration } => demo(duration).await,
        Command::Run => match cli::read_config(&arguments.config) {
            Ok(config) => run(config).await,
            Err(code) => Ok(code),
        },
    }
}

/// The service: until SIGTERM or SIGINT, then a drain; a second signal ends it at once.
async fn run(config: Config) -> anyhow::Result<ExitCode> {
    cli::log::install(&config.log);
    raise_file_limit();
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let doorbell = app::start(config).await?;
    interrupted().await;
    tokio::select! {
        drained = doorbell.drain() => Ok(if drained { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        () = interrupted() => {
            tracing::warn!("a second signal: ending at once, what is in flight is cut off");
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn demo(duration: Option<Duration>) -> anyhow::Result<ExitCode> {
    let stage = cli::demo::Stage::open().await?;
    let doorbell = app::start(stage.config()?).await?;
    stage.explain(doorbell.admin_address(), doorbell.proxy_addresses());
    tokio::select! {
        () = stage.play(duration) => {}
        () = interrupted() => {}
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

/// Resolves at SIGTERM or SIGINT.
async fn interrupted() {
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        // No handler could be installed: the signals keep their default effect, which ends us.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the last word of a command that failed"
)]
fn eprintln(error: &anyhow::Error) {
    eprintln!("doorbell: {error:#}");
}
