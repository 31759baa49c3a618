//! The binary as scripts know it: ready file, exit codes, signals, ports, messages.
//!
//! Never: a fixed port, a process left behind, or a pause where a condition can be waited for.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests; their helpers are not marked as such")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const START_TIMEOUT: Duration = Duration::from_secs(60);
/// A node that is asked to end, by `SIGTERM` or `SIGINT`, is gone within that, whoever is connected.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

fn until<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begun.elapsed() < limit, "{what} not within {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A running node, killed when a test fails.
struct Running {
    child: Child,
    ready: Value,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloudsync-node"));
    command.args(arguments).env_remove("CLOUDSYNC_LOG").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

impl Running {
    fn start(folder: &TempDir, more: &[&str]) -> Self {
        let (data, ready_file) = (folder.path().join("data"), folder.path().join("ready.json"));
        let _ = std::fs::remove_file(&ready_file);
        let mut command = command(&["dev", "--data", data.to_str().unwrap(), "--ready-file", ready_file.to_str().unwrap()]);
        let log = std::fs::File::create(folder.path().join("node.log")).unwrap();
        let mut child = command.args(more).stderr(log).spawn().unwrap();
        let text = until(START_TIMEOUT, "the ready file", || {
            assert!(child.try_wait().unwrap().is_none(), "the node ended");
            std::fs::read(&ready_file).ok()
        });
        Self { child, ready: serde_json::from_slice(&text).expect("whole, since it was renamed") }
    }

    fn address(&self, name: &str) -> SocketAddr {
        let url = self.ready[name].as_str().unwrap();
        url.split_once("://").unwrap().1.parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn ends(mut self, limit: Duration) -> ExitStatus {
        until(limit, "the end", || self.child.try_wait().unwrap())
    }
}

/// Runs a node that doesn't start: its exit code and what it says.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = command(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(STOP_TIMEOUT)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_node_that_is_ready_says_where_and_answers_there() {
    let folder = TempDir::new().unwrap();
    let node = Running::start(&folder, &[]);
    assert_eq!(node.ready["pid"], node.child.id());
    for (name, scheme) in [("quic", "quic"), ("wss", "wss"), ("ws", "ws"), ("https", "https"), ("admin", "http")] {
        let url = node.ready[name].as_str().unwrap();
        assert!(url.starts_with(&format!("{scheme}://127.0.0.1:")), "{name}: {url}");
    }
    assert_eq!(node.ready["certificate_sha256"].as_str().unwrap().len(), 64);
    for path in ["/healthz", "/readyz"] {
        assert!(get(node.address("admin"), path).starts_with("HTTP/1.1 200"), "{path}");
    }
    assert!(get(node.address("ws"), "/healthz").starts_with("HTTP/1.1 200"));
    assert!(get(node.address("ws"), "/.well-known/jwks.json").contains("\"RS256\""));
    assert!(get(node.address("ws"), "/metrics").starts_with("HTTP/1.1 404"), "metrics are not for the public");
    assert!(get(node.address("ws"), "/v1/sync").starts_with("HTTP/1.1 426"));
    let metrics = get(node.address("admin"), "/metrics");
    for name in ["cloudsync_build_info", "cloudsync_connections{carrier=\"quic\"}", "cloudsync_received_bytes_total", "cloudsync_sessions"]
    {
        assert!(metrics.contains(name), "{name} is missing in {metrics}");
    }
}

#[test]
fn what_an_alarm_waits_for_is_there_with_its_meaning_before_it_ever_happened() {
    let folder = TempDir::new().unwrap();
    let node = Running::start(&folder, &[]);
    let metrics = get(node.address("admin"), "/metrics");
    for (name, kind) in [
        ("cloudsync_invariant_violations_total", "counter"),
        ("cloudsync_store_commit_seconds", "histogram"),
        ("cloudsync_store_errors_total", "counter"),
        ("cloudsync_store_fsync_seconds", "histogram"),
        ("cloudsync_store_group_operations", "histogram"),
    ] {
        assert!(metrics.contains(&format!("# HELP {name} ")), "{name} is not described in {metrics}");
        assert!(metrics.contains(&format!("# TYPE {name} {kind}\n")), "{name} is no {kind} in {metrics}");
    }
    let violations: Vec<_> = metrics.lines().filter(|line| line.starts_with("cloudsync_invariant_violations_total{")).collect();
    for invariant in ["V1", "V2", "V3", "V4", "D1", "D2", "L1"] {
        let none = format!("cloudsync_invariant_violations_total{{invariant=\"{invariant}\"}} 0");
        assert!(violations.contains(&none.as_str()), "{none} is missing in {violations:?}");
    }
}

#[test]
fn sigterm_and_sigint_end_a_node_with_0_whoever_is_connected() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = TempDir::new().unwrap();
        let node = Running::start(&folder, &[]);
        let idle: Vec<TcpStream> = ["https", "ws", "admin"].iter().map(|name| TcpStream::connect(node.address(name)).unwrap()).collect();
        let mut upgraded = TcpStream::connect(node.address("ws")).unwrap();
        upgraded
            .write_all(b"GET /v1/sync HTTP/1.1\r\nhost: here\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            .unwrap();
        let mut first = [0; 12];
        upgraded.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 101");
        node.signal(signal);
        assert_eq!(node.ends(STOP_TIMEOUT).code(), Some(0), "{signal:?}");
        drop((idle, upgraded));
    }
}

#[test]
fn a_second_sigterm_ends_a_node_at_once() {
    let folder = TempDir::new().unwrap();
    let node = Running::start(&folder, &[]);
    let idle = TcpStream::connect(node.address("https")).unwrap();
    node.signal(Signal::TERM);
    node.signal(Signal::TERM);
    assert_eq!(node.ends(STOP_TIMEOUT).code(), Some(0));
    drop(idle);
}

#[test]
fn the_same_ports_bind_again_right_after_sigkill() {
    let folder = TempDir::new().unwrap();
    let node = Running::start(&folder, &[]);
    let names = ["quic", "https", "ws", "admin"];
    let addresses = names.map(|name| node.address(name));
    let certificate = node.ready["certificate_sha256"].clone();
    // Connections that are open when it dies leave their ports in TIME_WAIT.
    let open: Vec<TcpStream> = addresses.iter().skip(1).map(|address| TcpStream::connect(address).unwrap()).collect();
    assert!(get(node.address("admin"), "/readyz").starts_with("HTTP/1.1 200"));
    node.signal(Signal::KILL);
    assert_eq!(node.ends(STOP_TIMEOUT).code(), None);
    let given: Vec<String> = names.iter().zip(addresses).flat_map(|(name, address)| [format!("--{name}"), address.to_string()]).collect();
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    let again = Running::start(&folder, &given);
    assert_eq!(names.map(|name| again.address(name)), addresses);
    assert_eq!(again.ready["certificate_sha256"], certificate);
    assert!(get(again.address("admin"), "/readyz").starts_with("HTTP/1.1 200"));
    drop(open);
}

#[test]
fn a_killed_node_takes_its_ports_again_without_being_told_and_another_where_one_is_in_use() {
    let folder = TempDir::new().unwrap();
    let names = ["quic", "https", "ws", "admin"];
    let first = Running::start(&folder, &[]);
    let addresses = names.map(|name| first.address(name));
    let killed = |node: Running| {
        node.signal(Signal::KILL);
        assert_eq!(node.ends(STOP_TIMEOUT).code(), None);
    };
    killed(first);
    let again = Running::start(&folder, &[]);
    assert_eq!(names.map(|name| again.address(name)), addresses, "the last start's");
    killed(again);

    let in_use = std::net::TcpListener::bind(addresses[1]).unwrap();
    let elsewhere = Running::start(&folder, &[]);
    let https = elsewhere.address("https");
    assert!(https != addresses[1] && https.port() != 0, "{https}");
    assert_eq!(["quic", "ws", "admin"].map(|name| elsewhere.address(name)), [addresses[0], addresses[2], addresses[3]]);
    assert!(get(elsewhere.address("admin"), "/readyz").starts_with("HTTP/1.1 200"));
    let log = std::fs::read_to_string(folder.path().join("node.log")).unwrap();
    assert!(log.contains(&format!("port {} of the last start is in use", addresses[1].port())), "{log}");
    killed(elsewhere);

    drop(in_use);
    let told = Running::start(&folder, &["--https", &addresses[1].to_string()]);
    assert_eq!(told.address("https"), addresses[1], "what is said counts");
}

#[test]
fn a_folder_of_a_newer_release_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("format"), "cloudsync store 999\n").unwrap();
    let (code, message) = refused(&["dev", "--data", data.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(message.contains("999") && message.contains("newer release") && message.contains(data.to_str().unwrap()), "{message}");
    let names: Vec<_> = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["format"]);
}

#[test]
fn a_folder_that_is_in_use_or_no_folder_of_ours_is_refused() {
    let folder = TempDir::new().unwrap();
    let node = Running::start(&folder, &[]);
    let data = folder.path().join("data");
    let (code, message) = refused(&["dev", "--data", data.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(message.contains("another node") && message.contains(&node.child.id().to_string()), "{message}");
    let (code, message) = refused(&["dev", "--data", folder.path().to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(message.contains("not empty"), "{message}");
    let (code, message) = refused(&["dev", "--data", folder.path().join("ready.json").to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(message.contains("not a folder"), "{message}");
}

#[test]
fn missing_secrets_beside_accounts_are_never_made_anew() {
    let folder = TempDir::new().unwrap();
    let node = Running::start(&folder, &[]);
    node.signal(Signal::TERM);
    assert_eq!(node.ends(STOP_TIMEOUT).code(), Some(0));
    let data = folder.path().join("data");
    std::fs::remove_file(data.join("secrets.json")).unwrap();
    let (code, message) = refused(&["dev", "--data", data.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(message.contains("secrets.json") && message.contains("backup"), "{message}");
    assert!(!data.join("secrets.json").exists());
}

#[test]
fn an_address_that_is_taken_or_not_allowed_is_named() {
    let folder = TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = folder.path().join("data");
    let (code, message) = refused(&["dev", "--data", data.to_str().unwrap(), "--https", &address]);
    assert_eq!(code, Some(1));
    assert!(message.contains("https") && message.contains(&address), "{message}");
    let (code, message) = refused(&["dev", "--data", data.to_str().unwrap(), "--ws", "0.0.0.0:0"]);
    assert_eq!(code, Some(1));
    assert!(message.contains("loopback"), "{message}");
}

/// What a client says that knows TLS 1.2 and nothing newer (RFC 5246, 7.4.1.2), as one record.
fn tls12_client_hello() -> Vec<u8> {
    let extensions: &[&[u8]] = &[
        &[0, 10, 0, 4, 0, 2, 0, 23],      // supported groups: secp256r1
        &[0, 11, 0, 2, 1, 0],             // points: uncompressed
        &[0, 13, 0, 6, 0, 4, 4, 3, 8, 4], // signatures: ECDSA with P-256, RSA-PSS
        &[0, 23, 0, 0],                   // extended master secret
    ];
    let extensions = extensions.concat();
    let long = |bytes: usize| u16::try_from(bytes).unwrap().to_be_bytes();
    let suites = [0, 4, 0xC0, 0x2B, 0xC0, 0x2F]; // ECDHE with AES-128-GCM
    let body = [&[3, 3][..], &[7; 32], &[0], &suites, &[1, 0], &long(extensions.len()), &extensions].concat();
    let handshake = [&[1, 0][..], &long(body.len()), &body].concat();
    [&[22, 3, 1][..], &long(handshake.len()), &handshake].concat()
}

#[test]
fn a_client_that_knows_only_tls_1_2_is_refused() {
    const ALERT: u8 = 21;
    const FATAL: u8 = 2;
    const PROTOCOL_VERSION: u8 = 70;
    let folder = TempDir::new().unwrap();
    let node = Running::start(&folder, &[]);
    let mut stream = TcpStream::connect(node.address("wss")).unwrap();
    stream.set_read_timeout(Some(STOP_TIMEOUT)).unwrap();
    stream.write_all(&tls12_client_hello()).unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!((answer[0], &answer[5..]), (ALERT, &[FATAL, PROTOCOL_VERSION][..]), "{answer:?}");
}

fn configured(folder: &Path, text: &str) -> String {
    let path = folder.join("node.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn serve_reads_its_configuration_and_names_what_is_wrong_with_it() {
    let folder = TempDir::new().unwrap();
    let wrong = configured(folder.path(), "data = \"data\"\n[listen]\nquic = \"127.0.0.1:0\"\nhtttps = \"127.0.0.1:0\"\n");
    let (code, message) = refused(&["serve", "--config", &wrong]);
    assert_eq!(code, Some(1));
    assert!(message.contains("htttps") && message.contains("`https`"), "{message}");
    let (code, message) = refused(&["serve", "--config", "/nowhere/node.toml"]);
    assert_eq!(code, Some(1));
    assert!(message.contains("/nowhere/node.toml"), "{message}");

    let right =
        configured(folder.path(), "data = \"data\"\n[listen]\nquic = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n");
    let ready_file = folder.path().join("ready.json");
    let mut command = command(&["serve", "--config", &right, "--ready-file", ready_file.to_str().unwrap()]);
    let child = command.spawn().unwrap();
    let ready = until(START_TIMEOUT, "the ready file", || std::fs::read(&ready_file).ok());
    let mut node = Running { child, ready: serde_json::from_slice(&ready).unwrap() };
    assert!(node.ready["https"].is_null() && node.ready["quic"].is_string());
    assert!(get(node.address("admin"), "/readyz").starts_with("HTTP/1.1 200"));
    let mut stderr = node.child.stderr.take().unwrap();
    node.signal(Signal::TERM);
    assert_eq!(node.ends(STOP_TIMEOUT).code(), Some(0));
    let mut log = String::new();
    stderr.read_to_string(&mut log).unwrap();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).expect("one JSON object a line");
        assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
    }
    assert!(log.contains("serving"));
}
