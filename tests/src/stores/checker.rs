// SPDX-License-Identifier: GPL-3.0-or-later
//! Checks signatures in front of `moto_server`, which checks none: by botocore, which is installed
//! with it and shares no code with Wyng.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use sha2::{Digest, Sha256};

use super::{Action, Kind, SECRET, Seen, USER};
use crate::require::{Component, missing};

const SCRIPT: &str = include_str!("check_signatures.py");

/// A process that checks signatures, ended with the test.
pub struct Checker {
    process: Child,
    pipes: Mutex<(ChildStdin, Lines<BufReader<ChildStdout>>)>,
}

impl Checker {
    /// Starts it with the interpreter of `moto_server`; `None` where that has no botocore, and the
    /// test is skipped.
    pub fn start(test: &str) -> Option<Self> {
        let own = Kind::Moto.program().with_file_name("python");
        let python = if own.is_file() { own } else { "python3".into() };
        let mut process = Command::new(python)
            .args(["-c", SCRIPT, USER, SECRET])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
        let Some(ready) = output.next() else {
            let _ = process.wait();
            missing(Component::Moto, test);
            return None;
        };
        assert_eq!(ready.unwrap(), "ready");
        let pipes = Mutex::new((input, output));
        Some(Self { process, pipes })
    }

    /// What is wrong with the signature of a request; `None`: nothing.
    pub fn fault_of(&self, seen: &Seen) -> Option<String> {
        let digest = Sha256::digest(&seen.body);
        let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let line = serde_json::json!({ "head": seen.head, "sha256": sha256 });
        let mut pipes = self.pipes.lock().unwrap();
        writeln!(pipes.0, "{line}").unwrap();
        let answer = pipes.1.next().unwrap().unwrap();
        (answer != "yes").then_some(answer)
    }

    /// The answer of a server to a request whose signature is not right; `None`: it is.
    pub fn refuses(&self, seen: &Seen) -> Option<Action> {
        self.fault_of(seen)?;
        let text = "<Error><Code>SignatureDoesNotMatch</Code></Error>";
        let length = text.len();
        Some(Action::Answer(format!(
            "HTTP/1.1 403 Forbidden\r\ncontent-length: {length}\r\n\r\n{text}"
        )))
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
