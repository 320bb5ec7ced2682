//! What the benches share: child processes whose CPU time is counted, medians, a running doorbell and
//! the other machines around it.
#![allow(dead_code, reason = "each bench uses its part")]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;

/// Signs the webhooks of all endpoints, and what is compared with them.
pub(crate) const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDC2FVsBQIhrs=";

/// What every configuration begins with.
pub(crate) const HEAD: &str = r#"[log]
format = "json"
[store]
url = "sqlite:doorbell.db"
[admin]
listen = "127.0.0.1:0"
"#;

/// A body, and what it is.
pub(crate) type Json<T> = ([(&'static str, &'static str); 1], T);

pub(crate) const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// A child process that ends with its guard.
pub(crate) struct Process(Child);

impl Process {
    /// Starts `command` with its standard error piped.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(
            command
                .stderr(Stdio::piped())
                .spawn()
                .expect("the program starts"),
        )
    }

    /// User and system CPU seconds so far.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("/proc");
        // Fields after the command's name, which may hold anything but ends at the last `)`.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .expect("a name")
            .split(' ')
            .collect();
        let ticks = |at: usize| fields[at].parse::<f64>().expect("a number of ticks");
        // utime and stime are fields 14 and 15 of proc(5), in ticks of 1/100 s on every Linux.
        (ticks(12) + ticks(13)) / 100.0
    }

    /// Stands still until [`Self::resume`].
    pub(crate) fn stop(&self) {
        self.signal("STOP");
    }

    /// Goes on.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let mut kill = Command::new("kill");
        let status = kill.arg(format!("-{signal}")).arg(self.0.id().to_string());
        assert!(status.status().expect("a signal is sent").success());
    }

    /// Resident memory, in MiB.
    pub(crate) fn rss_mib(&self) -> f64 {
        self.memory_mib("VmRSS:")
    }

    /// The most resident memory it ever had, in MiB.
    pub(crate) fn peak_rss_mib(&self) -> f64 {
        self.memory_mib("VmHWM:")
    }

    fn memory_mib(&self, what: &str) -> f64 {
        let path = format!("/proc/{}/status", self.0.id());
        let status = std::fs::read_to_string(path).expect("/proc");
        let line = status
            .lines()
            .find(|line| line.starts_with(what))
            .expect("a line of proc(5)");
        let kib = line
            .split_whitespace()
            .nth(1)
            .and_then(|n| n.parse::<f64>().ok());
        kib.expect("a number") / 1024.0
    }

    /// Lines of its standard error; after the first call there are none.
    pub(crate) fn stderr(&mut self) -> impl Iterator<Item = String> + use<> {
        let stderr = self.0.stderr.take().expect("piped, and taken once");
        BufReader::new(stderr).lines().map_while(Result::ok)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A doorbell of the same build, running in a process of its own.
pub(crate) struct Doorbell {
    pub(crate) process: Process,
    pub(crate) admin: SocketAddr,
    pub(crate) proxy: Option<SocketAddr>,
}

/// Starts a doorbell with `config`, which must end its listeners on port 0 and log as JSON.
pub(crate) fn doorbell(folder: &Path, config: &str) -> Doorbell {
    let file = folder.join("doorbell.toml");
    std::fs::write(&file, config).expect("a writable folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorbell"));
    command
        .arg("run")
        .arg("--config")
        .arg(&file)
        .current_dir(folder);
    let mut process = Process::spawn(&mut command);
    let (mut admin, mut proxy) = (None, None);
    let expects_proxy = config.contains("[proxy]");
    let mut lines = process.stderr();
    for line in &mut lines {
        let entry: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let fields = &entry["fields"];
        if fields["message"] != "listening" {
            continue;
        }
        let address = fields["address"]
            .as_str()
            .and_then(|text| text.parse().ok());
        match fields["what"].as_str() {
            Some("admin") => admin = address,
            Some("proxy") => proxy = address,
            _ => {}
        }
        if admin.is_some() && (proxy.is_some() || !expects_proxy) {
            break;
        }
    }
    // The rest of the log must be read, or a full pipe stops the process.
    std::thread::spawn(move || lines.for_each(drop));
    Doorbell {
        process,
        admin: admin.expect("doorbell listens"),
        proxy,
    }
}

/// A configuration: a source that floods and one that is calm, and who hears both.
pub(crate) fn flood_and_calm(address: SocketAddr, in_flight: usize) -> String {
    format!(
        r#"{HEAD}[upstreams.world]
url = "http://{address}"
[sources.flood]
upstream = "world"
path = "/flood"
every = "manual"
items = "$[*]"
id = "$.id"
[sources.calm]
upstream = "world"
path = "/calm"
every = "manual"
[endpoints.all]
url = "http://{address}/ring"
secrets = ["{SECRET}"]
concurrency = {in_flight}
allow_private = true
"#
    )
}

/// All items of a round, each with so much text; made ahead, so that making it is not measured.
pub(crate) fn list(items: usize, round: usize, text_bytes: usize) -> Bytes {
    let mut body = String::from("[");
    let text = "x".repeat(text_bytes);
    for id in 0..items {
        let comma = if id == 0 { "" } else { "," };
        let _ = write!(
            body,
            r#"{comma}{{"id":{id},"round":{round},"text":"{text}"}}"#
        );
    }
    body.push(']');
    body.into()
}

/// Microseconds since an event was detected, before its commit.
pub(crate) fn since_detection(payload: &serde_json::Value) -> i64 {
    let detected = payload["timestamp"].as_str().expect("a text");
    let detected = chrono::DateTime::parse_from_rfc3339(detected).expect("RFC 3339");
    let lag = chrono::Utc::now().signed_duration_since(detected);
    lag.num_microseconds().unwrap_or(i64::MAX)
}

/// A client like any other's.
pub(crate) fn client() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().build();
    client.expect("a client")
}

/// Polls a source by hand.
pub(crate) async fn poll(client: &reqwest::Client, admin: SocketAddr, source: &str) {
    let url = format!("http://{admin}/api/v1/sources/{source}/poll");
    let request = client.post(url).header("content-type", "application/json");
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let _ = answer.bytes().await;
}

/// Serves on a free port.
pub(crate) async fn serve(router: axum::Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A runtime whose threads stand for other machines.
pub(crate) fn other_machines() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(stand_for_other_machines)
        .build();
    runtime.expect("a runtime")
}

/// Lets this thread run before those of doorbell, as far as the system allows it.
///
/// For threads of upstreams, receivers and clocks, which stand for other machines: on one machine
/// they would compete with doorbell, and a latency would tell how busy they are.
fn stand_for_other_machines() {
    let _ = rustix::process::setpriority_process(None, -10);
}

/// Tells the process that started this one.
#[expect(clippy::print_stderr, reason = "standard error is where it listens")]
pub(crate) fn say_on_stderr(line: &str) {
    eprintln!("{line}");
}

/// The middle of `values`.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The value below which `percent` of `values` lie.
pub(crate) fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) * percent / 100]
}
