// SPDX-License-Identifier: GPL-3.0-or-later
//! The one parallel part: pure tasks (hash, compress, seal, open) on worker threads. Whoever
//! submits waits for the answers in its own order, so what comes out does not depend on the
//! threads. Without threads each task runs when it is submitted.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

use wyng_archive::crypto::Coder;
use wyng_control::Failure;

type Task = Box<dyn FnOnce(&mut Coder) + Send>;

/// See the module's first line.
pub struct Pool {
    tasks: Option<Sender<Task>>,
    threads: Vec<JoinHandle<()>>,
    inline: Coder,
}

/// The answer of one task, when it is there.
pub struct Ticket<T>(Receiver<T>);

impl<T> Ticket<T> {
    /// Waits for the answer.
    pub fn wait(self) -> Result<T, Failure> {
        self.0.recv().map_err(|_| worker_lost())
    }
}

impl Pool {
    /// `threads` workers, each with a coder of zstd's `level`. With none, tasks run inline.
    pub fn new(threads: usize, level: i8) -> Result<Self, Failure> {
        let coder = || Coder::new(level).map_err(|_| Failure::OutOfMemory);
        let (tasks, queue) = channel::<Task>();
        let queue = Arc::new(Mutex::new(queue));
        let mut pool = Self {
            tasks: (threads > 0).then_some(tasks),
            threads: Vec::new(),
            inline: coder()?,
        };
        for number in 0..threads {
            let (queue, mut coder) = (Arc::clone(&queue), coder()?);
            let work = move || {
                while let Some(task) = next_task(&queue) {
                    task(&mut coder);
                }
            };
            let thread = Builder::new()
                .name(format!("worker {number}"))
                .spawn(work)
                .map_err(|_| Failure::OutOfMemory)?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// As many workers as the machine has processors, at most 8: more only cost memory.
    pub fn for_machine(level: i8) -> Result<Self, Failure> {
        Self::new(
            std::thread::available_parallelism()
                .map_or(1, usize::from)
                .min(8),
            level,
        )
    }

    /// How many tasks should be under way, so that no worker waits.
    pub fn width(&self) -> usize {
        self.threads.len().max(1)
    }

    /// A coder for what is done on the spot.
    pub fn coder(&mut self) -> &mut Coder {
        &mut self.inline
    }

    /// Hands a task to a worker.
    pub fn run<T: Send + 'static>(
        &mut self,
        task: impl FnOnce(&mut Coder) -> T + Send + 'static,
    ) -> Result<Ticket<T>, Failure> {
        let (answer, ticket) = channel();
        let task = move |coder: &mut Coder| {
            let _ = answer.send(task(coder)); // nobody waits any more when a run was given up
        };
        match &self.tasks {
            Some(tasks) => tasks.send(Box::new(task)).map_err(|_| worker_lost())?,
            None => task(&mut self.inline),
        }
        Ok(Ticket(ticket))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.tasks = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // a worker that panicked has told its waiter already
        }
    }
}

fn next_task(queue: &Mutex<Receiver<Task>>) -> Option<Task> {
    queue.lock().ok()?.recv().ok()
}

#[track_caller]
fn worker_lost() -> Failure {
    Failure::internal("a worker thread ended")
}
