//! An upstream that speaks HTTP only as well as a test wants: what it sends is bytes and pauses.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Longest request head that it reads.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// How long it lets a client read what was sent before it closes.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves lists at paths, well until a test says otherwise. One request a connection.
pub(crate) struct Wild {
    url: String,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

/// What is sent, piece by piece; then the connection is closed.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// These bytes.
    Send(Bytes),
    /// These bytes again and again, so long apart, until the client has had enough.
    Repeat(Bytes, Duration),
    /// Nothing, until the client has had enough.
    Silence,
    /// The connection is reset.
    Reset,
}

/// What an answer is made for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The list, as JSON.
    pub(crate) list: String,
    /// The path.
    pub(crate) path: String,
    /// What follows its `?`.
    pub(crate) query: String,
    /// The server's URL.
    pub(crate) url: String,
    /// Requests for this path so far, this one included.
    pub(crate) count: usize,
}

/// How a path is answered.
pub(crate) type Script = Arc<dyn Fn(&Asked) -> Vec<Piece> + Send + Sync>;

#[derive(Default)]
struct State {
    places: BTreeMap<String, Place>,
    /// Path and head of every request.
    heads: Vec<(String, String)>,
}

struct Place {
    list: Vec<Value>,
    script: Option<Script>,
    count: usize,
}

impl Wild {
    pub(crate) async fn listening() -> Self {
        Self::listening_at("127.0.0.1:0").await
    }

    /// One that listens where another one did.
    pub(crate) async fn listening_at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await;
        let listener = listener.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener");
        let url = format!("http://{address}");
        let state = Arc::<Mutex<State>>::default();
        let (shared, own) = (Arc::clone(&state), url.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, url) = (Arc::clone(&shared), own.clone());
                tokio::spawn(async move {
                    // The client may leave at any time.
                    let _ = attend(stream, &state, url).await;
                });
            }
        });
        Self { url, state, task }
    }

    /// Goes away: nobody listens any more.
    pub(crate) async fn leave(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// Serves `list` at `path`, well.
    pub(crate) fn serve(&self, path: &str, list: Vec<Value>) {
        let place = Place {
            list,
            script: None,
            count: 0,
        };
        self.state.lock().places.insert(path.to_owned(), place);
    }

    /// Answers at `path` so.
    pub(crate) fn answer(&self, path: &str, script: Script) {
        self.place(path, |place| place.script = Some(script));
    }

    /// Answers at `path` well again.
    pub(crate) fn answer_well(&self, path: &str) {
        self.place(path, |place| place.script = None);
    }

    /// Changes the list at `path`.
    pub(crate) fn change(&self, path: &str, change: impl FnOnce(&mut Vec<Value>)) {
        self.place(path, |place| change(&mut place.list));
    }

    fn place(&self, path: &str, change: impl FnOnce(&mut Place)) {
        let mut state = self.state.lock();
        change(state.places.get_mut(path).expect("it is served"));
    }

    /// Heads of the requests whose path begins with `prefix`.
    pub(crate) fn heads(&self, prefix: &str) -> Vec<String> {
        let state = self.state.lock();
        let under = state
            .heads
            .iter()
            .filter(|(path, _)| path.starts_with(prefix));
        under.map(|(_, head)| head.clone()).collect()
    }
}

impl fmt::Display for Wild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Drop for Wild {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A whole and well-formed answer.
pub(crate) fn well(status: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Bytes {
    let body = body.as_ref();
    let length = body.len().to_string();
    let mut answer = head(status, &[headers, &[("content-length", &length)]].concat());
    answer.extend_from_slice(body);
    answer.into()
}

/// The head of an answer.
pub(crate) fn head(status: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("connection: close\r\n\r\n");
    head.into_bytes()
}

async fn attend(mut stream: TcpStream, state: &Mutex<State>, url: String) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let is_over = stream.read_buf(&mut head).await? == 0;
        if is_over || head.len() > HEAD_BYTES_MAX {
            return Ok(());
        }
    }
    let pieces = answer(&String::from_utf8_lossy(&head), state, url);
    for piece in pieces {
        match piece {
            Piece::Send(bytes) => stream.write_all(&bytes).await?,
            Piece::Repeat(bytes, pause) => loop {
                stream.write_all(&bytes).await?;
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            },
            Piece::Silence => return until_gone(&mut stream).await,
            Piece::Reset => return stream.set_zero_linger(),
        }
    }
    stream.shutdown().await?;
    let _ = tokio::time::timeout(FAREWELL, until_gone(&mut stream)).await;
    Ok(())
}

async fn until_gone(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

fn answer(head: &str, state: &Mutex<State>, url: String) -> Vec<Piece> {
    let target = head.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (path, query) = (path.to_owned(), query.to_owned());
    let mut state = state.lock();
    state.heads.push((path.clone(), head.to_owned()));
    let Some(place) = state.places.get_mut(&path) else {
        return vec![Piece::Send(well("404 Not Found", &[], ""))];
    };
    place.count += 1;
    let list = serde_json::to_string(&place.list).expect("values are JSON");
    let Some(script) = place.script.clone() else {
        return vec![Piece::Send(well(
            "200 OK",
            &[("content-type", "application/json")],
            list,
        ))];
    };
    let count = place.count;
    drop(state);
    script(&Asked {
        list,
        path,
        query,
        url,
        count,
    })
}
