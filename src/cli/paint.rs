//! Colours, where a person looks and has not asked for none.

use std::fmt::Display;
use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};

/// How texts are coloured, or not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    colour: bool,
}

/// Whether `stream` is a terminal whose user has not set `NO_COLOR`.
pub(super) fn to_terminal(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && !crate::config::wants_no_colour()
}

impl Paint {
    /// For standard output.
    pub(super) fn stdout() -> Self {
        Self {
            colour: to_terminal(&std::io::stdout()),
        }
    }

    /// Without colours.
    #[cfg(test)]
    pub(super) fn plain() -> Self {
        Self { colour: false }
    }

    /// With colours.
    #[cfg(test)]
    pub(super) fn bright() -> Self {
        Self { colour: true }
    }

    pub(super) fn good(self, text: impl Display) -> String {
        self.paint(AnsiColor::Green.on_default(), text)
    }

    pub(super) fn bad(self, text: impl Display) -> String {
        self.paint(AnsiColor::Red.on_default(), text)
    }

    pub(super) fn fresh(self, text: impl Display) -> String {
        self.paint(AnsiColor::Yellow.on_default(), text)
    }

    pub(super) fn strong(self, text: impl Display) -> String {
        self.paint(Style::new().bold(), text)
    }

    pub(super) fn faint(self, text: impl Display) -> String {
        self.paint(Style::new().dimmed(), text)
    }

    fn paint(self, style: Style, text: impl Display) -> String {
        if self.colour {
            format!("{style}{text}{style:#}")
        } else {
            text.to_string()
        }
    }
}

/// At most so many characters of `text`, without control characters: it comes from a stranger and
/// goes to a terminal.
pub(super) fn clipped(text: &str, characters_max: usize) -> String {
    let mut clean = text.chars().filter(|c| !c.is_control());
    let mut clipped: String = clean.by_ref().take(characters_max).collect();
    if clean.next().is_some() {
        clipped.push('…');
    }
    clipped
}
