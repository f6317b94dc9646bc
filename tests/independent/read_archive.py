#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""An independent reader of the archive format, version 0, written from docs/format.md alone.

    read_archive.py DIR --passphrase-file FILE list
    read_archive.py DIR --passphrase-file FILE restore VOLUME SESSION OUT     (SESSION may be "latest")
    read_archive.py DIR --passphrase-file FILE check

What it is: a second opinion, and the way back to your data if the programs are gone. What it is not: fast, a
writer, or a repair tool. It needs a copy of the store in DIR and the passphrase (or recovery key), writes
nothing but OUT, and keeps a map of all records in memory. Sections in comments are those of docs/format.md.
Exit status: 0 done; 1 any other failure; 2 wrong usage; 4 the passphrase opens no slot; 5 damage, the object
is named; 6 the folder is missing or holds no archive."""
import argparse, contextlib, functools, hmac, os, pathlib, struct, sys, tempfile, unicodedata
from collections import namedtuple
from datetime import datetime, timedelta

from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as xchacha20poly1305_open
from nacl.exceptions import CryptoError
from zstandard import CONTENTSIZE_UNKNOWN, ZstdDecompressor, ZstdError, get_frame_parameters

KIB, MIB, ZERO = 1 << 10, 1 << 20, bytes(32)
CHUNK, NODE, DIRECTORY, COMMIT = 1, 2, 3, 4                                 # kinds of records, section 5
CLASS = {CHUNK: "record", NODE: "node", DIRECTORY: "directory", COMMIT: "commit"}
PLAIN = {CHUNK: (1, MIB), NODE: (16, 256 * KIB), DIRECTORY: (16, 8 * MIB), COMMIT: (4052, 4052)}
CONTENT, PACKS, SESSIONS, KEYS, VOLUMES = 1, 2, 3, 4, 5                     # trees, section 8
LIVE, GIVEN_UP, LOST = 0, 1, 2                                              # states of a pack, section 8.1
PackEntry = namedtuple("PackEntry", "name directory_id length directory_at directory_length state generation")
Place = namedtuple("Place", "pack offset length id")
Record = namedtuple("Record", "offset length key_number kind pack")         # where a directory says one lies
Session = namedtuple("Session", "time generation size chunk_size domain root settings")
Volume = namedtuple("Volume", "name size root")                             # size and root of its tree (b)
Commit = namedtuple("Commit", "previous skip pack_size packs keys volumes tail slots")
EMPTY = (ZERO, Place(0, 0, 0, ZERO))                                        # root of a tree without entries
EXAMINED = set()                                                            # (class, name) of each object so far

class Damage(Exception):
    """An object is missing or is not what the page demands; nothing of it is used."""
    def __init__(self, kind, name, what):
        self.object = f"{kind} {name.hex() if isinstance(name, bytes) else name}"
        super().__init__(f"{self.object}: {what}")

def stop(status, message):
    print(message, file=sys.stderr)
    sys.exit(status)

@contextlib.contextmanager
def examine(kind, name):
    """Whatever turns out wrong inside is damage of this object."""
    EXAMINED.add((kind, name))
    try:
        yield
    except (ValueError, OverflowError, struct.error, CryptoError, ZstdError) as error:
        raise Damage(kind, name, f"{error}") from None
def demand(condition, what):
    if not condition:
        raise ValueError(what)

# Section 1: the hash functions.
def H(data): return blake3(data).digest()
def KH(key, data): return blake3(data, key=key).digest()
def DK(purpose, data): return blake3(data, derive_key_context="wyng 2026-11-23 format 0: " + purpose).digest()
def u32(number): return number.to_bytes(4, "little")
def slot_name(number): return DK("slot name", bytes([number]))

# Section 6: the exporter of HPKE's receiver (RFC 9180, base mode). HKDF-Expand to 32 bytes is one block.
KEM, HPKE = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\xff\xff"
def labeled_extract(suite, salt, label, material):
    return hmac.digest(salt or ZERO, b"HPKE-v1" + suite + label + material, "sha256")
def labeled_expand(suite, secret, label, info):
    return hmac.digest(secret, b"\x00\x20HPKE-v1" + suite + label + info + b"\x01", "sha256")
def hpke_export(private_bytes, enc, info, exporter_context):
    private = X25519PrivateKey.from_private_bytes(private_bytes)
    exchanged = private.exchange(X25519PublicKey.from_public_bytes(enc))    # ValueError if it is all zero
    kem_context = enc + private.public_key().public_bytes_raw()
    shared = labeled_expand(KEM, labeled_extract(KEM, b"", b"eae_prk", exchanged), b"shared_secret", kem_context)
    psk_id_hash, info_hash = (labeled_extract(HPKE, b"", b"psk_id_hash", b""),
                              labeled_extract(HPKE, b"", b"info_hash", info))
    secret = labeled_extract(HPKE, shared, b"secret", b"")
    exporter_secret = labeled_expand(HPKE, secret, b"exp", b"\x00" + psk_id_hash + info_hash)
    return labeled_expand(HPKE, exporter_secret, b"sec", exporter_context)

class Store:
    """A directory store, section 1."""
    def __init__(self, folder): self.folder = folder
    def path(self, name): return os.path.join(self.folder, name.hex()[:2], name.hex())
    def exists(self, name): return os.path.isfile(self.path(name))
    def read(self, kind, name, length, offset=0, whole=True):
        """`length` bytes at `offset`; if `whole`, the blob must end there."""
        try:
            with open(self.path(name), "rb") as file:
                file.seek(offset)
                data = file.read(length + 1)
        except OSError as error:
            raise Damage(kind, name, f"the store does not give it: {error.strerror}") from None
        if len(data) < length or (whole and len(data) > length):
            raise Damage(kind, name, "it has a wrong size")
        return data[:length]

class Fields:
    """Takes an object apart from front to back."""
    def __init__(self, data): self.data, self.position = data, 0
    def take(self, layout):
        """The next fields, in the notation of `struct`. Its x are the reserved bytes, packed as zero."""
        values = struct.unpack_from("<" + layout, self.data, self.position)
        part = struct.pack("<" + layout, *values)
        demand(self.data.startswith(part, self.position), "shape: a reserved byte is not zero")
        self.position += len(part)
        return values
    def text(self, length): return self.take(f"{length}s")[0].decode("utf-8")
    def end(self): demand(self.position == len(self.data), "shape: bytes after the last field")

# Sections 7 and 8: sizes.
def is_chunk_size(size): return 512 <= size <= MIB and size & (size - 1) == 0
def chunk_count(size, chunk_size): return -(-size // chunk_size)
def depth(size): return next(d for d in range(min(size, 1), 14) if 32 ** d >= size)  # 1, not 0, for size 1
def padme(length):
    e = length.bit_length() - 1
    step = 1 << (e - e.bit_length())                # e.bit_length() is floor(log2 e) + 1
    return -(-length // step) * step

# Section 8: what stands in the nodes.
def place(f): return Place(*f.take("QII32s"))
def identifier(f): return f.take("32s")[0]
def key_entry(f): return f.take("I4x32s32s")
def pack_entry(f):
    entry = PackEntry(*f.take("32s32sIIIB3xQ"))
    demand(entry.state <= LOST and (entry.state == GIVEN_UP or entry.generation == 0), "shape: pack state")
    demand(64 * KIB <= entry.length <= 64 * MIB, "shape: length of a pack")
    demand(entry.directory_at + entry.directory_length <= entry.length, "shape: directory beyond its pack")
    return entry
def session_entry(f):
    seconds, generation, size, _, chunk_size, height, flags, tags, settings = f.take("qQQQIBBBB")
    demand(is_chunk_size(chunk_size), "shape: chunk size of a session")
    demand(height == depth(chunk_count(size, chunk_size)), "shape: depth of a session")
    demand(flags <= 3 and tags <= 16 and settings <= 16, "shape: flags, tags or settings of a session")
    domain, root, settings = *f.take("16s32s"), [identifier(f) for _ in range(settings)]
    for _ in range(tags):
        demand(1 <= len(f.text(*f.take("B")).encode()) <= 64, "shape: length of a tag")
    time = (datetime(1970, 1, 1) + timedelta(seconds=seconds)).isoformat() + "Z"
    return Session(time, generation, size, chunk_size, domain, root, settings)
def volume_entry(f):
    _, _, _, chunk_size, name_length, description_length, size, root = f.take("16s16sQIBxHQ32s")
    demand(is_chunk_size(chunk_size) and description_length <= 1000, "shape: chunk size or description")
    name, _ = f.text(name_length), f.text(description_length)
    clean = "/" not in name and not any(unicodedata.category(character) == "Cc" for character in name)
    demand(clean and 1 <= name_length <= 200 and name[0] not in ".-", "shape: name of a volume")
    return Volume(name, size, root)
LEAF = dict(zip((CONTENT, PACKS, SESSIONS, KEYS, VOLUMES),
                (identifier, pack_entry, session_entry, key_entry, volume_entry)))

def parse_directory(plain, pack, pack_number):                              # section 7
    f, records, end, last_kind = Fields(plain), {}, 0, CHUNK
    first_byte, count = f.take("B3xI")
    demand(first_byte == 6, "shape: first byte")
    for _ in range(count):
        name, *fields = f.take("32sIIIB3x")
        record = Record(*fields, pack_number)
        demand(record.offset == end and record.length >= 45, "shape: offset or length of a record")
        demand(record.kind in (last_kind, NODE) and name not in records, "shape: kind or id of a record")
        demand(record.key_number == 0 or record.kind == CHUNK, "shape: a node has a key number")
        records[name], end, last_kind = record, end + record.length, record.kind
    demand(end == pack.directory_at, "shape: the last record does not end where the directory begins")
    f.end()
    return records

def parse_commit(plain, generation, epoch):                                 # section 9
    f = Fields(plain)
    own, _time, _writer, previous, skip, _runs, own_epoch, chunk_size, pack_size = f.take("Qq16s32s32sQIII")
    _runs, _time, _zstd, flags, next_slot, slot_count, shared_domain = f.take("IQbBHI16s")
    demand(own == generation and own_epoch == epoch, "shape: generation or epoch")
    first, power_of_two = generation == 1, generation & (generation - 1) == 0
    demand((previous == ZERO, skip == ZERO) == (first, power_of_two), "shape: a hash of an earlier commit")
    demand(is_chunk_size(chunk_size) and 2 * chunk_size <= pack_size, "shape: chunk size")
    demand(64 * KIB <= pack_size <= 64 * MIB and pack_size % 4096 == 0, "shape: pack size")
    demand(flags <= 3 and (flags & 1 or not any(shared_domain)), "shape: flags or shared domain")
    packs, keys, volumes = (*f.take("Q"), place(f)), f.take("Q32s"), f.take("Q32s")
    demand(packs[1].id != ZERO or packs[1] in EMPTY, "shape: place of the root of (a)")
    tail_number, tail = (*f.take("Q"), pack_entry(f)) if flags & 2 else (packs[0], *f.take("96x"), None)
    demand(tail_number == packs[0], "shape: the number of the tail is not the size of (a)")
    demand(slot_count <= 8 and next_slot <= 256, "shape: slot count or next slot")
    slots = [f.take("B7x32s") for _ in range(slot_count)]
    numbers = [number for number, _ in slots] + [next_slot]
    demand(numbers == sorted(set(numbers)), "shape: numbers of the slots")
    f.take(f"{40 * (8 - slot_count) + 4052 - 704}x")
    f.end()
    return Commit(previous, skip, pack_size, packs, keys, volumes, tail, dict(slots))

def recovery_password(typed):                                               # section 4.1
    """The 40 characters of a recovery key, or None."""
    text = "".join(typed.decode("utf-8", "replace").upper().replace("-", "").split())
    text, alphabet = text.translate(str.maketrans("OIL", "011")), "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    if len(text) != 40 or not set(text) <= set(alphabet):
        return None
    data = sum(alphabet.index(text[39 - i]) << 5 * i for i in range(40)).to_bytes(25, "big")
    if DK("recovery key check", data[:20])[:5] == data[20:]:
        return text.encode()
    print("note: if this is the recovery key, there is a typing error in it", file=sys.stderr)

def open_slot(blob, number, passphrase):                                    # section 4
    """Archive id, ROOT and epoch; None if the slot is sound but refuses the passphrase."""
    demand(H(blob[:192]) == blob[192:], "its last field is wrong")
    magic, version, suite, own, kind, archive_id, memory, passes, lanes, salt = Fields(blob).take(
        "8sHBBB3x16sIII4x32s")
    demand((magic, version, suite, own) == (b"wyngslot", 0, 1, number), "shape: format, suite or number")
    demand(kind <= 1 and lanes == 1, "shape: kind or lanes")
    demand(65536 <= memory <= 1048576 and 3 <= passes <= 16, "shape: memory or passes of Argon2")
    password = passphrase if kind == 0 else recovery_password(passphrase)
    secret = password and hash_secret_raw(password, salt, passes, memory, 1, 32, Type.ID, 0x13)
    if not secret or not hmac.compare_digest(KH(DK("slot commitment", secret), blob[:80]), blob[80:112]):
        return None
    payload = xchacha20poly1305_open(blob[136:192], blob[:112], blob[112:136], DK("slot seal", secret))
    return archive_id, *Fields(payload).take("32sI4x")

class Archive:
    def __init__(self, store, problems, go_on, slot, slot_hash, archive_id, root, epoch):
        """Opens the newest commit. `problems` gets the damage that is survived; with `go_on` that is all."""
        self.store, self.problems, self.go_on = store, problems, go_on
        self.archive_id, self.root, self.epoch = archive_id, root, epoch
        self.seal, self.node_ids = self.meta("meta seal", epoch), self.meta("node ids", epoch)
        self.packs, self.places, self.keys = {}, {}, {}
        self.newest = probe = 0
        while probe < self.newest + 64:             # past holes, section 2
            probe += 1
            self.newest = probe if store.exists(self.commit_name(probe)) else self.newest
        self.commit = self.read_commit(max(self.newest, 1))[1]
        if self.commit.slots.get(slot) != slot_hash:
            raise Damage("slot", slot_name(slot), "the newest commit does not list it with this hash")
    def meta(self, purpose, epoch): return DK(purpose, DK("meta", self.root + u32(epoch)))
    def commit_name(self, number): return KH(DK("commit names", self.root), number.to_bytes(8, "little"))
    @contextlib.contextmanager
    def survive(self, always=False):
        """Damage inside is kept for the report, if that is allowed."""
        try:
            yield
        except Damage as damage:
            if not (always or self.go_on):
                raise
            self.problems.setdefault(damage.object, damage)                 # each object once
    def read_commit(self, generation):
        name = self.commit_name(generation)
        sealed = self.store.read("commit", name, 4096)
        plain = self.open_record(COMMIT, name, sealed, self.epoch, self.seal, None)
        with examine("commit", name):
            return H(sealed), parse_commit(plain, generation, self.epoch)
    def open_record(self, kind, name, sealed, epoch, key, id_key):          # section 5
        with examine(CLASS[kind], name):
            header = bytes([0, 0, kind, 0]) + u32(epoch) + self.archive_id + name
            frame = xchacha20poly1305_open(sealed[24:], header, sealed[:24], key)
            coding, length, body = frame[0], int.from_bytes(frame[1:4], "little"), frame[4:]
            demand(coding == 0 or (coding == 1 and kind != COMMIT), "coding: unknown")
            demand(PLAIN[kind][0] <= length <= PLAIN[kind][1], "plain length: out of bounds")
            if coding == 1:
                demand(len(body) < length and body[:4] == b"\x28\xb5\x2f\xfd", "coding: no short zstd frame")
                # The library allocates what the zstd header says, so the header is held to our length first.
                size = get_frame_parameters(body).content_size
                demand(size in (length, CONTENTSIZE_UNKNOWN), "coding: another length in the zstd header")
                body = ZstdDecompressor().decompress(body, max_output_size=length, allow_extra_data=False)
            demand(len(body) == length, "plain length: not what the body gives")
            demand(id_key is None or KH(id_key, body) == name, "id: it is not that of the content")
        return body
    def read_record(self, name, where, domain=None, length=None):
        """Opens the record that lies at `where`; `domain` and `length` are what a session says of a chunk."""
        pack, epoch, key, id_key = self.packs[where.pack], self.epoch, self.seal, self.node_ids
        with examine("pack", pack.name):
            demand(45 <= where.length <= pack.length - where.offset, "a record would lie beyond it")
        sealed = self.store.read("pack", pack.name, where.length, where.offset, whole=False)
        if where.kind == CHUNK:
            epoch, key = self.session_key(where.key_number)
            id_key = domain and DK("domain", DK("content names", self.root) + domain)
        plain = self.open_record(where.kind, name, sealed, epoch, key, id_key)
        if length not in (None, len(plain)):
            raise Damage("record", name, "plain length: a session has another one")
        return plain
    @functools.cache
    def session_key(self, number):                                          # section 6
        with examine("key", number):
            demand(number in self.keys, "the key table does not have it")
            epoch, enc, check = self.keys[number]
            demand(1 <= epoch <= self.epoch, "shape: epoch")
            private, info = DK("data private key", self.root), self.archive_id + u32(number)
            exported = hpke_export(private, enc, info, b"wyng session")
            key = KH(self.meta("session mix", epoch), exported + enc + u32(number))
            demand(hmac.compare_digest(DK("session check", key), check), "its check differs")
            return epoch, key
    def walk(self, tree, size, reference, level=None, base=0):              # section 8
        """(index, entry) of all that a tree holds, ascending; only (a) descending."""
        level, children = depth(size) - 1 if level is None else level, []
        with self.survive():
            children = [] if reference in EMPTY else self.read_node(tree, size, reference, level, base)
        for index, child in reversed(children) if tree == PACKS else children:
            yield from [(index, child)] if level == 0 else self.walk(tree, size, child, level - 1, index)
    def read_node(self, tree, size, reference, level, base):
        name = reference.id if tree == PACKS else reference
        with examine("node", name):
            where = Record(*reference[1:3], 0, NODE, reference[0]) if tree == PACKS else self.find(name, NODE)
            demand(where.pack in self.packs, f"it lies in pack {where.pack}, of which nothing is known yet")
            f = Fields(self.read_record(name, where))
            own_tree, own_level, bitmap = f.take("BB2xI")
            demand((own_tree, own_level) == (tree, level) and bitmap, "shape: tree, level or empty bitmap")
            indices = [base + child * 32 ** level for child in range(32) if bitmap >> child & 1]
            demand(indices[-1] < size, "shape: a child past the size of the tree")
            parse = LEAF[tree] if level == 0 else place if tree == PACKS else identifier
            children = [(index, parse(f)) for index in indices]
            demand(all(child not in EMPTY for _, child in children), "shape: a child without an id")
            f.end()
        return children
    def find(self, name, kind):
        with examine(CLASS[kind], name):
            demand(name in self.places and self.places[name].kind == kind, "no readable directory lists it")
        return self.places[name]
    def directory(self, number, pack):
        where = Record(pack.directory_at, pack.directory_length, 0, DIRECTORY, number)
        plain = self.read_record(pack.directory_id, where)
        with examine("directory", pack.directory_id):
            return parse_directory(plain, pack, number)
    def load(self):                                                         # section 10, step 3
        self.packs = {self.commit.packs[0]: self.commit.tail} if self.commit.tail else {}
        for number, pack in self.walk(PACKS, *self.commit.packs):
            self.packs[number] = pack               # at once: the walk needs it for what lies further left
        # Of a record in several packs that of the lowest number counts; lost packs are asked last.
        order = sorted(self.packs.items(), key=lambda item: (item[1].state == LOST, item[0]))
        self.present = [(n, pack) for n, pack in order if pack.state == LIVE or self.store.exists(pack.name)]
        for number, pack in self.present:
            with self.survive(always=True):
                for name, record in self.directory(number, pack).items():
                    self.places.setdefault(name, record)
        self.keys = dict(self.walk(KEYS, *self.commit.keys))
    def sessions(self):
        """(volume name, session) of all, volume by volume, oldest first."""
        names = set()
        for _, volume in self.walk(VOLUMES, *self.commit.volumes):
            sessions = [session for _, session in self.walk(SESSIONS, volume.size, volume.root)]
            times, newest = [s.time for s in sessions], max((s.generation for s in sessions), default=0)
            with self.survive(), examine("node", volume.root):
                demand(times == sorted(set(times)) and newest <= self.newest, "shape: order or generation of sessions")
                demand(volume.name not in names, f"shape: two volumes have the name {volume.name}")
            names.add(volume.name)
            yield from ((volume.name, session) for session in sessions)
    def chunks(self, session):
        """(offset, id, length) of the chunks that are not holes, ascending."""
        for index, name in self.walk(CONTENT, chunk_count(session.size, session.chunk_size), session.root):
            offset = index * session.chunk_size
            yield offset, name, min(session.chunk_size, session.size - offset)

def restore(archive, volume, time, out):
    found = [s for name, s in archive.sessions() if name == volume and time in (s.time, "latest")]
    if not found or (os.path.exists(out) and not os.path.isfile(out)):
        stop(1, f"there is no session {time} of {volume}, or {out} is not a file")
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=os.path.dirname(os.path.abspath(out))) as folder:
        with open(os.path.join(folder, "volume"), "wb") as file:
            for offset, name, length in archive.chunks(found[-1]):
                file.seek(offset)
                file.write(archive.read_record(name, archive.find(name, CHUNK), found[-1].domain, length))
            file.truncate(found[-1].size)
            os.fsync(file.fileno())
        os.replace(file.name, out)

def check(archive):
    """Reads everything that the newest commit reaches (section 9), past all damage."""
    for number, digest in archive.commit.slots.items():
        with archive.survive(), examine("slot", slot_name(number)):
            blob = archive.store.read("slot", slot_name(number), 224)
            demand(H(blob) == digest, "the newest commit has another hash of it")
    hashes = {}                                     # generation: what later commits say of it
    for generation in range(archive.newest, 0, -1):
        with archive.survive(), examine("commit", archive.commit_name(generation)):
            digest, commit = archive.read_commit(generation)
            hashes.setdefault(generation - 1, set()).add(commit.previous)
            hashes.setdefault(generation & (generation - 1), set()).add(commit.skip)
            demand(hashes.pop(generation, {digest}) == {digest}, "a later commit has another hash of it")
    for number in archive.keys:
        with archive.survive():
            archive.session_key(number)
    wanted = {}                                     # content id: what sessions say, a set of (domain, length)
    for name, session in archive.sessions():
        for content_id in session.settings:
            wanted.setdefault(content_id, set()).add((session.domain, None))
        for _, content_id, length in archive.chunks(session):
            wanted.setdefault(content_id, set()).add((session.domain, length))
    for number, pack in archive.present:
        with archive.survive(), examine("pack", pack.name):
            blob, whole = archive.store.read("pack", pack.name, pack.length), archive.commit.pack_size
            demand(H(blob) == pack.name, "its hash is not its name")
            last = min(whole, max(64 * KIB, padme(pack.directory_at + pack.directory_length)))
            demand(pack.length in (whole, last), "its length is neither the pack size nor that of a last pack")
        with archive.survive():
            for name, record in archive.directory(number, pack).items():
                for domain, length in wanted.get(name, [(None, None)]):
                    with archive.survive():
                        archive.read_record(name, record, domain, length)
    for content_id in wanted:
        with archive.survive():
            archive.find(content_id, CHUNK)

def open_archive(store, passphrase, problems, go_on):                       # section 10, steps 1 and 2
    numbers = [number for number in range(255, -1, -1) if store.exists(slot_name(number))][:8]
    if not numbers:
        stop(6, f"{store.folder} is missing or holds no archive")
    for number in numbers:
        try:
            with examine("slot", slot_name(number)):
                blob = store.read("slot", slot_name(number), 224)
                if opened := open_slot(blob, number, passphrase):
                    return Archive(store, problems, go_on, number, H(blob), *opened)
        except Damage as damage:                    # another slot may do
            problems[damage.object] = damage
    if not problems:
        stop(4, "the passphrase opens no slot")
    raise list(problems.values())[-1]

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument("command", choices=("list", "restore", "check"))
    parser.add_argument("arguments", nargs="*", metavar="VOLUME SESSION OUT")
    parser.add_argument("--passphrase-file", required=True, metavar="FILE")
    options = parser.parse_intermixed_args()
    if len(options.arguments) != (3 if options.command == "restore" else 0):
        parser.error("restore takes VOLUME SESSION OUT, the others nothing")
    passphrase = pathlib.Path(options.passphrase_file).read_bytes().removesuffix(b"\n")
    checking, problems = options.command == "check", {}
    fatal = checking
    try:
        archive = open_archive(Store(options.folder), passphrase, problems, checking)
        archive.load()
        if checking:
            check(archive)
        elif options.command == "restore":
            restore(archive, *options.arguments)
        else:
            for time, name, size in sorted((s.time, name, s.size) for name, s in archive.sessions()):
                print(name, time, size)
    except Damage as damage:
        problems[damage.object], fatal = damage, True
    for problem in problems.values():
        print(f"problem: {problem}", file=sys.stdout if checking else sys.stderr)
    if checking:
        print(f"checked {len(EXAMINED)} objects, {len(problems)} problems")
    if fatal and problems:
        stop(5, "damage: " + ", ".join(problems))

if __name__ == "__main__":
    main()
