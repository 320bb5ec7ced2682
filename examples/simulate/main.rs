//! Replays a history of changes and says how soon polls would have found them: every source alike,
//! by rates that somebody knew in advance, and with `every = { min, max }`.
//!
//! ```sh
//! cargo run --release --example simulate -- tests/it/changes-90d.csv --polls-per-hour 1134
//! ```
//!
//! The last of the three is doorbell's own code, [`doorbell::schedule::adaptive`], which begins
//! with nothing and sees of the history only what its polls would have seen. A line of the file is
//! `id,upstream,second second …`: when a source changed, from the start of the history on.
//!
//! Where in their periods sources begin is luck, and it decides a few hundredths: which of a
//! hundred sources that change together is looked at first. So everything is done at several
//! [`STRIDES`], and the mean is told.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example tells a person what it does"
)]

mod replay;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use doorbell::schedule::adaptive::{Bounds, Tuning};
use replay::{Outcome, Plan, Trace};
use serde_json::json;

/// In which orders the sources begin: primes, so that neighbours are apart.
const STRIDES: [usize; 6] = [1, 7, 13, 17, 19, 23];

/// What the policy is to be worth: at so many polls an hour a source, so many times uniform.
const PROMISES: [(f64, f64); 2] = [(1.0, 1.75), (1.0 / 6.0, 1.6)];

/// How much the result may change when a number of the policy is halved or doubled.
const SENSITIVITY_MAX: f64 = 0.1;

#[derive(Debug, Parser)]
#[command(about = "How soon polls would have found the changes of a history")]
struct Arguments {
    /// The history, one source a line: `id,upstream,second second …`.
    trace: PathBuf,
    /// Polls of all sources together.
    #[arg(long, default_value_t = 1134.0)]
    polls_per_hour: f64,
    /// How long the history is, in days.
    #[arg(long, default_value_t = 90.0)]
    days: f64,
    /// `min` of every source.
    #[arg(long, default_value = "1m")]
    min: humantime::Duration,
    /// `max` of every source.
    #[arg(long, default_value = "1d")]
    max: humantime::Duration,
    /// For programs.
    #[arg(long)]
    json: bool,
    /// Halves and doubles each number of the policy; fails where that matters, or where the policy
    /// is worth less than it promises.
    #[arg(long)]
    prove: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match simulate(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{}: {error}", arguments.trace.display());
            ExitCode::FAILURE
        }
    }
}

fn simulate(arguments: &Arguments) -> Result<bool, String> {
    let text = std::fs::read_to_string(&arguments.trace).map_err(|error| error.to_string())?;
    let length = Duration::from_secs_f64(arguments.days * 86_400.0);
    let trace = Trace::parse(&text, length)?;
    let plan = Plan {
        rate: arguments.polls_per_hour / 3600.0,
        bounds: Bounds {
            min: arguments.min.into(),
            max: arguments.max.into(),
        },
        tuning: Tuning::default(),
        stride: 1,
    };
    if arguments.prove {
        return Ok(prove(&trace, plan));
    }
    let uniform = mean(plan, |plan| trace.uniform(plan));
    let oracle = mean(plan, |plan| trace.oracle(plan));
    let adaptive = mean(plan, |plan| trace.adaptive(plan));
    if arguments.json {
        let told = json!({ "uniform": uniform, "oracle": oracle, "adaptive": adaptive });
        println!("{told}");
        return Ok(true);
    }
    for (name, outcome) in [
        ("uniform", uniform),
        ("oracle", oracle),
        ("adaptive", adaptive),
    ] {
        let gain = uniform.mean_delay_seconds / outcome.mean_delay_seconds;
        println!(
            "{name:9} mean delay {:6.0} s, {gain:.2} times sooner than uniform, {} polls",
            outcome.mean_delay_seconds, outcome.polls
        );
    }
    Ok(true)
}

/// The mean over all strides.
fn mean(plan: Plan, run: impl Fn(Plan) -> Outcome) -> Outcome {
    let outcomes = STRIDES.map(|stride| run(Plan { stride, ..plan }));
    let count = STRIDES.len();
    let delays = outcomes.iter().map(|outcome| outcome.mean_delay_seconds);
    let gaps = outcomes.iter().map(|outcome| outcome.longest_gap_seconds);
    Outcome {
        mean_delay_seconds: delays.sum::<f64>() / count as f64,
        polls: outcomes.iter().map(|outcome| outcome.polls).sum::<u64>() / count as u64,
        longest_gap_seconds: gaps.fold(0.0, f64::max),
    }
}

fn prove(trace: &Trace, plan: Plan) -> bool {
    let sources = trace.upstreams.iter().map(Vec::len).sum::<usize>() as f64;
    let mut holds = true;
    for (polls_an_hour, promised) in PROMISES {
        let rate = sources * polls_an_hour / 3600.0;
        let plan = Plan { rate, ..plan };
        let uniform = mean(plan, |plan| trace.uniform(plan));
        let gain_of = |tuning: Tuning| {
            let outcome = mean(Plan { tuning, ..plan }, |plan| trace.adaptive(plan));
            let off = outcome.polls as f64 / uniform.polls as f64 - 1.0;
            (uniform.mean_delay_seconds / outcome.mean_delay_seconds, off)
        };
        let (base, off) = gain_of(plan.tuning);
        holds &= base >= promised && off.abs() < 0.01;
        println!(
            "{:.0} polls an hour ({:+.2} %): {base:.2} times sooner, promised {promised}",
            rate * 3600.0,
            off * 100.0
        );
        for (name, tuning) in variants(plan.tuning) {
            let (gain, off) = gain_of(tuning);
            let change = gain / base - 1.0;
            holds &= change.abs() < SENSITIVITY_MAX && off.abs() < 0.01;
            println!("  {name:16} {gain:.2} ({:+.1} %)", change * 100.0);
        }
    }
    println!(
        "{}",
        if holds {
            "all of it holds"
        } else {
            "not all of it holds"
        }
    );
    holds
}

/// Each number of the policy halved, and doubled.
fn variants(base: Tuning) -> Vec<(String, Tuning)> {
    let factors = [(0.5, "halved"), (2.0, "doubled")];
    let variants = factors.map(|(factor, how)| {
        let prior = base.prior * factor;
        let memory = base.memory * factor;
        let horizon = base.horizon.mul_f64(factor);
        let together = base.together * factor;
        [
            (format!("prior {how}"), Tuning { prior, ..base }),
            (format!("memory {how}"), Tuning { memory, ..base }),
            (format!("horizon {how}"), Tuning { horizon, ..base }),
            (format!("together {how}"), Tuning { together, ..base }),
        ]
    });
    variants.into_iter().flatten().collect()
}
