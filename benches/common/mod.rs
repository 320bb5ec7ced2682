//! What the benches share: child processes whose CPU time is counted, medians, a running doorbell.
#![allow(dead_code, reason = "each bench uses its part")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

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

/// Lets this thread run before those of doorbell, as far as the system allows it.
///
/// For threads of upstreams, receivers and clocks, which stand for other machines: on one machine
/// they would compete with doorbell, and a latency would tell how busy they are.
pub(crate) fn stand_for_other_machines() {
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
