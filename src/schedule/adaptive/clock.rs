//! The time of an upstream, which goes on evenly and with news. See the room's own words.

use std::time::Duration;

use crate::time::Timestamp;

/// What an upstream's clock shows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clock {
    at: Option<Timestamp>,
    /// Seconds, by the upstream's own time.
    reading: f64,
    /// News so far.
    news: u32,
    /// When the last of them was; before the first, when the clock began.
    news_at: Option<Timestamp>,
    /// The mean time between two of them by the wall's clock, in seconds. By its own it would say
    /// what it was told, and run away.
    between_news: Option<f64>,
}

impl Clock {
    /// Lets it go on until `now` by the even part of time; back it never goes.
    pub(super) fn advance(&mut self, now: Timestamp, even: f64) {
        let at = self.at.unwrap_or(now);
        self.reading += even * now.since(at).as_secs_f64();
        self.at = Some(at.max(now));
        self.news_at.get_or_insert(now);
    }

    /// The machine's clock was set back by so much. What this one shows stands.
    pub(super) fn step_back(&mut self, back: Duration) {
        self.at = self.at.map(|at| at.minus(back));
        self.news_at = self.news_at.map(|at| at.minus(back));
    }

    /// There is news, `together` by what it says of others. The mean time between news is that of
    /// the latest `memory`, or what `known` says until there are two.
    pub(super) fn news(&mut self, now: Timestamp, together: f64, memory: f64, known: Option<f64>) {
        let since = self.news_at.replace(now).unwrap_or(now);
        let gap = now.since(since).as_secs_f64();
        self.news = self.news.wrapping_add(1);
        let mean = self.between_news.or(known).unwrap_or(gap);
        let mean = mean + (gap - mean) / f64::from(self.news).min(memory);
        self.between_news = Some(mean);
        self.reading += together * mean;
    }

    pub(super) const fn reading(&self) -> f64 {
        self.reading
    }

    pub(super) const fn news_count(&self) -> u32 {
        self.news
    }

    /// The mean time between news, in seconds.
    pub(super) fn between_news(&self) -> f64 {
        self.between_news.unwrap_or_default()
    }
}
