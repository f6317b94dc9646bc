// SPDX-License-Identifier: GPL-3.0-or-later
//! `reader/read_archive.py` in a virtual environment in target/, which is made once for each list
//! of requirements.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

use crate::programs::program;
use crate::require::{Component, missing, require};
use crate::sandbox::Outcome;

/// The second reader, ready to run.
pub struct SecondReader {
    python: PathBuf,
}

impl SecondReader {
    /// The reader. `None`, and `test` counts as skipped, without Python or its packages.
    pub fn ready(test: &str) -> Option<Self> {
        if !require(Component::Python, test) {
            return None;
        }
        match environment() {
            Ok(folder) => Some(Self {
                python: folder.join("bin/python"),
            }),
            Err(reason) => {
                eprintln!("{reason}");
                missing(Component::Python, test);
                None
            }
        }
    }

    /// Runs `read_archive.py STORE --passphrase-file FILE ARGUMENTS…` until it ends.
    pub fn run(&self, store: &Path, passphrase_file: &Path, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(&self.python);
        command
            .arg("-B")
            .arg(sources().join("read_archive.py"))
            .arg(store)
            .arg("--passphrase-file")
            .arg(passphrase_file);
        Outcome::of(command.args(arguments).output().unwrap())
    }

    /// The violations of the schema in a file by JSON values, one value a line.
    pub fn validate(&self, schema: &Path, values: &Path) -> String {
        let mut command = Command::new(&self.python);
        command
            .arg("-B")
            .arg("-c")
            .arg(VALIDATE)
            .arg(schema)
            .arg(values);
        String::from_utf8(
            Outcome::of(command.output().unwrap())
                .success()
                .stdout
                .clone(),
        )
        .unwrap()
    }

    /// Every secret that the passphrase in the file opens: ROOT, the private half of the data key,
    /// and each session key.
    pub fn secrets(&self, store: &Path, passphrase_file: &Path) -> Vec<(String, Vec<u8>)> {
        let mut command = Command::new(&self.python);
        command
            .env("PYTHONPATH", sources())
            .arg("-B")
            .arg("-c")
            .arg(PRINT_SECRETS)
            .arg(store)
            .arg(passphrase_file);
        let outcome = Outcome::of(command.output().unwrap());
        let named = outcome.success().json.as_object().unwrap().clone();
        named
            .into_iter()
            .map(|(name, hex)| (name, bytes_of(hex.as_str().unwrap())))
            .collect()
    }
}

/// The Python program that checks JSON values, one a line, against a schema, and prints the
/// violations with their lines.
const VALIDATE: &str = r#"
import json, sys
from jsonschema import Draft202012Validator
schema = json.load(open(sys.argv[1]))
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
for line in open(sys.argv[2]):
    for error in validator.iter_errors(json.loads(line)):
        command = json.loads(line).get("command")
        relevant = [e for e in error.context or [] if command is None or not any(c.validator == "const" for c in [e])]
        print(line.strip(), error.message if not relevant else "; ".join(f"{e.json_path}: {e.message}" for e in relevant))
"#;

const PRINT_SECRETS: &str = r#"
import json, pathlib, sys
from read_archive import DK, Store, open_archive
typed = pathlib.Path(sys.argv[2]).read_bytes().removesuffix(b"\n")
archive = open_archive(Store(sys.argv[1]), typed)
archive.load()
derived = DK("data private key", archive.root)
clamped = bytes([derived[0] & 248]) + derived[1:31] + bytes([derived[31] & 127 | 64])
secrets = {"the passphrase": typed, "ROOT": archive.root, "the data key": clamped, "the data key as derived": derived}
secrets |= {f"session key {number}": key for number, (_, key) in archive.keys.items()}
print(json.dumps({name: secret.hex() for name, secret in secrets.items()}))
"#;

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|place| u8::from_str_radix(&hex[place..place + 2], 16).unwrap())
        .collect()
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../reader")
}

/// The folder of the packages. With the lock parallel tests wait for the test that installs them;
/// because of the rename no test sees half of them.
fn environment() -> Result<PathBuf, String> {
    let target = program("wyng-ctl").ancestors().nth(2).unwrap().to_owned();
    let requirements = sources().join("requirements.txt");
    let wanted = std::fs::read(&requirements).unwrap();
    let folder = target.join(format!("second-reader-venv-{:016x}", fingerprint(&wanted)));
    let lock = File::create(target.join("second-reader-venv.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    if !folder.is_dir() {
        let unfinished = tempfile::Builder::new()
            .prefix("second-reader-venv-")
            .tempdir_in(&target)
            .unwrap();
        install(unfinished.path(), &requirements)?;
        std::fs::rename(unfinished.keep(), &folder).unwrap();
    }
    Ok(folder)
}

fn install(folder: &Path, requirements: &Path) -> Result<(), String> {
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let mut pip = Command::new(folder.join("bin/python"));
    run(pip
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--retries",
            "1",
            "-r",
        ])
        .arg(requirements))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// FNV-1a: distinguishes lists of requirements.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
