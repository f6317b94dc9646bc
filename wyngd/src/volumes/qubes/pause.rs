// SPDX-License-Identifier: GPL-3.0-or-later
//! A qube stands still while all of its running volumes are cloned, so that they are of one moment.
//! The journal of it is a feature of the qube itself: it is set before the pause and removed after
//! it, so that the next daemon finds a qube that this one left paused, and lets it go on.

use std::time::{Duration, Instant};

use wyng_control::QubeFault;
use wyng_qube::answer::Listed;

use super::super::open::Trusted;
use super::Qubes;

/// The feature of a qube that is paused; its value is the mark of the daemon.
const PAUSED: &str = "wyng-paused";
/// Maximum time for which a qube stands still.
const STILL_MAX: Duration = Duration::from_secs(10);

impl Qubes {
    /// Does `work` while the qube is paused. What was done is of no use if it took too long, or
    /// failed; the qube goes on in either case.
    pub(super) fn while_paused<T>(
        &self,
        qube: &str,
        work: impl FnOnce(Instant) -> Result<T, QubeFault>,
    ) -> Result<T, QubeFault> {
        self.api
            .send("admin.vm.feature.Set", PAUSED, qube, &self.mark)?;
        let deadline = Instant::now() + STILL_MAX;
        let paused = self.api.send("admin.vm.Pause", "", qube, "");
        let done = match &paused {
            Ok(_) => work(deadline),
            Err(fault) => Err(fault.clone()),
        };
        let is_late = Instant::now() > deadline;
        // A pause that was not answered may still come.
        self.let_go_on(qube)?;
        paused?;
        match done {
            Ok(_) if is_late => Err(QubeFault::PausedTooLong),
            done => done,
        }
    }

    /// Unpauses a qube, and removes the mark once it runs.
    fn let_go_on(&self, qube: &str) -> Result<(), QubeFault> {
        match self.api.send("admin.vm.Unpause", "", qube, "") {
            Ok(_) => {}
            Err(QubeFault::Exception { class, .. }) if class == "QubesVMNotPausedError" => {}
            Err(fault) => {
                tracing::error!(qube, %fault, "a qube may still be paused: it is tried again");
                return Err(fault);
            }
        }
        self.api
            .send("admin.vm.feature.Remove", PAUSED, qube, "")
            .map(drop)
    }

    /// Lets qubes go on that this daemon's state directory had paused, in an earlier run. What is
    /// paused by anybody else stays so.
    pub(super) fn let_left_over_go_on(&self, qubes: &[Listed]) {
        for qube in qubes.iter().filter(|qube| qube.state == "Paused") {
            let mark = self
                .api
                .send("admin.vm.feature.Get", PAUSED, &qube.name, "");
            if mark.is_ok_and(|mark| self.is_left_over(&mark)) {
                tracing::warn!(qube = qube.name, "a qube that was left paused goes on");
                let _ = self.let_go_on(&qube.name);
            }
        }
    }

    /// The same when a service begins. A private daemon, and one that cannot ask qubesd now, leaves
    /// it to its next run.
    pub(in crate::volumes) fn begin(&self, trusted: Trusted) {
        if let Ok(qubes) = self.api.list() {
            self.let_left_over_go_on(&qubes);
            self.restores.begin((&self.api, &self.pools, trusted));
        }
    }

    fn is_left_over(&self, mark: &str) -> bool {
        let owner = |mark: &str| mark.split('/').next().unwrap_or_default().to_owned();
        owner(mark) == owner(&self.mark) && mark != self.mark
    }
}
