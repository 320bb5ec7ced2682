//! What adaptive polling is worth, on histories: a real one, and made ones in which there is
//! nothing to learn.

#[path = "../../examples/simulate/replay.rs"]
mod replay;

use std::fmt::Write as _;
use std::time::Duration;

use doorbell::schedule::adaptive::{Bounds, Tuning};
use replay::{Plan, Trace};

const DAY: Duration = Duration::from_hours(24);

fn plan(sources: usize, polls_an_hour: f64) -> Plan {
    Plan {
        rate: sources as f64 * polls_an_hour / 3600.0,
        bounds: Bounds {
            min: Duration::from_mins(1),
            max: DAY,
        },
        tuning: Tuning::default(),
        stride: 7,
    }
}

/// Times sooner than every source alike, at as many polls.
fn gain(trace: &Trace, plan: Plan) -> f64 {
    let (uniform, adaptive) = (trace.uniform(plan), trace.adaptive(plan));
    let off = adaptive.polls as f64 / uniform.polls as f64 - 1.0;
    assert!(off < 0.01, "{off:+.3} more polls");
    // A millisecond is what the clock has.
    let longest = plan.bounds.max.as_secs_f64() + 0.002;
    assert!(adaptive.longest_gap_seconds <= longest, "{adaptive:?}");
    uniform.mean_delay_seconds / adaptive.mean_delay_seconds
}

/// The figures of all 90 days and all sources are told, and proven, by `examples/simulate.rs`: this
/// is a part of them that a debug build replays in seconds.
#[test]
fn real_changes_are_found_far_sooner_by_as_many_polls() {
    let lines = include_str!("changes-90d.csv").lines();
    let some = lines.filter(|line| line.contains(",g02,") || line.contains(",g05,"));
    let some = some.collect::<Vec<_>>().join("\n");
    let trace = Trace::parse(&some, DAY * 90).expect("a history");
    let sources = trace.upstreams.iter().map(Vec::len).sum();
    let (known, alike) = (plan(sources, 1.0), plan(sources, 1.0));
    let known = trace.oracle(known).mean_delay_seconds;
    let alike = trace.uniform(alike).mean_delay_seconds;
    assert!(known < alike, "{known} {alike}");
    let often = gain(&trace, plan(sources, 1.0));
    assert!(often >= 1.5, "{often}");
    let seldom = gain(&trace, plan(sources, 1.0 / 6.0));
    assert!(seldom >= 1.5, "{seldom}");
}

#[test]
fn where_there_is_nothing_to_learn_little_is_lost() {
    for (sources, between) in [(5, DAY), (20, DAY / 4), (100, DAY), (200, DAY * 5)] {
        let trace = structureless(sources, between);
        for polls_an_hour in [1.0, 0.25] {
            let gain = gain(&trace, plan(sources, polls_an_hour));
            assert!(
                gain >= 0.95,
                "{sources} {between:?} {polls_an_hour}: {gain}"
            );
        }
    }
}

/// Sources that change independently, all as often.
fn structureless(sources: usize, between: Duration) -> Trace {
    // Some four thousand changes: of fewer, luck alone decides some hundredths.
    let end = between * u32::try_from(4_000 / sources).expect("small");
    let mut random = fastrand::Rng::with_seed(7);
    let mut text = String::new();
    for source in 0..sources {
        let mut at = 0.0;
        let _ = write!(text, "s{source},one,");
        loop {
            at -= between.as_secs_f64() * (1.0 - random.f64()).ln();
            if at >= end.as_secs_f64() {
                break;
            }
            let _ = write!(text, "{at:.0} ");
        }
        text.push('\n');
    }
    Trace::parse(&text, end).expect("a history")
}
