#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second reader of the archive format, version 0, written from docs/format.md alone. It writes and repairs nothing.

    read_archive.py DIR --passphrase-file FILE list                         prints VOLUME SESSION SIZE
    read_archive.py DIR --passphrase-file FILE restore VOLUME SESSION OUT   OUT is a new file, or - for standard output
    read_archive.py DIR --passphrase-file FILE check                        reads all that the newest commit reaches

DIR is a copy of the store, FILE has the passphrase or a recovery key; § in a comment is a section of the page.
With `--before GENERATION` behind FILE, the newest sound generation below that one is read: when the newest commit is damaged.
Exit status: 0 done; 4 the passphrase opens no slot; 5 the named object is damaged or missing; 1 anything else."""
import contextlib, datetime, functools, hmac, os, pathlib, shutil, struct, sys, tempfile, unicodedata
from collections import namedtuple

from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as unseal
from nacl.exceptions import CryptoError
from zstandard import CONTENTSIZE_UNKNOWN, ZstdDecompressor, ZstdError, get_frame_parameters

KIB, MIB, ZERO = 1 << 10, 1 << 20, bytes(32)
CHUNK, NODE, DIRECTORY, COMMIT = 1, 2, 3, 4                                 # kinds of records, §5
CLASS = {CHUNK: "record", NODE: "node", DIRECTORY: "directory", COMMIT: "commit"}
PLAIN_LENGTH = {CHUNK: (1, MIB), NODE: (16, 256 * KIB), DIRECTORY: (16, 8 * MIB), COMMIT: (4052, 4052)}
CONTENT, PACKS, SESSIONS, KEYS, VOLUMES = 1, 2, 3, 4, 5                     # trees, §8
LIVE, GIVEN_UP, LOST, GOING = 0, 1, 2, 3                                    # states of a pack, §8.1

Pack = namedtuple("Pack", "name directory_id length directory_offset directory_length state")
Place = namedtuple("Place", "pack_number offset length id")                 # of a node of the tree of packs, §8.2
Record = namedtuple("Record", "id offset length key_number kind pack")      # where it lies, and under which key
Session = namedtuple("Session", "time generation size chunk_size domain root settings")
Tree = namedtuple("Tree", "size root")
Commit = namedtuple("Commit", "previous skip run kept pack_size packs keys volumes tail slots")
NOTHING = (ZERO, Place(0, 0, 0, ZERO))                                      # the root of a tree without entries
STEP = {CryptoError: "tag: ", ZstdError: "coding: ", struct.error: "shape: "}    # of opening an object, §5

class Damage(Exception):
    """An object is missing or is not what the page demands. Nothing of it is used."""

@contextlib.contextmanager
def examine(label, name):
    """Whatever turns out wrong inside is damage of this object."""
    try:
        yield
    except (ValueError, OverflowError, OSError, struct.error, CryptoError, ZstdError) as error:
        raise Damage(f"{label} {name.hex()}: {STEP.get(type(error), '')}{getattr(error, 'strerror', None) or error}") from None

def demand(condition, what):
    if not condition:
        raise ValueError(what)

def stop(status, message):
    print(message, file=sys.stderr)
    sys.exit(status)

# Notation and names (§1, §2)
def H(data): return blake3(data).digest()
def KH(key, data): return blake3(data, key=key).digest()
def DK(purpose, data): return blake3(data, derive_key_context="wyng 2026-11-23 format 0: " + purpose).digest()
def u32(number): return number.to_bytes(4, "little")
def slot_name(number): return DK("slot name", bytes([number]))

class Store:
    """A directory store (§1)."""
    def __init__(self, folder): self.folder = pathlib.Path(folder)
    def path(self, name): return self.folder / name.hex()[:2] / name.hex()
    def has(self, name): return self.path(name).is_file()

    def read(self, name, length, offset=None):
        """`length` bytes at `offset`; without an offset the blob must have exactly these."""
        with self.path(name).open("rb") as file:
            file.seek(offset or 0)
            data = file.read(length + (offset is None))
        demand(len(data) == length, "its size is wrong")
        return data

class Fields:
    """Takes an object apart from front to back, and insists on the canonical layout (§1)."""
    def __init__(self, data): self.data, self.position = data, 0
    def text(self, length): return self.take(f"{length}s")[0].decode("utf-8")
    def end(self): demand(self.position == len(self.data), "shape: bytes after the last field")

    def take(self, layout):
        """The next fields in the notation of `struct`, where an x is a reserved byte."""
        values = struct.unpack_from("<" + layout, self.data, self.position)
        canonical = struct.pack("<" + layout, *values)
        demand(self.data.startswith(canonical, self.position), "shape: a reserved byte is not zero")
        self.position += len(canonical)
        return values

# From the passphrase to ROOT: the slot (§4)
def recovery_password(typed):
    """The 40 characters of the recovery key that was typed; None if it is none (§4.1)."""
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    text = "".join(typed.decode("utf-8", "replace").upper().replace("-", "").split()).translate(str.maketrans("OIL", "011"))
    if len(text) != 40 or not set(text) <= set(alphabet):
        return None
    key = sum(alphabet.index(text[39 - i]) << 5 * i for i in range(40)).to_bytes(25, "big")
    return text.encode() if DK("recovery key check", key[:20])[:5] == key[20:] else None

Slot = namedtuple("Slot", "number blob kind archive_id memory passes salt")
TOKEN, SLOT_LENGTH = 2, {0: 224, 1: 224, 2: 1024}                           # the kind that cannot be opened here (§4.2)

def parse_slot(blob, number):
    demand(H(blob[:192]) == blob[192:], "its last field is not the hash of the others")
    magic, version, suite, own_number, kind, archive_id, memory, passes, lanes, salt = Fields(blob).take("8sHBBB3x16sIII4x32s")
    demand((magic, version, suite, own_number) == (b"wyngslot", 0, 1, number), "shape: format, suite or number")
    demand(kind <= TOKEN and lanes == 1 and 65536 <= memory <= 1048576 and 3 <= passes <= 16, "shape: kind or Argon2's cost")
    return Slot(number, blob, kind, archive_id, memory, passes, salt)

def open_slot(slot, typed):
    """Archive id, ROOT and epoch; None if the slot is sound but does not open."""
    password, blob = typed if slot.kind == 0 else recovery_password(typed), slot.blob
    secret = password and len(password) <= 1024 and hash_secret_raw(password, slot.salt, slot.passes, slot.memory, 1, 32, Type.ID, 0x13)
    if not secret or not hmac.compare_digest(KH(DK("slot commitment", secret), blob[:80]), blob[80:112]):
        return None
    return slot.archive_id, *Fields(unseal(blob[136:192], blob[:112], blob[112:136], DK("slot seal", secret))).take("32sI4x")

def open_archive(store, typed, before=None):
    """The archive that a live slot opens (§2.1, §10, steps 1 and 2)."""
    slots, damaged = [], []
    numbers = [number for number in range(256) if store.has(slot_name(number))]
    demand(numbers, f"there is no archive in {store.folder}")
    def attempt(number, step):
        try:
            with examine("slot", slot_name(number)):
                return step()
        except Damage as damage:
            damaged.append(damage)
    for number in numbers:
        slots.append(attempt(number, lambda: parse_slot(store.read(slot_name(number), 224, 0), number)))
    removed = False
    for slot in sorted((slot for slot in slots if slot and slot.kind != TOKEN), key=lambda slot: (slot.memory * slot.passes, -slot.number)):
        if opened := attempt(slot.number, lambda: open_slot(slot, typed)):
            archive = Archive(store, *opened, before)
            if archive.commit.slots.get(slot.number) == (H(slot.blob), slot.kind):
                return archive
            if before and archive.passed_over:
                print(f"slot {slot.number} is not one that generation {archive.newest} lists", file=sys.stderr)
                return archive
            removed = True
    if removed:
        stop(4, "the passphrase opens a slot that was removed")
    stop(*(5, damaged[0]) if damaged else (4, "the passphrase opens no slot"))

# From an entry of the key table to its key: the exporter of HPKE (§6; RFC 9180, sections 4.1, 5.1 and 5.3)
KEM, HPKE = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\xff\xff"
def labeled_extract(suite, salt, label, material):
    return hmac.digest(salt or ZERO, b"HPKE-v1" + suite + label + material, "sha256")
def labeled_expand(suite, secret, label, info):                             # to 32 bytes: one block
    return hmac.digest(secret, b"\x00\x20HPKE-v1" + suite + label + info + b"\x01", "sha256")

def hpke_export(private_bytes, enc, info, exporter_context):
    private = X25519PrivateKey.from_private_bytes(private_bytes)
    exchanged = private.exchange(X25519PublicKey.from_public_bytes(enc))    # ValueError if it is all zero
    kem_context = enc + private.public_key().public_bytes_raw()
    shared_secret = labeled_expand(KEM, labeled_extract(KEM, b"", b"eae_prk", exchanged), b"shared_secret", kem_context)
    context = b"\x00" + labeled_extract(HPKE, b"", b"psk_id_hash", b"") + labeled_extract(HPKE, b"", b"info_hash", info)
    secret = labeled_extract(HPKE, shared_secret, b"secret", b"")
    exporter_secret = labeled_expand(HPKE, secret, b"exp", context)
    return labeled_expand(HPKE, exporter_secret, b"sec", exporter_context)

# What stands in a commit (§9), in a directory (§7) and in the leaves of the trees (§8)
def is_chunk_size(size): return 512 <= size <= MIB and size & (size - 1) == 0
def depth(size): return next(d for d in range(min(size, 1), 14) if 32 ** d >= size)
def parse_id(f): return f.take("32s")[0]
def parse_key(f): return f.take("I4x32s32s")
def parse_place(f): return Place(*f.take("QII32s"))

def parse_commit(plain, generation, epoch):
    f = Fields(plain)
    own_generation, _time, _writer, previous, skip, run, kept, counted, own_epoch = f.take("Qq16s32s32sQQQI")
    chunk_size, pack_size, *_hold_off, _minimum_age, _zstd, flags, next_slot, slot_count, shared_domain = f.take("IIIQQbBHI16s")
    until_run, until_kept, *earlier = f.take("QQQQ")                        # the earlier hold-off (§9.3)
    floor = f.take("QQ")
    packs, keys, volumes = Tree(*f.take("Q"), parse_place(f)), Tree(*f.take("Q32s")), Tree(*f.take("Q32s"))
    tail_number, tail = (*f.take("Q"), parse_pack(f)) if flags & 2 else (packs.size, *f.take("120x"), None)
    f.take("32x")
    slots = dict(parse_slot_entry(f) for _ in range(min(slot_count, 8)))
    f.take(f"{80 * (8 - len(slots)) + 4052 - 1152}x")
    demand((own_generation, own_epoch, tail_number) == (generation, epoch, packs.size), "shape: generation, epoch or tail")
    demand(64 * KIB <= pack_size <= 64 * MIB and pack_size % 4096 == 0, "shape: pack size")
    demand(is_chunk_size(chunk_size) and 2 * chunk_size <= pack_size, "shape: chunk size")
    demand(flags <= 15 and bool(flags & 1) == any(shared_domain), "shape: flags or shared domain")
    demand(run > 0 and counted <= kept, "shape: run number or kept clock of the counted run")
    demand(flags & 8 or not any(floor), "shape: floor")
    demand(1 <= until_run <= run and until_kept <= kept if flags & 4 else not any((until_run, until_kept, *earlier)), "shape: earlier hold-off")
    demand(packs.root.id != ZERO or packs.root in NOTHING, "shape: place of the root of the packs")
    demand(len(slots) == slot_count and next_slot <= 256 and [*slots, next_slot] == sorted({*slots, next_slot}), "shape: slots")
    return Commit(previous, skip, run, kept, pack_size, packs, keys, volumes, tail, slots)

def parse_slot_entry(f):
    """The number of a live slot, and the hash of its bytes with its kind (§9.1)."""
    number, length, kind, _made, digest, label = f.take("BBB5xq32s32s")
    demand(kind <= TOKEN and length <= 32 and not any(label[length:]), "shape: kind or length of a label")
    demand("Cc" not in map(unicodedata.category, label[:length].decode()), "shape: label")
    return number, (digest, kind)

def parse_directory(plain, pack):
    f, records, end, previous_kind = Fields(plain), {}, 0, CHUNK
    demand(f.take("B3x") == (6,), "shape: first byte")
    for _ in range(*f.take("I")):
        record = Record(*f.take("32sIIIB3x"), pack)
        demand(record.offset == end and record.length >= 45 and record.id not in records, "shape: place or id of a record")
        demand(record.kind in (previous_kind, NODE) and (record.kind == CHUNK or record.key_number == 0), "shape: kind or key")
        records[record.id], end, previous_kind = record, end + record.length, record.kind
    demand(end == pack.directory_offset, "shape: the last record does not end where the directory begins")
    f.end()
    return records

def parse_pack(f):
    *pack, has_heirs, run, kept, first, last = f.take("32s32sIIIBB2xQQQQ")
    pack = Pack(*pack)
    demand(pack.state <= GOING and has_heirs <= 1, "shape: state of a pack")
    demand(run > 0 if pack.state in (GIVEN_UP, GOING) else not any((has_heirs, run, kept)), "shape: since when a pack is given up")
    demand(first <= last if has_heirs else first == last == 0, "shape: heirs of a pack")
    demand(64 * KIB <= pack.length <= 64 * MIB and pack.directory_length >= 45, "shape: length of a pack")
    demand(pack.directory_offset + pack.directory_length <= pack.length, "shape: a directory beyond its pack")
    return pack

def parse_session(f):
    seconds, _kept, generation, size, _added, chunk_size, height, flags, tags, settings, domain, root = f.take("qQQQQIBBBB16s32s")
    demand(is_chunk_size(chunk_size) and height == depth(-(-size // chunk_size)), "shape: chunk size or depth")
    demand(flags <= 3 and tags <= 16 and settings <= 16, "shape: flags, tags or settings")
    settings = [parse_id(f) for _ in range(settings)]
    demand(all(1 <= len(f.text(*f.take("B")).encode()) <= 64 for _ in range(tags)), "shape: length of a tag")
    time = (datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)).isoformat() + "Z"
    return Session(time, generation, size, chunk_size, domain, root, settings)

def parse_volume(f):
    _id, _domain, _size, chunk_size, name_length, description_length = f.take("16s16sQIBxH")
    sessions, name, _description = Tree(*f.take("Q32s")), f.text(name_length), f.text(description_length)
    demand(is_chunk_size(chunk_size) and name_length <= 200 and description_length <= 1000, "shape: a size or length")
    demand(name[:1] not in ("", ".", "-") and "/" not in name and "Cc" not in map(unicodedata.category, name), "shape: name")
    return name, sessions

LEAF = {CONTENT: parse_id, PACKS: parse_pack, SESSIONS: parse_session, KEYS: parse_key, VOLUMES: parse_volume}

# From the newest commit to the chunks
class Archive:
    """An archive that is open: ROOT is known, and the newest commit."""
    def __init__(self, store, archive_id, root, epoch, before=None):
        self.store, self.archive_id, self.root, self.epoch = store, archive_id, root, epoch
        self.packs, self.records, self.keys, self.unreadable = {}, {}, {}, []
        highest = max(self.find_newest(), 1)
        self.newest = self.newest_sound_below(before, highest) if before else highest
        self.passed_over = highest > self.newest
        if self.passed_over:
            print(f"generations up to {highest} exist; this is generation {self.newest}", file=sys.stderr)
        _, self.commit = self.read_commit(self.newest)

    def meta_key(self, purpose, epoch): return DK(purpose, DK("meta", self.root + u32(epoch)))

    def commit_name(self, generation, copy=0):
        return KH(DK("commit names", self.root), generation.to_bytes(8, "little") + (bytes([copy]) if copy else b""))

    def find_newest(self):
        """The highest generation: a hole of up to 64 hides nothing (§2.2)."""
        newest = 0
        while further := [n for n in range(newest + 1, newest + 65) if any(self.store.has(name) for name in self.copies(n))]:
            newest = further[-1]
        return newest

    def newest_sound_below(self, before, highest):
        for generation in range(min(highest, before - 1), 0, -1):
            with contextlib.suppress(Damage):
                self.read_commit(generation)
                return generation
        raise Damage(f"no generation below {before} is sound")

    def copies(self, generation):
        """The names of the copies that there may be: until four in a row are absent (§2.2)."""
        absent = 0
        for copy in range(256):
            name = self.commit_name(generation, copy)
            yield name
            absent = 0 if self.store.has(name) else absent + 1
            if absent == 4:
                return

    def read_commit(self, generation, wanted=None):
        """The hash of a commit, and what it says (§9): of the copy that authenticates, or that has the wanted hash (§2.2)."""
        found, damages, own_name = {}, [], self.commit_name(generation)
        for name in self.copies(generation):
            try:
                with examine("commit", name):
                    sealed, key = self.store.read(name, 4096), self.meta_key("meta seal", self.epoch)
                    found[H(sealed)] = parse_commit(self.open(COMMIT, own_name, sealed, self.epoch, key), generation, self.epoch)
            except Damage as damage:
                damages.append(damage)
        if not found:
            raise damages[0]
        with examine("commit", own_name):
            demand(len(found) == 1, "two copies of it authenticate and differ: two machines wrote this generation")
            demand(wanted in (None, *found), "another commit demands another hash")
        return found.popitem()

    def open(self, kind, name, sealed, epoch, key):
        """The plain bytes of a record, whose id is not yet compared (§5)."""
        associated = bytes([0, 0, kind, 0]) + u32(epoch) + self.archive_id + name
        frame = unseal(sealed[24:], associated, sealed[:24], key)
        coding, length, body = frame[0], int.from_bytes(frame[1:4], "little"), frame[4:]
        demand(coding == 0 or (coding == 1 and kind != COMMIT), "coding: unknown")
        demand(PLAIN_LENGTH[kind][0] <= length <= PLAIN_LENGTH[kind][1], "plain length: out of bounds")
        if coding == 1:
            # The library allocates what the zstd header says: hold that to our length first.
            demand(len(body) < length and body.startswith(b"\x28\xb5\x2f\xfd"), "coding: not a short zstd frame")
            demand(get_frame_parameters(body).content_size in (length, CONTENTSIZE_UNKNOWN), "coding: zstd header")
            body = ZstdDecompressor().decompress(body, max_output_size=length, allow_extra_data=False)
        demand(len(body) == length, "plain length: the body gives another one")
        return body

    def read_record(self, record, domain=None, length=None):
        """What a record says; of a chunk, its session knows the domain and perhaps the length (§5, §7)."""
        with examine("pack", record.pack.name):
            demand(record.offset + record.length <= record.pack.length, "a record beyond its end")
            sealed = self.store.read(record.pack.name, record.length, record.offset)
        with examine(f"in pack {record.pack.name.hex()}, {CLASS[record.kind]}", record.id):
            epoch, key, id_key = self.epoch, self.meta_key("meta seal", self.epoch), self.meta_key("node ids", self.epoch)
            if record.kind == CHUNK:
                demand(record.key_number in self.keys, "the key table does not have its key")
                epoch, key = self.keys[record.key_number]
                id_key = domain and DK("domain", DK("content names", self.root) + domain)
            plain = self.open(record.kind, record.id, sealed, epoch, key)
            demand(id_key is None or KH(id_key, plain) == record.id, "id: the content has another one")
            demand(length in (None, len(plain)), "plain length: the session has another one")
        return plain

    def session_key(self, number, epoch, enc, check):
        """The epoch and the key that an entry of the key table gives (§6)."""
        with examine("key", u32(number)):
            demand(1 <= epoch <= self.epoch, "shape: epoch")
            exported = hpke_export(DK("data private key", self.root), enc, self.archive_id + u32(number), b"wyng session")
            key = KH(self.meta_key("session mix", epoch), exported + enc + u32(number))
            demand(hmac.compare_digest(DK("session check", key), check), "its check differs")
            return epoch, key

    def walk(self, kind, tree, level=None, base=0):
        """(index, entry) of all that a tree holds, ascending; descending for the tree of packs (§8, §8.2)."""
        level = depth(tree.size) - 1 if level is None else level
        children = [] if tree.root in NOTHING else self.read_node(kind, tree, level, base)
        for index, child in reversed(children) if kind == PACKS else children:
            yield from self.walk(kind, Tree(tree.size, child), level - 1, index) if level else [(index, child)]

    @functools.lru_cache(maxsize=4096)
    def read_node(self, kind, tree, level, base):
        """(index, entry) of the children of a node (§8)."""
        record = self.record_at(tree.root) if kind == PACKS else self.find(tree.root, NODE)
        with examine(f"in pack {record.pack.name.hex()}, node", record.id):
            f = Fields(self.read_record(record))
            own_kind, own_level, bitmap = f.take("BB2xI")
            indices = [base + child * 32 ** level for child in range(32) if bitmap >> child & 1]
            demand((own_kind, own_level) == (kind, level) and indices, "shape: tree, level or bitmap")
            demand(indices[-1] < tree.size, "shape: a child at or past the size of the tree")
            parse = LEAF[kind] if level == 0 else parse_place if kind == PACKS else parse_id
            children = [(index, parse(f)) for index in indices]
            demand(not any(child in NOTHING for _, child in children), "shape: a child that is nothing")
            f.end()
        return children

    def record_at(self, place):
        with examine("node", place.id):
            demand(place.pack_number in self.packs and place.length >= 45, "it is in a pack that is not yet known")
        return Record(place.id, place.offset, place.length, 0, NODE, self.packs[place.pack_number])

    def find(self, name, kind):
        with examine(CLASS[kind], name):
            known = name in self.records and self.records[name].kind == kind
            demand(known, "; ".join(["no directory has it", *map(str, self.unreadable)]))
        return self.records[name]

    def load(self):
        """Reads the tree of packs, all directories and the key table (§10, step 3)."""
        self.packs = {self.commit.packs.size: self.commit.tail} if self.commit.tail else {}
        for number, pack in self.walk(PACKS, self.commit.packs):
            self.packs[number] = pack                                       # for the nodes that come next
        copies = {}
        for _, pack in sorted(self.packs.items(), key=lambda item: (item[1].state == LOST, item[0])):
            try:
                for name, record in self.directory(pack).items():
                    self.records.setdefault(name, record)
                    copies.setdefault(name, []).append(record)
            except Damage as damage:                                        # perhaps it is not needed
                if pack.state == LIVE:
                    self.unreadable.append(damage)
        self.keys = {number: self.session_key(number, *entry) for number, entry in self.walk(KEYS, self.commit.keys)}
        for name, records in copies.items():                                # a place without a key is the last one
            self.records[name] = min(records, key=lambda record: record.kind == CHUNK and record.key_number not in self.keys)

    def directory(self, pack):
        record = Record(pack.directory_id, pack.directory_offset, pack.directory_length, 0, DIRECTORY, pack)
        with examine(f"in pack {pack.name.hex()}, directory", record.id):
            return parse_directory(self.read_record(record), pack)

    def sessions(self, wanted=None):
        """(volume name, session) of all volumes or the wanted one, in the order of their numbers (§8.3, §8.5)."""
        volumes = [volume for _, volume in self.walk(VOLUMES, self.commit.volumes)]
        with examine("node", self.commit.volumes.root):
            demand(len({name for name, _ in volumes}) == len(volumes), "shape: two volumes have one name")
        for name, tree in volumes:
            sessions = [session for _, session in self.walk(SESSIONS, tree)] if wanted in (None, name) else []
            times, latest = [session.time for session in sessions], max((s.generation for s in sessions), default=0)
            with examine("node", tree.root):
                demand(len(times) == len(set(times)) and latest <= self.newest, "shape: times or generations of sessions")
            yield from ((name, session) for session in sessions)

    def chunks(self, session):
        """(offset, id, plain length) of what is no hole (§8.3)."""
        for index, name in self.walk(CONTENT, Tree(-(-session.size // session.chunk_size), session.root)):
            offset = index * session.chunk_size
            yield offset, name, min(session.chunk_size, session.size - offset)

def list_sessions(archive):
    for volume, session in archive.sessions():
        print(volume, session.time, session.size, flush=True)

def restore(archive, volume, time, out):
    session = next((session for _, session in archive.sessions(volume) if session.time == time), None)
    demand(session, f"there is no session {time} of {volume}")
    with tempfile.NamedTemporaryFile(dir=None if out == "-" else os.path.dirname(os.path.abspath(out))) as file:
        for offset, name, length in archive.chunks(session):
            file.seek(offset)
            file.write(archive.read_record(archive.find(name, CHUNK), session.domain, length))
        file.truncate(session.size)
        file.seek(0)
        if out == "-":
            shutil.copyfileobj(file, sys.stdout.buffer)
        else:
            os.link(file.name, out)                                         # which fails if OUT exists

def check(archive):
    """Reads slots, commits and packs to their last byte, and compares all that says something of them."""
    for damage in archive.unreadable:
        raise damage
    for number, (digest, kind) in archive.commit.slots.items():
        with examine("slot", slot_name(number)):
            demand(H(archive.store.read(slot_name(number), SLOT_LENGTH[kind])) == digest, "the newest commit has another hash")
    demanded, later = {0: ZERO}, archive.commit                             # the hashes of generations that later ones carry
    for number in range(archive.newest, 0, -1):
        _, commit = archive.read_commit(number, demanded.get(number))
        with examine("commit", archive.commit_name(number)):
            for earlier, digest in ((number - 1, commit.previous), (number & (number - 1), commit.skip)):
                demand(demanded.setdefault(earlier, digest) == digest, "its hash of an earlier commit is another")
        with examine("commit", archive.commit_name(number + 1)):
            demand(commit.run <= later.run and commit.kept <= later.kept, "its run number or kept clock is below an older commit's")
        later = commit
    wanted = {}                                                             # by content id: domains and lengths
    for _, session in archive.sessions():
        for _, name, length in [*archive.chunks(session), *((None, name, None) for name in session.settings)]:
            wanted.setdefault(name, set()).add((session.domain, length))
            archive.find(name, CHUNK)
    for pack in archive.packs.values():
        if pack.state == LIVE or (pack.state in (GIVEN_UP, GOING) and archive.store.has(pack.name)):
            for record in archive.directory(pack).values():
                if record.kind == CHUNK and record.key_number not in archive.keys and archive.records[record.id].key_number in archive.keys:
                    continue                                                # its key is lost, and it was sent again
                for domain, length in wanted.get(record.id, [(None, None)]):
                    archive.read_record(record, domain, length)
            with examine("pack", pack.name):
                demand(H(archive.store.read(pack.name, pack.length)) == pack.name, "its hash is not its name")

def main():
    try:
        match sys.argv[1:]:
            case [folder, "--passphrase-file", file, "--before", number, *rest] if number.isdecimal():
                before = int(number)
            case [folder, "--passphrase-file", file, *rest]:
                before = None
            case _:
                stop(1, __doc__)
        match rest:
            case ["list" | "restore" | "check" as command, *names]:
                archive = open_archive(Store(folder), pathlib.Path(file).read_bytes().removesuffix(b"\n"), before)
                archive.load()
                {"list": list_sessions, "restore": restore, "check": check}[command](archive, *names)
            case _:
                stop(1, __doc__)
    except Exception as error:
        stop(5 if isinstance(error, Damage) else 1, error)

if __name__ == "__main__":
    main()
