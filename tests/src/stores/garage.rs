// SPDX-License-Identifier: GPL-3.0-or-later
//! A cluster of three nodes of Garage on loopback, which keeps every object three times. Its nodes
//! can be killed and started again.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::server::{PLACE, free_port};
use crate::require::{Component, require};

/// The public part of the only key, and its secret.
const KEY: [&str; 2] = [
    "GK31c2f218a2e44f485b94239e",
    "b892c0665f0ada8a4755dae98baa3b133590e11dae3bcc1f9d769d67f16c3835",
];
/// What the nodes trust each other by.
const RPC_SECRET: &str = "4425f5c26c5e11581d3223904324dcb5b5d5dfb14e5e7f35e38c595424f5f1e6";
/// Time for the cluster to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Three nodes, ended with the test.
pub struct Garage {
    folder: tempfile::TempDir,
    nodes: [Node; 3],
}

struct Node {
    s3_port: u16,
    process: Mutex<Child>,
}

impl Garage {
    /// Starts a cluster with an empty bucket; `None` where `make test-garage` has not built it, and
    /// the test is skipped.
    pub fn start(test: &str) -> Option<Self> {
        if !require(Component::Garage, test) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let nodes = [0, 1, 2].map(|number| {
            let s3_port = configure(folder.path(), number);
            let process = Mutex::new(serve(folder.path(), number));
            Node { s3_port, process }
        });
        let cluster = Self { folder, nodes };
        let ids = [0, 1, 2].map(|number| cluster.until_done(number, &["node", "id", "-q"]));
        for id in &ids[1..] {
            cluster.until_done(0, &["node", "connect", id.trim()]);
        }
        for id in &ids {
            let (id, _) = id.split_once('@').unwrap();
            cluster.until_done(0, &["layout", "assign", "-z", "here", "-c", "1G", id]);
        }
        cluster.until_done(0, &["layout", "apply", "--version", "1"]);
        cluster.until_done(0, &["key", "import", "--yes", KEY[0], KEY[1], "-n", "ann"]);
        cluster.until_done(0, &["bucket", "create", PLACE]);
        let allow = [
            "bucket", "allow", "--read", "--write", "--key", KEY[0], PLACE,
        ];
        cluster.until_done(0, &allow);
        cluster.until_it_serves(0);
        Some(cluster)
    }

    /// The port of a node's S3.
    pub fn port(&self, number: usize) -> u16 {
        self.nodes[number].s3_port
    }

    /// The text of a file with credentials.
    pub fn credentials(&self) -> String {
        let [id, secret] = KEY;
        format!("access_key_id = {id}\nsecret_access_key = {secret}\n")
    }

    /// The address of the store `name`, over something that listens at a port.
    pub fn url_through(&self, port: u16, name: &str) -> String {
        format!("s3://{PLACE}/{name}?endpoint=http://127.0.0.1:{port}&region=garage&insecure=true")
    }

    /// Kills a node at once.
    pub fn kill(&self, number: usize) {
        let mut process = self.nodes[number].process.lock().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Starts a node that was killed, and waits until it serves.
    pub fn restart(&self, number: usize) {
        *self.nodes[number].process.lock().unwrap() = serve(self.folder.path(), number);
        self.until_it_serves(number);
    }

    fn until_it_serves(&self, number: usize) {
        let port = self.port(number);
        until(&format!("node {number} listens"), || {
            TcpStream::connect(("127.0.0.1", port))
                .is_ok()
                .then_some(())
        });
        // Through this node, which must have found the others.
        self.until_done(number, &["bucket", "info", PLACE]);
    }

    /// What a command of the program prints, once it succeeds.
    fn until_done(&self, number: usize, words: &[&str]) -> String {
        until(&format!("garage {words:?}"), || {
            let mut command = Command::new(program());
            command
                .arg("-c")
                .arg(configuration(self.folder.path(), number));
            let output = command.args(words).output().unwrap();
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            output.status.success().then_some(printed)
        })
    }
}

impl Drop for Garage {
    fn drop(&mut self) {
        for number in 0..self.nodes.len() {
            let mut process = self.nodes[number].process.lock().unwrap();
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The program, where `make test-garage` puts it.
pub(crate) fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/garage/bin/garage")
}

fn configuration(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("garage-{number}.toml"))
}

/// Writes the configuration of a node, and returns the port of its S3.
fn configure(folder: &Path, number: usize) -> u16 {
    let (data, rpc_port, s3_port) = (
        folder.join(format!("node-{number}")),
        free_port(),
        free_port(),
    );
    fs::create_dir(&data).unwrap();
    let data = data.display();
    let text = format!(
        "metadata_dir = \"{data}/meta\"\ndata_dir = \"{data}/data\"\ndb_engine = \"sqlite\"\n\
         replication_factor = 3\nrpc_bind_addr = \"127.0.0.1:{rpc_port}\"\n\
         rpc_public_addr = \"127.0.0.1:{rpc_port}\"\nrpc_secret = \"{RPC_SECRET}\"\n\
         [s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"127.0.0.1:{s3_port}\"\n"
    );
    fs::write(configuration(folder, number), text).unwrap();
    s3_port
}

fn serve(folder: &Path, number: usize) -> Child {
    let log = fs::File::create(folder.join(format!("garage-{number}.log"))).unwrap();
    Command::new(program())
        .arg("-c")
        .arg(configuration(folder, number))
        .arg("server")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Asks until there is an answer.
fn until<T>(what: &str, ask: impl Fn() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(50));
    }
}
