// SPDX-License-Identifier: GPL-3.0-or-later
//! Sources, targets and base snapshots in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wyng_control::{
    BaseLabel, BaseOf, Failure, FoundSource, Method, TargetFault, TargetFound, TargetKind,
    TargetLook,
};
use wyng_engine::world::{
    Beside, ChangePage, Errno, SourceShape, TargetShape, TargetWish, There, Volumes,
};

use super::plug::Plug;

/// What each base snapshot is of, and its bytes.
pub type Bases = BTreeMap<BaseOf, (BaseLabel, Vec<u8>)>;

/// Changes are told in blocks of so many bytes, a few ranges at once.
const BLOCK_BYTES: usize = 512;
const PAGE_RANGES: usize = 3;

/// Volumes whose bytes, clones and changes the test sets.
pub struct MemoryVolumes {
    plug: Plug,
    /// What the caller has for each source's number.
    pub sources: Vec<Vec<u8>>,
    /// Sources lie on a file system that clones files.
    pub clones: bool,
    /// What is told of changes leaves these bytes out.
    pub untold: std::ops::Range<u64>,
    bases: Bases,
    /// What is left to be told of each source's changes.
    changes: BTreeMap<u32, VecDeque<(u64, u64)>>,
    /// What stands where a target goes.
    pub there: Option<Vec<u8>>,
    /// It is a block device.
    pub is_device: bool,
    /// It is a volume of a pool that does not zero its blocks, which have this length, bytes: a
    /// write to a block that has only zeros gives the rest of the block old bytes.
    pub old_bytes_in: Option<usize>,
    /// The blocks that were written to.
    taken: BTreeSet<usize>,
    /// What is read of what is there from this offset to the other is an error, until it is
    /// overwritten.
    pub unreadable: Option<(u64, u64)>,
    /// A byte of a target that its medium always gives back wrong.
    pub rotten_byte: Option<u64>,
    /// After so many writes to targets there is no room.
    pub room_for_writes: Option<u64>,
    /// A target cannot be cloned back.
    pub undo_fails: bool,
    /// What the caller finds wrong at a target.
    pub fault: Option<TargetFault>,
    /// What is read past the page cache of targets.
    pub target_bytes_read: u64,
    /// What each target's clone holds, which it can become again.
    kept: BTreeMap<u32, Vec<u8>>,
    base_of: BTreeMap<u32, BaseOf>,
    /// Targets as they are now.
    pub targets: BTreeMap<u32, Vec<u8>>,
    /// Targets that got their names.
    pub placed: BTreeMap<u32, Vec<u8>>,
}

impl MemoryVolumes {
    /// No source and no target; these base snapshots.
    pub fn new(plug: Plug, bases: Bases) -> Self {
        Self {
            plug,
            sources: Vec::new(),
            clones: false,
            untold: 0..0,
            bases,
            changes: BTreeMap::new(),
            there: None,
            is_device: false,
            old_bytes_in: None,
            taken: BTreeSet::new(),
            unreadable: None,
            rotten_byte: None,
            room_for_writes: None,
            undo_fails: false,
            fault: None,
            target_bytes_read: 0,
            kept: BTreeMap::new(),
            base_of: BTreeMap::new(),
            targets: BTreeMap::new(),
            placed: BTreeMap::new(),
        }
    }

    /// The base snapshots.
    pub fn bases(&self) -> &Bases {
        &self.bases
    }

    /// What the base snapshot is of; and notes what changed since, to be told page by page.
    fn compare_with_base(&mut self, item: u32, of: &BaseOf) -> Option<(BaseLabel, u64)> {
        let (label, base) = self.bases.get(of).filter(|_| self.clones)?;
        let mut changes = differences(base, &self.sources[item as usize]);
        changes.retain(|(begin, _)| !self.untold.contains(begin));
        self.changes.insert(item, changes);
        Some((*label, base.len() as u64))
    }

    /// Reads what is there; what is in the unreadable range is an error.
    fn read_there(&self, there: &[u8], offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        let is_bad = self
            .unreadable
            .is_some_and(|(begin, end)| begin < offset + bytes.len() as u64 && offset < end);
        if is_bad {
            Err(Errno(5))
        } else {
            Ok(copy(there, offset, bytes))
        }
    }
}

impl Volumes for MemoryVolumes {
    fn open_source(
        &mut self,
        item: u32,
        volume: &str,
        of: &BaseOf,
        _: Option<Vec<u8>>,
    ) -> Result<SourceShape, Failure> {
        self.plug.step();
        let base = self.compare_with_base(item, of);
        self.base_of.insert(item, *of);
        let mut found = FoundSource::default();
        found.origin.path = format!("/{volume}").into_bytes();
        found.origin.leads_to.clone_from(&found.origin.path);
        Ok(SourceShape {
            size_bytes: self.sources[item as usize].len() as u64,
            snapshot: self.clones,
            base,
            found,
        })
    }

    fn next_changes(&mut self, item: u32) -> Result<Option<ChangePage>, Failure> {
        self.plug.step();
        let Some(left) = self.changes.get_mut(&item) else {
            return Ok(None);
        };
        let page = left.drain(..left.len().min(PAGE_RANGES)).collect();
        Ok(Some(ChangePage {
            method: Method::Fiemap,
            ranges: page,
        }))
    }

    fn next_data(&mut self, item: u32, offset: u64) -> Result<Option<(u64, u64)>, Errno> {
        self.plug.step();
        let size = self.sources[item as usize].len() as u64;
        Ok((offset < size).then_some((offset, size)))
    }

    fn read_source(&mut self, item: u32, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        self.plug.step();
        // The clone of a target is sound: only what the target itself reads may not be.
        match self.kept.get(&item) {
            Some(kept) => Ok(copy(kept, offset, bytes)),
            None => self.read_there(&self.sources[item as usize], offset, bytes),
        }
    }

    fn source_bytes(&mut self, item: u32) -> Result<u64, Errno> {
        self.plug.step();
        Ok(self.sources[item as usize].len() as u64)
    }

    fn end_reading(&mut self, _: u32) {}

    fn rotate(&mut self, item: u32, label: &BaseLabel) -> Result<bool, Failure> {
        self.plug.change();
        assert!(self.clones, "only a snapshot becomes a base");
        let source = self.sources[item as usize].clone();
        self.bases.insert(label.of, (*label, source));
        Ok(true)
    }

    fn close_source(&mut self, _: u32) {}

    fn drop_base(&mut self, item: u32) -> Result<(), Failure> {
        self.plug.change();
        self.bases.remove(&self.base_of[&item]);
        Ok(())
    }

    fn look_at_target(&mut self, _: u32, wish: &TargetWish<'_>) -> Result<TargetLook, Failure> {
        self.plug.step();
        let found = TargetFound {
            holds_bytes: self.there.is_some(),
            free_bytes: None,
            keeps_holes: true,
            remembered: None,
        };
        Ok(TargetLook {
            path: format!("/{}", wish.volume),
            found: self.fault.clone().map_or(Ok(found), Err),
        })
    }

    fn open_target(
        &mut self,
        item: u32,
        wish: &TargetWish<'_>,
        _: &str,
    ) -> Result<TargetShape, Failure> {
        self.plug.change();
        let Some(old) = self.there.clone() else {
            self.targets.insert(item, Vec::new());
            return Ok(TargetShape {
                fresh: None,
                kind: TargetKind::File,
                there: None,
                remembered: None,
            });
        };
        self.sources = vec![old.clone()];
        let base = self.compare_with_base(item, &wish.base_of);
        self.base_of.insert(item, wish.base_of);
        let in_target = wish.in_place || self.clones;
        let beside = match (wish.in_place, self.clones) {
            (true, true) => Some(Beside::Kept),
            (false, false) => Some(Beside::Old),
            _ => None,
        };
        if beside == Some(Beside::Kept) {
            self.kept.insert(item, old.clone());
        }
        let there = There {
            size_bytes: old.len() as u64,
            in_target,
            in_place: wish.in_place,
            beside,
            base,
        };
        self.targets
            .insert(item, if in_target { old } else { Vec::new() });
        let kind = if self.is_device {
            TargetKind::Device
        } else {
            TargetKind::File
        };
        Ok(TargetShape {
            fresh: None,
            kind,
            there: Some(there),
            remembered: None,
        })
    }

    fn next_target_data(&mut self, item: u32, offset: u64) -> Result<Option<(u64, u64)>, Errno> {
        self.plug.step();
        let size = self.targets[&item].len() as u64;
        Ok((offset < size).then_some((offset, size)))
    }

    fn read_target(&mut self, item: u32, offset: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
        self.plug.step();
        let read = self.read_there(&self.targets[&item], offset, bytes)?;
        self.target_bytes_read += read as u64;
        if let Some(place) = self
            .rotten_byte
            .and_then(|rotten| usize::try_from(rotten.checked_sub(offset)?).ok())
            .filter(|place| *place < read)
        {
            bytes[place] ^= 1;
        }
        Ok(read)
    }

    fn write_target(&mut self, item: u32, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.plug.step();
        if let Some(room) = &mut self.room_for_writes {
            *room = room.checked_sub(1).ok_or(Errno(28))?;
        }
        let (target, begin) = (
            self.targets.get_mut(&item).unwrap(),
            usize::try_from(offset).unwrap(),
        );
        if !self.is_device {
            target.resize(target.len().max(begin + bytes.len()), 0);
        }
        let block = self.old_bytes_in;
        take_blocks(target, &mut self.taken, block, begin..begin + bytes.len());
        target[begin..begin + bytes.len()].copy_from_slice(bytes);
        self.unreadable = self
            .unreadable
            .filter(|(from, to)| *from < offset || *to > offset + bytes.len() as u64);
        Ok(())
    }

    fn punch_target(&mut self, item: u32, offset: u64, length: u64) -> Result<(), Errno> {
        self.plug.change();
        let target = self.targets.get_mut(&item).unwrap();
        let [begin, end] = [offset, offset + length]
            .map(|place| usize::try_from(place).unwrap().min(target.len()));
        take_blocks(target, &mut self.taken, self.old_bytes_in, begin..end);
        target[begin..end].fill(0);
        // Whole blocks are given back.
        let block = self.old_bytes_in.unwrap_or(1);
        let whole = begin.div_ceil(block)..end / block;
        self.taken.retain(|number| !whole.contains(number));
        Ok(())
    }

    fn finish_target(&mut self, item: u32, size_bytes: u64) -> Result<(), Errno> {
        self.plug.change();
        if !self.is_device {
            self.targets
                .get_mut(&item)
                .unwrap()
                .resize(usize::try_from(size_bytes).unwrap(), 0);
        }
        Ok(())
    }

    fn place_target(&mut self, item: u32, _: &str, _: &str) -> Result<(), Failure> {
        self.plug.change();
        let target = self.targets[&item].clone();
        self.there = self.there.is_some().then(|| target.clone());
        self.placed.insert(item, target);
        Ok(())
    }

    fn undo_target(&mut self, item: u32, _: u64) -> Result<bool, Failure> {
        self.plug.change();
        if !self.undo_fails {
            self.targets.insert(item, self.kept[&item].clone());
        }
        Ok(!self.undo_fails)
    }

    // What it is now is still looked at.
    fn close_target(&mut self, _: u32) {}
}

/// Takes the blocks of a range. One that has nothing but zeros, and was not written to, gets old
/// bytes where it lies outside of the range.
fn take_blocks(
    target: &mut [u8],
    taken: &mut BTreeSet<usize>,
    block: Option<usize>,
    range: std::ops::Range<usize>,
) {
    let Some(block) = block else { return };
    for number in range.start / block..range.end.div_ceil(block) {
        let begin = number * block;
        let end = (begin + block).min(target.len());
        let is_whole = range.start <= begin && end <= range.end;
        let is_new = taken.insert(number) && target[begin..end].iter().all(|byte| *byte == 0);
        if is_new && !is_whole {
            target[begin..end].fill(0xee);
        }
    }
}

/// How many bytes were copied.
fn copy(from: &[u8], offset: u64, bytes: &mut [u8]) -> usize {
    let from = from
        .get(usize::try_from(offset).unwrap()..)
        .unwrap_or_default();
    let length = from.len().min(bytes.len());
    bytes[..length].copy_from_slice(&from[..length]);
    length
}

/// The ranges in which `new` differs from `old`, in whole blocks, ascending and apart.
fn differences(old: &[u8], new: &[u8]) -> VecDeque<(u64, u64)> {
    let mut ranges: VecDeque<(u64, u64)> = VecDeque::new();
    for begin in (0..new.len()).step_by(BLOCK_BYTES) {
        let end = new.len().min(begin + BLOCK_BYTES);
        if old.get(begin..end) == Some(&new[begin..end]) {
            continue;
        }
        match ranges.back_mut() {
            Some(last) if last.1 == begin as u64 => last.1 = end as u64,
            _ => ranges.push_back((begin as u64, end as u64)),
        }
    }
    ranges
}
