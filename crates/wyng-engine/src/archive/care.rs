// SPDX-License-Identifier: GPL-3.0-or-later
//! Care of the cache before a run writes: no folder that is not in use, and no file that is mostly
//! dead.

use wyng_control::Failure;

use super::known::Archive;
use crate::world::Files;

impl Archive {
    /// Removes a cache that the ledger does not name, which an interrupted command may have left,
    /// and writes the cache anew if more than half of its nodes are dead. As when an archive is
    /// opened, the new cache is built beside the old cache, and counts once the ledger names it.
    ///
    /// While there are packs that no commit has, nothing is written anew: the journal alone may
    /// know these packs.
    pub fn tidy_cache(&mut self, files: &mut impl Files) -> Result<(), Failure> {
        let unused = self.folder.cache(self.ledger.cache.other());
        if !files.list(&unused)?.is_empty() {
            files.remove(&unused)?;
        }
        if !self.uncommitted.packs.is_empty() || !self.cache.is_half_dead(files)? {
            return Ok(());
        }
        let packs_end = self.head.next_pack();
        let rewritten = self
            .cache
            .rewrite(files, &self.credential, &unused, packs_end)?;
        let old = self.folder.cache(self.ledger.cache);
        self.ledger.cache = self.ledger.cache.other();
        // From here on the new cache counts.
        self.ledger.write(files, &self.folder)?;
        self.cache = rewritten;
        self.cache.index.set_noted(&self.ledger.notes);
        files.remove(&old)?;
        self.follow_head(files)
    }
}
