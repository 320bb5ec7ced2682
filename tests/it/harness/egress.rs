//! A forward proxy with names of its own: the way out of a network in which names mean nothing.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;

/// What it does not know or cannot reach, it answers with 502.
pub(crate) struct Egress {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

/// Names, and the servers behind them, as `127.0.0.1:80`.
type Names = Arc<Vec<(String, String)>>;

impl Egress {
    /// One that knows these servers, as URLs, by these names.
    pub(crate) fn knowing(names: &[(&str, &dyn fmt::Display)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&heads);
        let behind = |(name, url): &(&str, &dyn fmt::Display)| {
            let url = url.to_string();
            let authority = url.split("://").nth(1).unwrap_or(&url);
            ((*name).to_owned(), authority.to_owned())
        };
        let names: Names = Arc::new(names.iter().map(behind).collect());
        // Ends with the tests' process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, names) = (Arc::clone(&log), Arc::clone(&names));
                thread::spawn(move || attend(stream, &log, &names));
            }
        });
        Self { address, heads }
    }

    /// Heads of what it was asked.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().clone()
    }
}

/// With user and password.
impl fmt::Display for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://user:hunter2@{}", self.address)
    }
}

/// One request, or one tunnel.
fn attend(mut near: TcpStream, log: &Mutex<Vec<String>>, names: &Names) -> Option<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        near.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    log.lock().push(head.clone());
    let (method, rest) = head.split_once(' ')?;
    let (target, rest) = rest.split_once(' ')?;
    let target = target.strip_prefix("http://").unwrap_or(target);
    let (authority, path) = target.split_once('/').unwrap_or((target, ""));
    let name = authority.split(':').next()?;
    let known = names.iter().find(|(known, _)| known == name);
    let Some(mut far) = known.and_then(|(_, server)| TcpStream::connect(server).ok()) else {
        let answer = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        return near.write_all(answer).ok();
    };
    if method == "CONNECT" {
        near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
    } else {
        let rest = rest.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        far.write_all(format!("{method} /{path} {rest}").as_bytes())
            .ok()?;
    }
    let (mut back, mut there) = (far.try_clone().ok()?, near.try_clone().ok()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut back, &mut there);
        there.shutdown(std::net::Shutdown::Write)
    });
    std::io::copy(&mut near, &mut far).ok().map(|_| ())
}
