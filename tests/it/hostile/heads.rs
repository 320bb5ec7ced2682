//! What is wrong with the answer as such: its status, what comes before it, where it leads.

use std::time::Duration;

use super::Then::{Fails, Passes};
use super::{JSON, Row};
use crate::harness::{Asked, Piece, head, well};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = statuses();
    rows.extend(interim());
    rows.extend(redirects());
    rows
}

/// Every status that is assigned and no success, with the whole list, and three that nobody knows.
fn statuses() -> Vec<Row> {
    let assigned = [
        201..=202,
        204..=208,
        226..=226,
        300..=300,
        304..=306,
        400..=418,
        421..=426,
    ];
    let more = [
        428..=429,
        431..=431,
        451..=451,
        500..=508,
        510..=511,
        299..=299,
        599..=600,
    ];
    let beyond = [999..=999];
    let all = assigned.into_iter().chain(more).chain(beyond).flatten();
    all.map(|status: u16| {
        let reason = match status {
            401 | 403 | 404 | 410 => "refused",
            429 => "rate_limited",
            _ => "status",
        };
        Row::new(format!("status {status}"), Fails(reason), move |asked| {
            let status = format!("{status} What");
            vec![Piece::Send(well(&status, &[JSON], &asked.list))]
        })
    })
    .collect()
}

fn interim() -> Vec<Row> {
    let before = |what: &str, then, interim: &'static str| {
        Row::new(what, then, move |asked| {
            let answer = well("200 OK", &[JSON], &asked.list);
            vec![Piece::Send([interim.as_bytes(), &answer].concat().into())]
        })
    };
    vec![
        before(
            "a 100 before the answer",
            Passes,
            "HTTP/1.1 100 Continue\r\n\r\n",
        ),
        before(
            "early hints",
            Passes,
            "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n",
        ),
        before(
            "a 199 before the answer",
            Passes,
            "HTTP/1.1 199 Perhaps\r\n\r\n",
        ),
        Row::bytes(
            "a 100 and nothing more",
            Fails("body"),
            "HTTP/1.1 100 Continue\r\n\r\n",
        ),
        Row::bytes(
            "protocols are switched",
            Fails("status"),
            head("101 Switching Protocols", &[]),
        ),
        Row::new("100 for ever", Fails("timeout"), |_| {
            let interim = "HTTP/1.1 100 Continue\r\n\r\n";
            vec![Piece::Repeat(interim.into(), Duration::from_millis(10))]
        })
        .hasty(),
    ]
}

fn redirects() -> Vec<Row> {
    let to = |what: &str, location: fn(&Asked) -> String| {
        Row::new(what, Fails("redirect"), move |asked| {
            let location = location(asked);
            vec![Piece::Send(well(
                "302 Found",
                &[("location", &location), JSON],
                &asked.list,
            ))]
        })
    };
    let next = |asked: &Asked| format!("{}?n={}", asked.path, asked.count);
    vec![
        to("a redirect to itself", |asked| asked.path.clone()),
        to("a redirect to itself at another place", |asked| {
            format!("{}#there", asked.path)
        }),
        to("redirects without end", next),
        to("a redirect to a file", |_| "file:///etc/passwd".to_owned()),
        to("a redirect to a script", |_| {
            "javascript:alert(1)".to_owned()
        }),
        to("a redirect with a password", |asked| {
            asked.url.replace("://", "://me:pw@") + &asked.path
        }),
        to("a redirect to no URL", |_| "http://[".to_owned()),
        to("a redirect to nowhere", |_| String::new()),
        Row::new("a redirect without place", Fails("redirect"), |asked| {
            vec![Piece::Send(well(
                "301 Moved Permanently",
                &[JSON],
                &asked.list,
            ))]
        }),
        to("a redirect in other letters", |_| {
            "http://\u{fffd}/".to_owned()
        }),
        Row::new("a redirect to what is not there", Fails("refused"), |_| {
            vec![Piece::Send(well(
                "307 Temporary Redirect",
                &[("location", "/gone")],
                "",
            ))]
        }),
    ]
}
