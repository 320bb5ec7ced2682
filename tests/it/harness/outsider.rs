//! Programs that we did not write, from where `.ci/need judges` put them.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::Value;
use tokio::sync::watch;

use super::{DEADLINE, SECRET};

/// A program that runs as long as the test, and what it says, line by line.
pub(crate) struct Outsider {
    child: Child,
    said: watch::Receiver<Vec<String>>,
}

/// Where a program says something.
#[derive(Clone, Copy)]
pub(crate) enum Says {
    Out,
    Err,
}

impl Outsider {
    pub(crate) fn running(mut command: Command, says: Says) -> Self {
        command.stdin(Stdio::null());
        match says {
            Says::Out => command.stdout(Stdio::piped()),
            Says::Err => command.stdout(Stdio::null()).stderr(Stdio::piped()),
        };
        let mut child = command.spawn().expect("`.ci/need judges` installs it");
        let said = match says {
            Says::Out => lines(child.stdout.take().expect("stdout is piped")),
            Says::Err => lines(child.stderr.take().expect("stderr is piped")),
        };
        Self { child, said }
    }

    /// Waits until `find` finds something in what it said.
    pub(crate) async fn until<T>(&self, what: &str, find: impl Fn(&[String]) -> Option<T>) -> T {
        let mut said = self.said.clone();
        let waiting = said.wait_for(|lines| find(lines).is_some());
        let waited = tokio::time::timeout(DEADLINE, waiting).await;
        let lines = waited.unwrap_or_else(|_| panic!("in vain waited until {what}"));
        let lines = lines.unwrap_or_else(|_| panic!("a process ended before {what}"));
        find(&lines).expect("just found")
    }
}

impl Drop for Outsider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A receiver whose webhooks are verified by a library of others; see `receiver.py`.
pub(crate) struct Judge {
    program: Outsider,
    pub(crate) port: u64,
}

impl Judge {
    /// `receiver.py`, which also knows this public key.
    pub(crate) async fn of_python(public_key: Option<&str>) -> Self {
        let mut command = Command::new(installed("venv/bin/python"));
        command.arg(script("receiver.py")).arg(SECRET);
        command.args(public_key);
        Self::listening(command).await
    }

    /// `receiver.js`.
    pub(crate) async fn of_node() -> Self {
        let mut command = Command::new("node");
        command.arg(script("receiver.js")).arg(SECRET);
        command.env("NODE_PATH", installed("node/node_modules"));
        Self::listening(command).await
    }

    async fn listening(command: Command) -> Self {
        let program = Outsider::running(command, Says::Out);
        let port = program.until("the receiver listens", |lines| {
            read(lines.first()?)["listening"].as_u64()
        });
        let port = port.await;
        Self { program, port }
    }

    /// Waits for `count` webhooks; what was verified, in the order it came.
    ///
    /// # Panics
    /// When one was not believed, or more came.
    pub(crate) async fn until_told(&self, count: usize) -> Vec<Value> {
        let told = self.program.until("all webhooks came", |lines| {
            let told: Vec<Value> = lines[1..].iter().map(|line| read(line)).collect();
            (told.len() >= count).then_some(told)
        });
        let told = told.await;
        for told in &told {
            assert!(told.get("refused").is_none(), "{told}");
        }
        assert_eq!(told.len(), count, "{told:?}");
        told
    }
}

/// What `.ci/need judges` put below `target/`.
pub(crate) fn installed(what: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let path = target.join(what);
    assert!(
        path.exists(),
        "{} is missing: run `.ci/need judges`, or `make test`",
        path.display()
    );
    path
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it")
        .join(name)
}

/// The lines that come out of `pipe`, as they come.
fn lines(pipe: impl Read + Send + 'static) -> watch::Receiver<Vec<String>> {
    let (sender, receiver) = watch::channel(Vec::new());
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { break };
            sender.send_modify(|lines| lines.push(line));
        }
    });
    receiver
}

fn read(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))
}
