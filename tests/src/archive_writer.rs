// SPDX-License-Identifier: GPL-3.0-or-later
//! An archive on disk without a daemon: the simplest program that writes the format, directly over
//! `wyng-archive`.
//!
//! Everything is in memory, nothing is optimised, and the owner's choices are drawn at random from
//! a seed. So its archives differ from those of `wyngd` wherever the format leaves a choice, and a
//! reader must accept both.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use wyng_archive::BlobName;
use wyng_archive::crypto::{
    ArchiveId, Coder, Credential, Domain, DomainId, Entropy, Epoch, Id, Kind, NonceSeed, Password,
    RecoveryKey, Root, Secret, SessionKey, SlotParams, open_slot, pack_name, seal_slot, slot_name,
};
use wyng_archive::format::{
    ArchiveSettings, COMMIT_BYTES, Commit, CommitStamp, ContentTree, Directory, KeyEntry, KeysTree,
    Node, PackEntry, PackLayout, PackState, PacksRoot, PacksTree, Place, RecordKind, SessionEntry,
    SessionsTree, Shape, Slot, SlotClear, SlotKind, SlotLabel, SlotRef, Tail, TreeRoot,
    VolumeEntry, VolumeId, VolumesTree, chunk_count, skip_of,
};
use wyng_archive::plan::{self, EditError, Editor, Nodes, NodesMut, Walk, read_packs};
use zeroize::Zeroizing;

/// Time of a seeded archive's first run, seconds since 1970; later runs follow a minute apart.
const SEEDED_TIME: i64 = 1_900_000_000;

/// Kept time between two commits, seconds: every second commit counts as a run.
const COMMIT_SECS: u64 = 7 * 3600;

/// Why an archive cannot be made or read, as text for a person.
pub type Problem = Box<dyn std::error::Error>;

/// Random bytes, from a seed or from the kernel.
struct Random(blake3::OutputReader);

impl Random {
    fn new(seed: Option<u64>, generation: u64) -> Result<Self, Problem> {
        let mut start = [0; 32];
        match seed {
            // Two calls with the same seed must not repeat a key or a salt.
            Some(seed) => {
                start = *blake3::hash(&[seed.to_le_bytes(), generation.to_le_bytes()].concat())
                    .as_bytes()
            }
            None => std::io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut start)?,
        }
        Ok(Self(blake3::Hasher::new_keyed(&start).finalize_xof()))
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }

    fn below(&mut self, bound: u64) -> u64 {
        u64::from_le_bytes(self.bytes()) % bound
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    fn seed(&mut self) -> NonceSeed {
        NonceSeed(self.bytes())
    }
}

/// An archive with its whole catalog in memory.
pub struct ArchiveWriter {
    folder: PathBuf,
    random: Random,
    seeded: bool,
    credential: Credential,
    /// The bytes of every commit, from generation 1 on.
    commits: Vec<Vec<u8>>,
    head: Commit,
    /// Plain bytes of all nodes in live packs.
    nodes: HashMap<Id, Vec<u8>>,
    /// All chunks in live packs.
    chunks: HashSet<Id>,
    coder: Coder,
    /// Whether runs also pack a chunk of a domain that nothing else names.
    strays: bool,
    /// Whether runs name chunks in another domain than that of their session.
    misnames: bool,
}

/// Which pack of a run is closed.
#[derive(Clone, Copy, PartialEq)]
enum Position {
    /// A full pack.
    Full,
    /// The last pack.
    LastOfRun,
}

/// A pack being filled.
struct OpenPack {
    number: u64,
    layout: PackLayout,
    bytes: Vec<u8>,
}

/// The packs of one run.
struct Packs {
    open: OpenPack,
    closed: Vec<(u64, PackEntry)>,
}

impl ArchiveWriter {
    /// Opens the archive in `folder`; makes one if the folder is empty or missing.
    pub fn open_or_create(
        folder: &Path,
        passphrase: &[u8],
        seed: Option<u64>,
    ) -> Result<Self, Problem> {
        let is_empty = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
        if !folder.exists() || is_empty {
            Self::create(folder, passphrase, seed)
        } else {
            Self::open(folder, passphrase, seed)
        }
    }

    fn create(folder: &Path, passphrase: &[u8], seed: Option<u64>) -> Result<Self, Problem> {
        fs::create_dir_all(folder)?;
        let mut random = Random::new(seed, 0)?;
        let root = Root::new(Secret::take(&mut random.bytes()), Epoch(1));
        let archive = ArchiveId(random.bytes());
        let credential = root.credential(archive).ok_or("no data key")?;
        let chunk_size_bytes = 1024_u32 << random.below(8);
        let pack_size_bytes = ((64 * 1024_u32) << random.below(5)).max(2 * chunk_size_bytes);
        let settings = ArchiveSettings {
            chunk_size_bytes,
            pack_size_bytes,
            hold_off_runs: u32::try_from(random.below(5))?,
            hold_off_secs: random.below(1_000_000),
            minimum_age_secs: 604_800,
            zstd_level: [-3, 1, 3, 9][usize::try_from(random.below(4))?],
            shared_domain: if random.coin() {
                Some(DomainId(random.bytes()))
            } else {
                None
            },
        };
        let mut slots = vec![(SlotKind::Passphrase, Zeroizing::new(passphrase.to_vec()))];
        if random.coin() {
            let key = RecoveryKey::new(&mut random.bytes());
            eprintln!("recovery key {}", key.printed().as_str());
            slots.push((SlotKind::RecoveryKey, Zeroizing::new(key.chars().to_vec())));
        }
        let mut listed = Vec::new();
        for (number, (kind, password)) in (0_u8..).zip(slots) {
            let (memory_kib, passes) = (SlotParams::LEAST.memory_kib(), SlotParams::LEAST.passes());
            let clear = SlotClear {
                number,
                kind,
                archive,
                memory_kib,
                passes,
                salt: random.bytes(),
            };
            let password = Password::new(password).ok_or("the passphrase is empty or too long")?;
            let slot = seal_slot(&root, clear, &password, random.seed())?;
            let label = SlotLabel::new(
                ["", "laptop", "im Tresor, grün"][usize::try_from(random.below(3))?],
            )
            .ok_or("a label")?;
            let time = SEEDED_TIME - i64::try_from(random.below(1_000_000))?;
            listed.push(SlotRef {
                number,
                time,
                kind,
                hash: *blake3::hash(&slot.encode()).as_bytes(),
                label,
            });
            put(folder, slot_name(number), &slot.encode())?;
        }
        let head = Commit {
            generation: 0,
            time: SEEDED_TIME,
            writer: random.bytes(),
            previous: [0; 32],
            skip: [0; 32],
            stamp: CommitStamp::first(0),
            earlier_hold_off: None,
            floor: None,
            epoch: Epoch(1),
            settings,
            next_slot: u16::try_from(listed.len())?,
            packs: PacksRoot {
                size: 0,
                root: None,
            },
            keys: TreeRoot::EMPTY,
            volumes: TreeRoot::EMPTY,
            tail: None,
            slots: listed,
        };
        let coder = Coder::new(settings.zstd_level)?;
        let mut writer = Self {
            folder: folder.to_owned(),
            random,
            seeded: seed.is_some(),
            credential,
            commits: Vec::new(),
            head,
            nodes: HashMap::new(),
            chunks: HashSet::new(),
            coder,
            strays: false,
            misnames: false,
        };
        writer.commit(|head| head)?;
        Ok(writer)
    }

    fn open(folder: &Path, passphrase: &[u8], seed: Option<u64>) -> Result<Self, Problem> {
        let password = Password::new(Zeroizing::new(passphrase.to_vec()))
            .ok_or("the passphrase is empty or too long")?;
        let slots = (0..=u8::MAX).filter_map(|number| get(folder, slot_name(number)).ok());
        let mut opened = slots.filter_map(|bytes| {
            let slot = Slot::decode(&bytes).ok()?;
            Some((slot.clear().archive, open_slot(&slot, &password).ok()?))
        });
        let (archive, root) = opened.next().ok_or("the passphrase opens no slot")?;
        let credential = root.credential(archive).ok_or("no data key")?;
        let names = (1..).map(|generation| credential.commit_name(generation));
        let commits: Vec<Vec<u8>> = names.map_while(|name| get(folder, name).ok()).collect();
        let generation = u64::try_from(commits.len())?;
        let mut coder = Coder::new(0)?;
        let mut plain = Vec::new();
        let bytes = commits.last().ok_or("there is no commit")?;
        credential.open_meta(
            Kind::Commit,
            &mut coder,
            &Id(credential.commit_name(generation).0),
            bytes,
            &mut plain,
        )?;
        let head = Commit::decode(&plain, generation)?;
        let mut writer = Self {
            folder: folder.to_owned(),
            random: Random::new(seed, generation)?,
            seeded: seed.is_some(),
            coder: Coder::new(head.settings.zstd_level)?,
            strays: false,
            misnames: false,
            credential,
            commits,
            head,
            nodes: HashMap::new(),
            chunks: HashSet::new(),
        };
        writer.load_catalog()?;
        Ok(writer)
    }

    /// Reads every pack of the head: its directory, its nodes, and the ids of its chunks.
    fn load_catalog(&mut self) -> Result<(), Problem> {
        let Self {
            folder,
            credential,
            coder,
            head,
            ..
        } = self;
        let packs = read_packs(head, &mut |pack: &PackEntry,
                                           place: &Place,
                                           level,
                                           room|
         -> Result<Node<PacksTree>, Problem> {
            let bytes = get(folder, pack.name)?;
            let record = part(&bytes, place.offset_bytes, place.length_bytes)?;
            let mut plain = Vec::new();
            credential.open_meta(Kind::Node, coder, &place.id, record, &mut plain)?;
            Ok(Node::decode(&plain, level, room)?)
        })
        .map_err(|problem| problem.to_string())?;
        for pack in packs.values() {
            let bytes = get(&self.folder, pack.name)?;
            let record = part(
                &bytes,
                pack.directory_offset_bytes,
                pack.directory_length_bytes,
            )?;
            let mut plain = Vec::new();
            self.credential.open_meta(
                Kind::Directory,
                &mut self.coder,
                &pack.directory,
                record,
                &mut plain,
            )?;
            for entry in Directory::decode(&plain, pack.directory_offset_bytes)?.entries {
                if entry.kind == RecordKind::Node {
                    let record = part(&bytes, entry.offset_bytes, entry.length_bytes)?;
                    let mut node = Vec::new();
                    self.credential.open_meta(
                        Kind::Node,
                        &mut self.coder,
                        &entry.id,
                        record,
                        &mut node,
                    )?;
                    self.nodes.insert(entry.id, node);
                } else {
                    self.chunks.insert(entry.id);
                }
            }
        }
        Ok(())
    }

    /// From now on each run also packs a chunk that no session reaches, of a domain that nothing
    /// names, as an unfinished run leaves it.
    pub fn stray(&mut self) {
        self.strays = true;
    }

    /// From now on chunks are named in another domain than that of their session: each can be
    /// opened, but is not the chunk that its session means.
    pub fn misname(&mut self) {
        self.misnames = true;
    }

    /// One run: a session of each image, in one commit. The time of the run is the name of all of
    /// them.
    pub fn back_up(&mut self, images: &[(String, PathBuf)]) -> Result<i64, Problem> {
        let key_number = u32::try_from(self.head.keys.size)?;
        let entropy = Entropy {
            kernel: Secret::take(&mut self.random.bytes()),
            generation: self.head.generation,
            wall_nanos: 0,
            monotonic_nanos: 0,
            process_id: 0,
        };
        let (key, envelope) = SessionKey::draw(&self.credential, key_number, &entropy)?;
        let mut volumes = self.volumes()?;
        let mut times = BTreeSet::new();
        for (_, volume) in &volumes {
            times.extend(
                self.sessions(volume)?
                    .iter()
                    .map(|(_, session)| session.time),
            );
        }
        // A clock that goes back: the order of sessions is that of their numbers.
        let mut time = self.now()? - 90 * i64::try_from(self.random.below(3))?;
        while times.contains(&time) {
            time += 1;
        }
        let first_pack = self.head.next_pack();
        let mut packs = Packs {
            open: OpenPack::new(first_pack, self.head.settings.pack_size_bytes),
            closed: Vec::new(),
        };
        // Chunks first, then nodes: the order in a pack.
        let mut contents = Vec::new();
        for (name, path) in images {
            let place = volumes.iter().position(|(_, volume)| volume.name == *name);
            let place = match place {
                Some(place) => place,
                None => {
                    let number = volumes.last().map_or(0, |(number, _)| number + 1);
                    volumes.push((number, self.new_volume(name)));
                    volumes.len() - 1
                }
            };
            let image = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let domain = if self.misnames {
                DomainId(self.random.bytes())
            } else {
                volumes[place].1.domain
            };
            let domain = self.credential.domain(domain);
            let (ids, added_bytes) = self.add_chunks(&mut packs, &key, &domain, &image)?;
            contents.push((place, image.len() as u64, ids, added_bytes));
        }
        if self.strays {
            let domain = self.credential.domain(DomainId(self.random.bytes()));
            self.add_chunks(&mut packs, &key, &domain, &[1; 1024])?;
        }
        for (place, size_bytes, ids, added_bytes) in contents {
            let (live, tagged) = (self.random.coin(), self.random.coin());
            let entry = &volumes[place].1;
            let count = chunk_count(size_bytes, entry.chunk_size_bytes);
            let changes = (0..).zip(ids).filter(|(_, id)| id.is_some());
            let root =
                edit::<ContentTree>(self, &mut packs, &plan::Root::empty(count), count, changes)?;
            let entry = &mut volumes[place].1;
            let session = SessionEntry {
                time,
                kept_secs: self.head.stamp.stamp.kept_secs,
                generation: self.head.generation + 1,
                size_bytes,
                added_bytes,
                chunk_size_bytes: entry.chunk_size_bytes,
                live,
                pinned: tagged && live,
                domain: entry.domain,
                root: root.root.unwrap_or(Id::ZERO),
                settings: Vec::new(),
                tags: if tagged {
                    vec!["kept".into()]
                } else {
                    Vec::new()
                },
            };
            let old = plan::Root {
                size: entry.sessions_size,
                child: (entry.sessions_root != Id::ZERO).then_some(entry.sessions_root),
            };
            let size = entry.sessions_size + 1;
            let (sessions_size, size_before) = (size, entry.sessions_size);
            let root = edit::<SessionsTree>(
                self,
                &mut packs,
                &old,
                sessions_size,
                [(size_before, Some(session))],
            )?;
            let entry = &mut volumes[place].1;
            (entry.sessions_size, entry.sessions_root, entry.size_bytes) =
                (root.size, root.root.unwrap_or(Id::ZERO), size_bytes);
        }
        let size = volumes.last().map_or(0, |(number, _)| number + 1);
        let old = plan::Root {
            size: self.head.volumes.size,
            child: self.head.volumes.root,
        };
        let entries = volumes
            .into_iter()
            .map(|(number, volume)| (number, Some(volume)));
        let volumes = edit::<VolumesTree>(self, &mut packs, &old, size, entries)?;
        let old = plan::Root {
            size: self.head.keys.size,
            child: self.head.keys.root,
        };
        let entry: (u64, Option<KeyEntry>) = (self.head.keys.size, Some(envelope));
        let keys = edit::<KeysTree>(self, &mut packs, &old, entry.0 + 1, [entry])?;
        let (packs, tail) = self.finish_packs(packs)?;
        self.commit(|head| Commit {
            time,
            stamp: head.stamp.next(head.stamp.stamp.kept_secs + COMMIT_SECS),
            volumes,
            keys,
            packs,
            tail: Some(tail),
            ..head
        })?;
        Ok(time)
    }

    fn now(&self) -> Result<i64, Problem> {
        if self.seeded {
            return Ok(SEEDED_TIME + i64::try_from(self.head.generation)? * 60);
        }
        Ok(i64::try_from(
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)?
                .as_secs(),
        )?)
    }

    fn new_volume(&mut self, name: &str) -> VolumeEntry {
        let settings = self.head.settings;
        VolumeEntry {
            id: VolumeId(self.random.bytes()),
            domain: settings
                .shared_domain
                .unwrap_or(DomainId(self.random.bytes())),
            size_bytes: 0,
            chunk_size_bytes: settings.chunk_size_bytes,
            sessions_size: 0,
            sessions_root: Id::ZERO,
            name: name.to_owned(),
            description: if self.random.coin() {
                format!("the image {name}")
            } else {
                String::new()
            },
        }
    }

    /// The id of each chunk, `None` for zeros, and the total length of the new records, bytes.
    fn add_chunks(
        &mut self,
        packs: &mut Packs,
        key: &SessionKey,
        domain: &Domain,
        image: &[u8],
    ) -> Result<(Vec<Option<Id>>, u64), Problem> {
        let mut ids = Vec::new();
        let mut added_bytes = 0;
        for chunk in image.chunks(usize::try_from(self.head.settings.chunk_size_bytes)?) {
            if chunk.iter().all(|byte| *byte == 0) {
                ids.push(None);
                continue;
            }
            let id = domain.content_id(chunk);
            ids.push(Some(id));
            if self.chunks.insert(id) {
                let seed = self.random.seed();
                let record = self
                    .credential
                    .seal_chunk(key, &mut self.coder, &id, chunk, seed)?;
                added_bytes += record.len() as u64;
                self.add_record(packs, id, RecordKind::Chunk { key: key.number() }, &record)?;
            }
        }
        Ok((ids, added_bytes))
    }

    fn add_node(&mut self, packs: &mut Packs, plain: Vec<u8>) -> Result<Id, Problem> {
        let id = self.credential.node_id(&plain);
        if !self.nodes.contains_key(&id) {
            let record = self.seal(Kind::Node, &id, &plain)?;
            self.add_record(packs, id, RecordKind::Node, &record)?;
            self.nodes.insert(id, plain);
        }
        Ok(id)
    }

    fn seal(&mut self, kind: Kind, id: &Id, plain: &[u8]) -> Result<Vec<u8>, Problem> {
        let seed = self.random.seed();
        Ok(self
            .credential
            .seal_meta(kind, &mut self.coder, id, plain, seed)?)
    }

    fn add_record(
        &mut self,
        packs: &mut Packs,
        id: Id,
        kind: RecordKind,
        record: &[u8],
    ) -> Result<u32, Problem> {
        let length = u32::try_from(record.len())?;
        if packs.open.layout.room_bytes(1) < length {
            let number = packs.open.number + 1;
            let full = std::mem::replace(
                &mut packs.open,
                OpenPack::new(number, self.head.settings.pack_size_bytes),
            );
            packs
                .closed
                .push((full.number, self.close(&full, Position::Full)?));
        }
        packs.open.append(id, kind, record)
    }

    /// Closes a pack: directory, filler, name, file.
    fn close(&mut self, pack: &OpenPack, position: Position) -> Result<PackEntry, Problem> {
        let plain = pack.layout.directory().encode();
        let directory = self.credential.node_id(&plain);
        let record = self.seal(Kind::Directory, &directory, &plain)?;
        let directory_length_bytes = u32::try_from(record.len())?;
        let length_bytes = pack
            .layout
            .length_bytes(directory_length_bytes, position == Position::LastOfRun);
        let mut bytes = [pack.bytes.as_slice(), &record].concat();
        let filled = bytes.len();
        bytes.resize(usize::try_from(length_bytes)?, 0);
        self.random
            .0
            .fill(bytes.get_mut(filled..).ok_or("a pack is too short")?);
        let name = pack_name(&bytes);
        put(&self.folder, name, &bytes)?;
        Ok(PackEntry {
            name,
            directory,
            length_bytes,
            directory_offset_bytes: pack.layout.end_bytes(),
            directory_length_bytes,
            state: PackState::Live,
        })
    }

    /// Puts the last tail and all closed packs into the pack table, whose new nodes go into the
    /// open pack: the new tail.
    fn finish_packs(&mut self, mut packs: Packs) -> Result<(PacksRoot, Tail), Problem> {
        // Room for the nodes of a run of this size, bytes; a larger run would need several commits.
        if packs.open.layout.room_bytes(16) < 24 * 1024 {
            let number = packs.open.number + 1;
            let full = std::mem::replace(
                &mut packs.open,
                OpenPack::new(number, self.head.settings.pack_size_bytes),
            );
            packs
                .closed
                .push((full.number, self.close(&full, Position::Full)?));
        }
        let mut entries: Vec<(u64, PackEntry)> = self
            .head
            .tail
            .iter()
            .map(|tail| (tail.number, tail.entry))
            .collect();
        entries.append(&mut packs.closed);
        let number = packs.open.number;
        let old = plan::Root {
            size: self.head.packs.size,
            child: self.head.packs.root,
        };
        let mut nodes = TailNodes(InRun {
            writer: self,
            packs: &mut packs,
        });
        let mut editor = tree(Editor::<PacksTree>::new(&old, number, &mut nodes))?;
        for (index, entry) in entries {
            tree(editor.set(index, Some(entry), &mut nodes))?;
        }
        let root = tree(editor.finish(&mut nodes))?;
        let entry = self.close(&packs.open, Position::LastOfRun)?;
        Ok((
            PacksRoot {
                size: root.size,
                root: root.child,
            },
            Tail { number, entry },
        ))
    }

    fn commit(&mut self, change: impl FnOnce(Commit) -> Commit) -> Result<(), Problem> {
        let generation = self.head.generation + 1;
        let hash = |generation: u64| match usize::try_from(generation) {
            Ok(place @ 1..) => self
                .commits
                .get(place - 1)
                .map_or([0; 32], |bytes| *blake3::hash(bytes).as_bytes()),
            _ => [0; 32],
        };
        let (previous, skip) = (hash(generation - 1), hash(skip_of(generation)));
        let commit = Commit {
            generation,
            previous,
            skip,
            ..change(self.head.clone())
        };
        let name = self.credential.commit_name(generation);
        let bytes = self.seal(Kind::Commit, &Id(name.0), &commit.encode())?;
        if bytes.len() != COMMIT_BYTES {
            return Err("a commit of another size".into());
        }
        put(&self.folder, name, &bytes)?;
        self.commits.push(bytes);
        self.head = commit;
        Ok(())
    }

    fn volumes(&self) -> Result<Vec<(u64, VolumeEntry)>, Problem> {
        all::<VolumesTree>(
            self,
            &plan::Root {
                size: self.head.volumes.size,
                child: self.head.volumes.root,
            },
        )
    }

    fn sessions(&self, volume: &VolumeEntry) -> Result<Vec<(u64, SessionEntry)>, Problem> {
        let child = (volume.sessions_root != Id::ZERO).then_some(volume.sessions_root);
        all::<SessionsTree>(
            self,
            &plan::Root {
                size: volume.sessions_size,
                child,
            },
        )
    }

    fn node<S: Shape>(&self, id: &Id, level: u8, room: u64) -> Result<Node<S>, Problem> {
        let plain = self.nodes.get(id).ok_or("a node is missing")?;
        Ok(Node::decode(plain, level, room)?)
    }
}

impl OpenPack {
    fn new(number: u64, size_bytes: u32) -> Self {
        Self {
            number,
            layout: PackLayout::new(size_bytes),
            bytes: Vec::new(),
        }
    }

    fn append(&mut self, id: Id, kind: RecordKind, record: &[u8]) -> Result<u32, Problem> {
        let offset = self
            .layout
            .push(id, kind, u32::try_from(record.len())?)
            .ok_or("a record does not fit its pack")?;
        self.bytes.extend_from_slice(record);
        Ok(offset)
    }
}

/// Nodes that are found by id: they are read from memory, and written into the run's packs.
struct InRun<'a> {
    writer: &'a mut ArchiveWriter,
    packs: &'a mut Packs,
}

impl<S: Shape<Child = Id>> Nodes<S> for InRun<'_> {
    type Error = Problem;

    fn load(&mut self, child: &Id, level: u8, room: u64) -> Result<Node<S>, Problem> {
        self.writer.node(child, level, room)
    }
}

impl<S: Shape<Child = Id>> NodesMut<S> for InRun<'_> {
    fn save(&mut self, node: &Node<S>) -> Result<Id, Problem> {
        self.writer.add_node(self.packs, node.encode())
    }
}

/// Nodes of the pack table, which are found by place: all new ones go into the open pack.
struct TailNodes<'a>(InRun<'a>);

impl Nodes<PacksTree> for TailNodes<'_> {
    type Error = Problem;

    fn load(&mut self, child: &Place, level: u8, room: u64) -> Result<Node<PacksTree>, Problem> {
        self.0.writer.node(&child.id, level, room)
    }
}

impl NodesMut<PacksTree> for TailNodes<'_> {
    fn save(&mut self, node: &Node<PacksTree>) -> Result<Place, Problem> {
        let InRun { writer, packs } = &mut self.0;
        let plain = node.encode();
        let id = writer.credential.node_id(&plain);
        let record = writer.seal(Kind::Node, &id, &plain)?;
        let offset_bytes = packs.open.append(id, RecordKind::Node, &record)?;
        writer.nodes.insert(id, plain);
        Ok(Place {
            pack: packs.open.number,
            offset_bytes,
            length_bytes: u32::try_from(record.len())?,
            id,
        })
    }
}

struct Reading<'a>(&'a ArchiveWriter);

impl<S: Shape<Child = Id>> Nodes<S> for Reading<'_> {
    type Error = Problem;

    fn load(&mut self, child: &Id, level: u8, room: u64) -> Result<Node<S>, Problem> {
        self.0.node(child, level, room)
    }
}

fn all<S: Shape<Child = Id>>(
    writer: &ArchiveWriter,
    root: &plan::Root<Id>,
) -> Result<Vec<(u64, S::Value)>, Problem> {
    let mut walk = Walk::<S>::from(root, 0);
    let mut found = Vec::new();
    while let Some(entry) = walk.next(&mut Reading(writer))? {
        found.push(entry);
    }
    Ok(found)
}

fn edit<S: Shape<Child = Id>>(
    writer: &mut ArchiveWriter,
    packs: &mut Packs,
    old: &plan::Root<Id>,
    size: u64,
    changes: impl IntoIterator<Item = (u64, Option<S::Value>)>,
) -> Result<TreeRoot, Problem> {
    let mut nodes = InRun { writer, packs };
    let mut editor = tree(Editor::<S>::new(old, size, &mut nodes))?;
    for (index, value) in changes {
        tree(editor.set(index, value, &mut nodes))?;
    }
    let root = tree(editor.finish(&mut nodes))?;
    Ok(TreeRoot {
        size: root.size,
        root: root.child,
    })
}

/// A boxed error does not implement `Error` itself.
fn tree<T>(result: Result<T, EditError<Problem>>) -> Result<T, Problem> {
    result.map_err(|problem| format!("{problem:?}").into())
}

fn part(bytes: &[u8], offset_bytes: u32, length_bytes: u32) -> Result<&[u8], Problem> {
    let begin = usize::try_from(offset_bytes)?;
    Ok(bytes
        .get(begin..begin + usize::try_from(length_bytes)?)
        .ok_or("a pack is too short")?)
}

/// The path of a blob, in the folder of its name's first byte.
fn path(folder: &Path, name: BlobName) -> PathBuf {
    let name = name.to_string();
    folder.join(name.get(..2).unwrap_or_default()).join(name)
}

fn get(folder: &Path, name: BlobName) -> Result<Vec<u8>, Problem> {
    Ok(fs::read(path(folder, name)).map_err(|error| format!("{name}: {error}"))?)
}

fn put(folder: &Path, name: BlobName, bytes: &[u8]) -> Result<(), Problem> {
    let path = path(folder, name);
    fs::create_dir_all(path.parent().unwrap_or(folder))?;
    Ok(fs::File::create_new(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, bytes))?)
}
