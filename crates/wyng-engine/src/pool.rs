// SPDX-License-Identifier: GPL-3.0-or-later
//! Worker threads for pure tasks: hash, compress, seal, open. Callers take the answers in an order
//! of their own, so results do not depend on the number of threads. Without threads, each task runs
//! when it is submitted. Nothing else in the engine runs in parallel.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

use wyng_archive::crypto::Coder;
use wyng_control::Failure;

type Task = Box<dyn FnOnce(&mut Coder) + Send>;

/// Worker threads, and a coder for work on the calling thread.
pub struct Pool {
    tasks: Option<Sender<Task>>,
    threads: Vec<JoinHandle<()>>,
    inline: Coder,
}

/// The answer of one task, which may not be ready yet.
pub struct Ticket<T>(Receiver<T>);

impl<T> Ticket<T> {
    /// Waits for the answer.
    pub fn wait(self) -> Result<T, Failure> {
        self.0.recv().map_err(|_| worker_lost())
    }
}

impl Pool {
    /// A pool of `threads` workers, each with a coder for this zstd `level`; with 0 threads, tasks
    /// run on the calling thread. Fails with [`Failure::OutOfMemory`].
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

    /// A pool with as many workers as the machine has processors, at most 8: more workers would
    /// only take memory.
    pub fn for_machine(level: i8) -> Result<Self, Failure> {
        Self::new(
            std::thread::available_parallelism()
                .map_or(1, usize::from)
                .min(8),
            level,
        )
    }

    /// How many tasks must be under way so that no worker waits.
    pub fn width(&self) -> usize {
        self.threads.len().max(1)
    }

    /// The coder for work on the calling thread.
    pub fn coder(&mut self) -> &mut Coder {
        &mut self.inline
    }

    /// Submits a task to the workers.
    pub fn run<T: Send + 'static>(
        &mut self,
        task: impl FnOnce(&mut Coder) -> T + Send + 'static,
    ) -> Result<Ticket<T>, Failure> {
        let (answer, ticket) = channel();
        let task = move |coder: &mut Coder| {
            let _ = answer.send(task(coder)); // nobody waits for the tasks of an abandoned run
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
            let _ = thread.join(); // whoever waits for a worker that panicked gets an error
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
