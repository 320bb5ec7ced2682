//! doorbell as a process: the real binary, its folder, its log.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use rustix::pty::{self, OpenptFlags};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;

use super::{DEADLINE, Scrape, client, wait_until};

/// A folder with a configuration and a store, and nobody running in it.
pub(crate) struct Corpse {
    folder: TempDir,
    proxies: bool,
    environment: Vec<(&'static str, String)>,
}

impl Corpse {
    /// A new folder. `config` lacks only `[log]`, `[store]` and `[admin]`.
    pub(crate) fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = folder.path().join("doorbell.db");
        let head = format!(
            "[log]\nlevel = \"info\"\nformat = \"json\"\n\
             [store]\nurl = \"sqlite:{}\"\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n",
            store.display()
        );
        let corpse = Self {
            folder,
            proxies: config.contains("[proxy]"),
            environment: Vec::new(),
        };
        std::fs::write(corpse.config(), head + config).expect("a temporary file");
        corpse
    }

    /// Where the store is.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("doorbell.db")
    }

    /// Changes the configuration.
    pub(crate) fn reconfigured(self, from: &str, to: &str) -> Self {
        let text = std::fs::read_to_string(self.config()).expect("it was written");
        assert!(text.contains(from), "{from} is not in\n{text}");
        std::fs::write(self.config(), text.replace(from, to)).expect("a temporary file");
        self
    }

    /// Changes its configuration.
    pub(crate) fn with(self, from: &str, to: &str) -> Self {
        let text = std::fs::read_to_string(self.config()).expect("it has one");
        assert!(text.contains(from), "the configuration has no {from}");
        std::fs::write(self.config(), text.replace(from, to)).expect("a file");
        self
    }

    /// Sets a variable of its environment.
    pub(crate) fn in_which(mut self, name: &'static str, value: String) -> Self {
        self.environment.push((name, value));
        self
    }

    /// Starts a process and waits until it is ready.
    pub(crate) async fn restart(self) -> Doorbell {
        self.launch().ready().await
    }

    /// Starts a process.
    pub(crate) fn launch(self) -> Process {
        let mut child = self.command("run").spawn().expect("doorbell starts");
        let log = Log::of(child.stderr.take().expect("stderr is piped"));
        Process {
            running: Running { child, log },
            corpse: self,
        }
    }

    /// Runs `doorbell ARGUMENTS` on its configuration to its end.
    pub(crate) async fn ask(&self, arguments: &[&str]) -> Output {
        ended(self.asking(arguments)).await
    }

    /// As [`Self::ask`], where standard error is a terminal; and what that showed.
    pub(crate) async fn ask_at_terminal(&self, arguments: &[&str]) -> (Output, String) {
        let (mut screen, terminal) = terminal();
        let mut command = self.asking(arguments);
        command.env_remove("NO_COLOR").stderr(terminal);
        let output = ended(command).await;
        let mut shown = Vec::new();
        // Once nobody has the terminal any more the screen ends with an error.
        let _ = screen.read_to_end(&mut shown);
        (output, String::from_utf8_lossy(&shown).into_owned())
    }

    fn asking(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_doorbell"));
        command.args(arguments).arg("--config").arg(self.config());
        command.stdin(Stdio::null());
        command
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_doorbell"));
        command.args([verb, "--config"]).arg(self.config());
        command.current_dir(self.folder.path());
        command.envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::piped());
        command
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("doorbell.toml")
    }
}

/// Runs a command that ends by itself.
async fn ended(mut command: Command) -> Output {
    let running = tokio::task::spawn_blocking(move || command.output());
    let output = tokio::time::timeout(DEADLINE, running).await;
    let output = output.expect("the command ends by itself");
    output.expect("no panic").expect("doorbell starts")
}

/// A terminal, and the screen on which a person reads what is written there.
fn terminal() -> (File, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let screen = pty::openpt(flags).expect("a terminal");
    pty::grantpt(&screen).expect("it is ours");
    pty::unlockpt(&screen).expect("it is ours");
    let terminal = pty::ioctl_tiocgptpeer(&screen, flags).expect("its other side");
    (screen.into(), terminal)
}

/// A process that may not be ready yet.
pub(crate) struct Process {
    running: Running,
    corpse: Corpse,
}

impl Process {
    /// Waits until it listens and says that it is ready.
    pub(crate) async fn ready(self) -> Doorbell {
        let admin = self.admin().await;
        let proxy = if self.corpse.proxies {
            Some(self.running.log.listening("proxy").await)
        } else {
            None
        };
        Doorbell {
            process: self,
            client: client(),
            admin,
            proxy,
        }
    }

    /// The admin's URL, as soon as it is ready.
    pub(crate) async fn admin(&self) -> String {
        let admin = self.running.log.listening("admin").await;
        let client = client();
        let ready = format!("{admin}/readyz");
        wait_until("doorbell is ready", async || {
            let answer = client.get(&ready).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        admin
    }

    /// SIGKILL.
    pub(crate) async fn kill(mut self) -> Corpse {
        self.running.child.kill().expect("it has not exited yet");
        self.exited().await.0
    }

    async fn exited(mut self) -> (Corpse, ExitStatus) {
        let status = self.running.exit_status().await;
        self.running.log.assert_no_panic();
        (self.corpse, status)
    }
}

/// A process that is ready.
pub(crate) struct Doorbell {
    process: Process,
    client: reqwest::Client,
    admin: String,
    proxy: Option<String>,
}

impl Doorbell {
    /// Starts one on a new folder and waits until it is ready.
    pub(crate) async fn start(config: &str) -> Self {
        Corpse::new(config).restart().await
    }

    /// Starts one whose admin API receivers find at `public_url`.
    pub(crate) async fn start_public(config: &str, public_url: &str) -> Self {
        let public = format!("[admin]\npublic_url = \"{public_url}\"\n");
        let corpse = Corpse::new(config).with("[admin]\n", &public);
        corpse.restart().await
    }

    /// Its folder, for other commands on the same configuration.
    pub(crate) fn corpse(&self) -> &Corpse {
        &self.process.corpse
    }

    /// The base URL of the admin API.
    pub(crate) fn admin_url(&self) -> &str {
        &self.admin
    }

    /// The base URL of the proxy.
    pub(crate) fn proxy_url(&self) -> &str {
        self.proxy.as_deref().expect("the config has a proxy")
    }

    /// All that it has logged.
    pub(crate) fn said(&self) -> String {
        self.process.running.log.0.borrow().lines.join("\n")
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.running.child.id()
    }

    /// User and system CPU seconds so far, as proc(5) counts them.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process_id()));
        let stat = stat.expect("/proc");
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks = after_name.split_whitespace().skip(11).take(2);
        let ticks = ticks.map(|ticks| ticks.parse::<f64>().expect("a number of ticks"));
        ticks.sum::<f64>() / 100.0
    }

    /// Resident memory, in MiB.
    pub(crate) fn rss_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process_id()));
        let status = status.expect("/proc");
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = kib.and_then(|kib| kib.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        kib.expect("a number") / 1024.0
    }

    /// Polls `source` by hand; the answer.
    pub(crate) async fn poll(&self, source: &str) -> Value {
        let polled = poll(&self.client, &self.admin, source).await;
        polled.expect("the admin API answers a poll by hand")
    }

    /// What Prometheus would see.
    pub(crate) async fn metrics(&self) -> Scrape {
        let answer = self.client.get(format!("{}/metrics", self.admin));
        let answer = answer.send().await.expect("the admin API answers");
        assert_eq!(answer.status(), 200);
        Scrape::read(answer.text().await.expect("a whole scrape"))
    }

    /// Waits until so many deliveries to `endpoint` came to this end.
    pub(crate) async fn until_ended(&self, endpoint: &str, outcome: &str, count: u32) {
        let labels = [("endpoint", endpoint), ("outcome", outcome)];
        wait_until("deliveries came to an end", async || {
            let metrics = self.metrics().await;
            let ended = metrics.value("doorbell_deliveries_total", &labels);
            (ended == f64::from(count)).then_some(())
        })
        .await;
    }

    /// Waits until nothing waits to be delivered to `endpoint`.
    pub(crate) async fn until_delivered(&self, endpoint: &str) {
        wait_until("nothing is pending", async || {
            let metrics = self.metrics().await;
            let pending = metrics.value("doorbell_delivery_pending", &[("endpoint", endpoint)]);
            (pending == 0.0).then_some(())
        })
        .await;
    }

    /// Runs `doorbell ARGUMENTS` beside it, on its configuration, to its end.
    pub(crate) async fn ask(&self, arguments: &[&str]) -> Output {
        self.process.corpse.ask(arguments).await
    }

    /// Runs another process on the same folder to its end.
    pub(crate) async fn rival(&self) -> Output {
        ended(self.process.corpse.command("run")).await
    }

    /// SIGKILL.
    pub(crate) async fn kill(self) -> Corpse {
        self.process.kill().await
    }

    /// SIGTERM, without waiting for what it does.
    pub(crate) fn ask_to_end(&self) {
        let script = format!("kill -TERM {}", self.process_id());
        let status = Command::new("sh").args(["-c", &script]).status();
        assert!(status.expect("a shell").success());
    }

    /// Waits until it has exited by itself.
    pub(crate) async fn exited(self) -> (Corpse, ExitStatus) {
        self.process.exited().await
    }
}

/// `POST /api/v1/sources/{source}/poll`: the answer, or nothing when the process went away.
pub(crate) async fn poll(client: &reqwest::Client, admin: &str, source: &str) -> Option<Value> {
    let url = format!("{admin}/api/v1/sources/{source}/poll");
    let request = client.post(url).header("content-type", "application/json");
    let answer = request.send().await.ok()?;
    let status = answer.status();
    let body = answer.bytes().await.ok()?;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    Some(serde_json::from_slice(&body).expect("the admin API speaks JSON"))
}

/// Runs `doorbell VERB --config FILE` to its end.
pub(crate) fn run_to_end(verb: &str, config: &Path) -> Output {
    run([verb.as_ref(), "--config".as_ref(), config.as_os_str()])
}

/// Runs `doorbell ARGUMENTS` to its end.
pub(crate) fn run(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_doorbell"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("doorbell starts")
}

struct Running {
    child: Child,
    log: Log,
}

impl Running {
    /// The end of its stderr tells that it has exited, so that nobody polls for it.
    async fn exit_status(&mut self) -> ExitStatus {
        self.log
            .until("it has exited", |log| log.ended.then_some(()))
            .await;
        self.child.wait().expect("it is a child of ours")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            self.log.show();
        }
    }
}

/// What a process said on stderr.
struct Log(Arc<watch::Sender<Lines>>);

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    fn of(stderr: ChildStderr) -> Self {
        let log = Arc::new(watch::Sender::new(Lines::default()));
        let writer = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let Ok(line) = line else { break };
                writer.send_modify(|log| log.lines.push(line));
            }
            writer.send_modify(|log| log.ended = true);
        });
        Self(log)
    }

    /// The base URL of what listens.
    async fn listening(&self, what: &str) -> String {
        let address = |line: &String| {
            let line: Value = serde_json::from_str(line).ok()?;
            let fields = &line["fields"];
            let is_it = fields["message"] == "listening" && fields["what"] == what;
            is_it.then(|| fields["address"].as_str().map(str::to_owned))?
        };
        let said = |log: &Lines| {
            let found = log.lines.iter().find_map(address);
            assert!(
                found.is_some() || !log.ended,
                "it exited before it listened"
            );
            found
        };
        format!("http://{}", self.until("it listens", said).await)
    }

    async fn until<T>(&self, what: &str, mut find: impl FnMut(&Lines) -> Option<T>) -> T {
        let found = Mutex::new(None);
        let mut receiver = self.0.subscribe();
        let waiting = receiver.wait_for(|log| {
            *found.lock() = find(log);
            found.lock().is_some()
        });
        let waited = tokio::time::timeout(DEADLINE, waiting).await.is_ok();
        assert!(waited, "in vain waited until {what}");
        found
            .into_inner()
            .expect("the wait ended because it was found")
    }

    fn assert_no_panic(&self) {
        let log = self.0.borrow();
        let panic = log.lines.iter().find(|line| line.contains("panicked at"));
        assert_eq!(panic, None);
    }

    #[expect(
        clippy::print_stderr,
        reason = "a failed test shows what the process said"
    )]
    fn show(&self) {
        for line in &self.0.borrow().lines {
            eprintln!("doorbell: {line}");
        }
    }
}
