// SPDX-License-Identifier: GPL-3.0-or-later
//! `relay PORT ROUND_TRIP_MS MBIT_PER_SEC`: a link over a distance in front of a server on loopback.
//!
//! Prints its own port. For each line of its input it prints what was carried since the line before,
//! as JSON; at the end of its input it ends.

use std::process::ExitCode;
use std::time::Duration;

use wyng_tests::relay::{Carried, Relay};

fn main() -> ExitCode {
    let words: Vec<u64> = std::env::args()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    let [port, round_trip_ms, mbit] = words[..] else {
        eprintln!("usage: relay PORT ROUND_TRIP_MS MBIT_PER_SEC");
        return ExitCode::from(2);
    };
    let Ok(port) = u16::try_from(port) else {
        eprintln!("relay: {port} is no port");
        return ExitCode::from(2);
    };
    let bytes_per_sec = mbit * 1_000_000 / 8;
    let relay = Relay::start(port, Duration::from_millis(round_trip_ms), bytes_per_sec);
    println!("{}", relay.port());
    for _ in std::io::stdin().lines() {
        let report = |carried: Carried| {
            serde_json::json!({
                "bytes": carried.bytes,
                "seconds": carried.time.as_secs_f64(),
                "share": carried.share_of(bytes_per_sec),
                "middle_share": carried.middle_share_of(bytes_per_sec),
                "waits": carried.waits,
            })
        };
        let (up, down) = (report(relay.take_up()), report(relay.take_down()));
        println!("{}", serde_json::json!({ "up": up, "down": down }));
    }
    ExitCode::SUCCESS
}
