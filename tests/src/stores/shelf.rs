// SPDX-License-Identifier: GPL-3.0-or-later
//! A server of S3 listings in memory, for numbers of names that no folder should hold. It checks no
//! signature, and serves nothing but pages.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use std::collections::BTreeMap;

/// Keys and lengths.
type Keys = BTreeMap<String, u64>;

/// A server that runs until the test ends.
pub struct Shelf {
    port: u16,
    pages: Arc<Mutex<usize>>,
}

impl Shelf {
    /// Serves these keys. `twist` may change a page before it is sent.
    pub fn start(
        keys: Keys,
        twist: impl Fn(usize, String) -> String + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let pages: Arc<Mutex<usize>> = Arc::default();
        let (keys, twist, count) = (Arc::new(keys), Arc::new(twist), Arc::clone(&pages));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (keys, twist, count) =
                    (Arc::clone(&keys), Arc::clone(&twist), Arc::clone(&count));
                std::thread::spawn(move || serve(&client, &keys, &*twist, &count));
            }
        });
        Self { port, pages }
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Number of pages that were served.
    pub fn pages(&self) -> usize {
        *self.pages.lock().unwrap()
    }
}

fn serve(
    client: &TcpStream,
    keys: &Keys,
    twist: &dyn Fn(usize, String) -> String,
    count: &Mutex<usize>,
) {
    let mut lines = BufReader::new(client).lines();
    while let Some(Ok(request)) = lines.next() {
        for line in lines.by_ref() {
            if line.is_ok_and(|line| line.is_empty()) {
                break;
            }
        }
        let query = request.split(['?', ' ']).nth(2).unwrap_or_default();
        let value = |key: &str| {
            let pair = query.split('&').find_map(|pair| pair.strip_prefix(key));
            pair.map(|value| value.trim_start_matches('=').replace("%2F", "/"))
        };
        let number = {
            let mut count = count.lock().unwrap();
            *count += 1;
            *count - 1
        };
        let max: usize = value("max-keys").unwrap().parse().unwrap();
        let page = twist(number, page(keys, value("start-after"), max));
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\r\n{page}",
            page.len()
        );
        if (&*client).write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn page(keys: &Keys, behind: Option<String>, max: usize) -> String {
    let from = behind.map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest = keys.range((from, Bound::Unbounded));
    let contents: String = rest
        .by_ref()
        .take(max)
        .map(|(key, length)| format!("<Contents><Key>{key}</Key><Size>{length}</Size></Contents>"))
        .collect();
    let continues = rest.next().is_some();
    format!(
        "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>{continues}</IsTruncated>{contents}</ListBucketResult>"
    )
}
