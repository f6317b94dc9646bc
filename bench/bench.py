#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures Wyng on an image of a real file system, and restic and borg where they are installed.
`make bench` runs it.

It prints a table with the targets, and writes all figures to target/bench.json. Its files are in
target/bench, and are removed at the end.

  WYNG_BENCH_SIZE     size of the image (default 4G; targets are scaled by its data, and mean little
                      below 1G)
  WYNG_BENCH_RUNS     runs of each row, of which the median counts (default 3)
  WYNG_BENCH_PROFILE  release (default) or debug: the build whose programs are measured
  WYNG_BENCH_PEERS    names of the peers (default "restic borg", as far as they are installed; ""
                      for none)
  WYNG_LINK_...       the rows over a link with a delay: see link.py
  WYNG_BENCH_KEEP     1 leaves target/bench as it is, and uses its image again

How it measures:
  CPU     user and system seconds of the command and all its descendants, from wait4. The supervisor
          reaps the roles, the spawner the far end, and wyng-ctl the supervisor, so that their times
          arrive. The table of roles comes from samples of /proc, and may miss the last tenth of a
          second.
  memory  the highest sum of PSS over the processes of the command, sampled every 50 ms. Memory
          files count once, also those in flight between two processes that neither maps. Only root
          may read the PSS of the jailed roles; for other users it is the sum of RSS.
  cache   the source is read into the page cache, and dirty pages are written, before a row begins.
  start   50 commands one after another. The CPU time of the running daemon's processes comes from
          /proc/PID/task/*/schedstat.
"""

import hashlib
import json
import os
import platform
import random
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time

import link

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
MIB, GIB = 1 << 20, 1 << 30
# Data of the image on which the targets were set, bytes: 4 GiB, of which these are not zero.
TARGET_DATA_BYTES = 3.05 * GIB
CHANGED_PLACES = 160
TICK = os.sysconf("SC_CLK_TCK")


def parse_size(text):
    units = {"K": 1 << 10, "M": MIB, "G": GIB, "T": 1 << 40}
    return int(float(text[:-1]) * units[text[-1]]) if text[-1] in units else int(text)


SIZE = parse_size(os.environ.get("WYNG_BENCH_SIZE") or "4G")
RUNS = int(os.environ.get("WYNG_BENCH_RUNS") or 3)
PROFILE = os.environ.get("WYNG_BENCH_PROFILE") or "release"
KEEP = os.environ.get("WYNG_BENCH_KEEP") == "1"
PEERS = os.environ.get("WYNG_BENCH_PEERS", "restic borg").split()
PROGRAMS = os.path.join(ROOT, "target", PROFILE)
WORK = os.path.join(ROOT, "target", "bench")
SPARSE_FACTOR = 50


# ---- measuring a command -------------------------------------------------------------------------


def descendants(pid):
    """The ids of a process and all its descendants."""
    found, left = [], [pid]
    while left:
        pid = left.pop()
        found.append(pid)
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children") as file:
                    left.extend(int(child) for child in file.read().split())
        except OSError:
            continue
    return found


class Sampler(threading.Thread):
    """Samples a process and its descendants until it is stopped."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.stopped = pid, threading.Event()
        self.peak_bytes, self.roles, self.exact = 0, {}, True

    def run(self):
        while not self.stopped.wait(0.05):
            self.peak_bytes = max(self.peak_bytes, self.sample())

    def sample(self):
        total, files, mapped = 0, {}, {}
        for pid in descendants(self.pid):
            try:
                self.note_cpu(pid)
                total += self.process_bytes(pid, files, mapped)
            except (OSError, ValueError, IndexError):
                continue  # it ended meanwhile
        return (
            total
            + sum(files.values())
            + sum(size for inode, size in mapped.items() if inode not in files)
        )

    def process_bytes(self, pid, files, mapped):
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                fields = dict(re.findall(r"^(\w+):\s+(\d+) kB", file.read(), re.M))
        except PermissionError:
            self.exact = False
            with open(f"/proc/{pid}/status") as file:
                return int(re.search(r"^VmRSS:\s+(\d+)", file.read(), re.M)[1]) * 1024
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            path = f"/proc/{pid}/fd/{descriptor}"
            try:
                if os.readlink(path).startswith("/memfd:"):
                    stat = os.stat(path)
                    files[stat.st_ino] = stat.st_blocks * 512
            except OSError:
                continue
        with open(f"/proc/{pid}/maps") as file:
            for line in file:
                if "/memfd:" in line:
                    place, _, _, _, inode = line.split()[:5]
                    begin, end = (int(part, 16) for part in place.split("-"))
                    mapped[int(inode)] = max(mapped.get(int(inode), 0), end - begin)
        # Memory files are counted separately, above.
        return (int(fields["Pss"]) - int(fields.get("Pss_Shmem", 0))) * 1024

    def note_cpu(self, pid):
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            name = os.path.basename(file.read().split(b"\0")[0].decode())
        if name:  # else it ended, or has not begun
            self.roles[f"{name}/{pid}"] = (int(fields[11]) / TICK, int(fields[12]) / TICK)


class Failed(Exception):
    """A command failed."""


def measure(command, cwd=WORK, env=None, stdout=subprocess.PIPE):
    """Runs a command until it ends. Returns its times, memory and output."""
    os.sync()
    began = time.monotonic()
    child = subprocess.Popen(
        command, cwd=cwd, env=env, stdout=stdout, stderr=subprocess.PIPE, text=True
    )
    sampler = Sampler(child.pid)
    sampler.start()
    errors = []
    reader = threading.Thread(target=lambda: errors.append(child.stderr.read()))
    reader.start()
    output = child.stdout.read() if child.stdout else ""
    reader.join()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    sampler.stopped.set()
    sampler.join()
    if child.returncode != 0:
        raise Failed(f"{' '.join(command)} ended with {child.returncode}:\n{errors[0]}")
    roles = {}
    for key, (user, system) in sampler.roles.items():
        name = key.rsplit("/", 1)[0]
        before = roles.get(name, (0, 0))
        roles[name] = (before[0] + user, before[1] + system)
    return {
        "user": usage.ru_utime,
        "system": usage.ru_stime,
        "cpu": usage.ru_utime + usage.ru_stime,
        "wall": wall,
        "peak_bytes": sampler.peak_bytes,
        "peak_exact": sampler.exact,
        "roles": roles,
        "output": output,
    }


def together(runs):
    """Several commands as one: their times together."""
    sums = {name: sum(run[name] for run in runs) for name in ("user", "system", "cpu", "wall")}
    peak = max(runs, key=lambda run: run["peak_bytes"])
    exact = all(run["peak_exact"] for run in runs)
    return {**runs[-1], **sums, "peak_bytes": peak["peak_bytes"], "peak_exact": exact}


# ---- the source ----------------------------------------------------------------------------------


def chosen_files(wanted_bytes):
    """Regular files of /usr, the same on each run on one machine: files of about `wanted_bytes` for
    the image, and other files as the source of changes."""
    files = []
    for folder, folders, names in os.walk("/usr"):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                files.append((path, os.path.getsize(path)))
    files.sort(key=lambda file: hashlib.sha256(file[0].encode()).digest())
    kept, others, kept_bytes, other_bytes = [], [], 0, 0
    for place, (path, size) in enumerate(files):
        if place % 8 and kept_bytes + size <= wanted_bytes:
            kept.append(path)
            kept_bytes += size
        elif 0 < size <= wanted_bytes // 8 and other_bytes < wanted_bytes // 8:
            others.append(path)
            other_bytes += size
    return kept, others


def make_image(path):
    """A real file system with real files; their names are numbers."""
    kept, others = chosen_files(int(SIZE * 0.77))
    if os.path.exists(path) and os.path.getsize(path) == SIZE:
        return others
    staging = os.path.join(WORK, "staging")
    shutil.rmtree(staging, ignore_errors=True)
    for number, file in enumerate(kept):
        folder = os.path.join(staging, str(number % 97))
        os.makedirs(folder, exist_ok=True)
        try:
            shutil.copyfile(file, os.path.join(folder, str(number)))
        except OSError:
            continue  # not ours to read
    mkfs = shutil.which("mkfs.ext4", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not mkfs:
        sys.exit(
            "mkfs.ext4 is needed to make the image (Debian: e2fsprogs; WYNG_TEST_INSTALL=1 installs it)"
        )
    with open(path, "wb") as file:
        file.truncate(SIZE)
    subprocess.run([mkfs, "-q", "-F", "-E", "root_owner=0:0", "-d", staging, path], check=True)
    shutil.rmtree(staging)
    return others


def data_ranges(path):
    with open(path, "rb") as file:
        size, offset = os.path.getsize(path), 0
        while offset < size:
            try:
                begin = os.lseek(file.fileno(), offset, os.SEEK_DATA)
            except OSError:
                return
            end = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            yield begin, end
            offset = end


def data_bytes(path):
    """Total length of the chunks of 128 KiB that are not all zero, bytes, as Wyng counts it."""
    chunk, total, zeros, seen = 128 << 10, 0, bytes(128 << 10), -1
    with open(path, "rb") as file:
        for begin, end in data_ranges(path):
            for index in range(max(begin // chunk, seen + 1), -(-end // chunk)):
                seen = index
                found = os.pread(file.fileno(), chunk, index * chunk)
                total += len(found) if found != zeros[: len(found)] else 0
    return total


def make_sparse(path, image):
    """The same data in a file of 50 times the size, spread over it in pieces of 16 MiB."""
    piece = min(16 * MIB, SIZE // 16)
    with open(path, "wb") as target, open(image, "rb") as source:
        target.truncate(SIZE * SPARSE_FACTOR)
        for begin, end in data_ranges(image):
            while begin < end:
                length = min(end - begin, piece - begin % piece)
                place = begin // piece * piece * SPARSE_FACTOR + begin % piece
                os.pwrite(target.fileno(), os.pread(source.fileno(), length, begin), place)
                begin += length


def change(path, others, seed):
    """Overwrites 1 % of the data with other data in 160 places. Returns the number of bytes."""
    rng, ranges = random.Random(seed), [found for found in data_ranges(path)]
    share = max(
        4096, int(sum(end - begin for begin, end in ranges) * 0.01 / CHANGED_PLACES) // 4096 * 4096
    )
    ranges = [(begin, end) for begin, end in ranges if end - begin > share]
    weights = [end - begin for begin, end in ranges]
    names, changed = rng.sample(others, len(others)), 0
    with open(path, "r+b") as target:
        for _ in range(CHANGED_PLACES):
            fresh = b""
            while len(fresh) < share:
                try:
                    with open(names.pop() if names else rng.choice(others), "rb") as file:
                        fresh += file.read(share - len(fresh))
                except OSError:
                    continue
            begin, end = rng.choices(ranges, weights)[0]
            place = rng.randrange(begin, end - share) // 4096 * 4096
            changed += os.pwrite(target.fileno(), fresh, place)
        os.fsync(target.fileno())
    return changed


def warm(path):
    for begin, end in data_ranges(path):
        with open(path, "rb") as file:
            file.seek(begin)
            while begin < end:
                begin += len(file.read(min(4 * MIB, end - begin))) or end


# ---- the programs --------------------------------------------------------------------------------


def fresh(*names):
    for name in names:
        shutil.rmtree(os.path.join(WORK, name), ignore_errors=True)


def remove(*names):
    for name in names:
        try:
            os.remove(os.path.join(WORK, name))
        except FileNotFoundError:
            pass


def store_sizes(name):
    sizes = [
        os.path.getsize(os.path.join(folder, file))
        for folder, _, files in os.walk(os.path.join(WORK, name))
        for file in files
    ]
    return {"objects": len(sizes), "bytes": sum(sizes)}


class Wyng:
    name = "wyng"

    def __init__(self, level):
        self.level, self.store, self.state, self.socket = (
            level,
            f"wyng{level}-store",
            f"wyng{level}-state",
            None,
        )

    def run(self, *arguments):
        daemon = (
            ["--socket", self.socket]
            if self.socket
            else ["--standalone", "--state-dir", self.state]
        )
        common = [*daemon, "--passphrase-file", "passphrase", "--progress", "none", "--json"]
        return measure([os.path.join(PROGRAMS, "wyng-ctl"), *common, *arguments])

    def create(self):
        fresh(self.store, self.state)
        # The cheapest key derivation: its cost is the owner's choice, and no part of these figures.
        kdf = ["--kdf-memory", "64M", "--kdf-passes", "3"]
        store = f"dir:{WORK}/{self.store}"
        self.run(
            "archive",
            "create",
            "bench",
            "--store",
            store,
            "--compression",
            f"zstd:{self.level}",
            # So that a session that was just made can be pruned.
            "--minimum-age",
            "0s",
            *kdf,
        )

    def backup(self, image):
        return self.run("backup", "bench", f"disk={image}")

    def restore(self, target):
        return self.run("restore", "bench", "disk", "--to", target)

    def put_back(self):
        return self.run("restore", "bench", "disk", "--in-place", "--yes")

    def verify(self):
        return self.run("verify", "bench")

    def verify_deep(self):
        return self.run("verify", "bench", "--deep")

    def keep_newest(self):
        return self.run("prune", "bench", "--keep-last", "1")

    def listing(self):
        return self.run("list", "bench")


class Daemon:
    """The service over an archive's state, as a context manager."""

    def __init__(self, wyng):
        self.wyng = wyng

    def __enter__(self):
        self.wyng.socket = os.path.join(WORK, "socket")
        command = [
            os.path.join(PROGRAMS, "wyngd"),
            "--socket",
            self.wyng.socket,
            "--state-dir",
            self.wyng.state,
        ]
        self.process = subprocess.Popen(command, cwd=WORK)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.wyng.listing()
                return self
            except Failed:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.wyng.socket = None

    def cpu_seconds(self):
        total = 0
        for pid in descendants(self.process.pid):
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                    total += int(file.read().split()[0])
        return total / 1e9

    def starts(self, count=50):
        """One `list`, as the mean of many: the CPU time of the client and of the daemon."""
        before = self.cpu_seconds()
        runs = [self.wyng.listing() for _ in range(count)]
        share = (self.cpu_seconds() - before) / count
        mean = {
            field: statistics.mean(run[field] for run in runs)
            for field in ("cpu", "user", "system", "wall", "peak_bytes")
        }
        return {**runs[-1], **mean, "cpu": mean["cpu"] + share, "system": mean["system"] + share}


class Restic:
    name = "restic"

    def __init__(self, mode="auto"):
        self.mode, self.store = mode, "restic-store"

    def run(self, *arguments):
        env = dict(
            os.environ,
            RESTIC_PASSWORD="bench",
            RESTIC_REPOSITORY=self.store,
            RESTIC_CACHE_DIR=os.path.join(WORK, "restic-cache"),
        )
        return measure(["restic", "--quiet", "--compression", self.mode, *arguments], env=env)

    def create(self):
        fresh(self.store, "restic-cache")
        self.run("init")

    def backup(self, image):
        return self.run("backup", image)

    def restore(self, target):
        fresh("restic-target")
        knows_holes = (
            "--sparse"
            in subprocess.run(
                ["restic", "restore", "--help"], capture_output=True, text=True
            ).stdout
        )
        measured = self.run(
            "restore", "latest", "--target", "restic-target", *(["--sparse"] if knows_holes else [])
        )
        fresh("restic-target")
        return measured

    def verify(self):
        return self.run("check")

    def verify_deep(self):
        return self.run("check", "--read-data")

    def keep_newest(self):
        return self.run("forget", "--keep-last", "1", "--prune")

    def listing(self):
        return self.run("snapshots")


class Borg:
    name = "borg"

    def __init__(self, level=1):
        self.level, self.store, self.count, self.oldest = level, "borg-store", 0, 1

    def run(self, *arguments, cwd=WORK):
        base = os.path.join(WORK, "borg-base")
        env = dict(
            os.environ,
            BORG_PASSPHRASE="bench",
            BORG_BASE_DIR=base,
            BORG_REPO=os.path.join(WORK, self.store),
        )
        return measure(["borg", *arguments], env=env, cwd=cwd)

    def create(self):
        fresh(self.store, "borg-base")
        self.oldest = self.count + 1
        self.run("init", "--encryption", "repokey-blake2")

    def backup(self, image):
        self.count += 1
        fixed = ["--chunker-params", "fixed,1048576", "--compression", f"zstd,{self.level}"]
        # Without the cache of files: an image is one file, whose time stamp shows nothing.
        return self.run(
            "create", "--sparse", "--files-cache", "disabled", *fixed, f"::{self.count}", image
        )

    def restore(self, target):
        fresh("borg-target")
        os.mkdir(os.path.join(WORK, "borg-target"))
        measured = self.run(
            "extract", "--sparse", f"::{self.count}", cwd=os.path.join(WORK, "borg-target")
        )
        fresh("borg-target")
        return measured

    def verify(self):
        return self.run("check", "--repository-only")

    def verify_deep(self):
        return self.run("check", "--verify-data")

    def keep_newest(self):
        runs = [self.run("delete", f"::{number}") for number in range(self.oldest, self.count)]
        self.oldest = self.count
        return together([*runs, self.run("compact")])

    def listing(self):
        return self.run("list")


# ---- the rows ------------------------------------------------------------------------------------


class Bench:
    def __init__(self):
        self.rows = []

    def row(self, job, program, runs, **more):
        """Notes the medians of some runs."""
        if not runs:
            return None
        row = {"job": job, "program": program, "runs": len(runs), **more}
        for field in ("cpu", "user", "system", "wall", "peak_bytes"):
            row[field] = statistics.median(run[field] for run in runs)
        row["peak_exact"] = all(run["peak_exact"] for run in runs)
        row["cores"] = row["cpu"] / row["wall"] if row["wall"] else 0
        row["roles"] = {
            name: [round(part, 2) for part in times] for name, times in runs[-1]["roles"].items()
        }
        self.rows.append(row)
        print(
            f"  {job:42} {program:12} cpu {row['cpu']:7.2f} (user {row['user']:6.2f})  wall {row['wall']:7.2f}  "
            f"memory {row['peak_bytes'] / MIB:6.1f} MiB",
            file=sys.stderr,
            flush=True,
        )
        return row

    def find(self, job, program):
        return next(
            (row for row in self.rows if row["job"] == job and row["program"] == program), None
        )


def report_of(run):
    """wyng-ctl's report of the only volume."""
    report = json.loads(run["output"])
    return report, (report.get("volumes") or [{}])[0]


def first_backups(bench, program, label, image, more=lambda run: {}):
    runs = []
    for _ in range(RUNS):
        program.create()
        warm(image)
        runs.append(program.backup(image))
    row = bench.row("first backup", label, runs, store=store_sizes(program.store), **more(runs[-1]))
    if row and program.name == "wyng":
        row["state_bytes"] = store_sizes(program.state)["bytes"]
    return row


def all_jobs(bench, program, label, image, others, seed):
    """Every job after the first backup, on the archive that it left."""
    wyng = program.name == "wyng"
    bench.row("start (list)", label, [program.listing() for _ in range(max(RUNS, 5))])

    def told(run):
        if not wyng:
            return {}
        report, volume = report_of(run)
        fields = {
            name: volume.get(name)
            for name in ("read_bytes", "sampled_bytes", "changed_bytes", "sent_bytes")
        }
        return {**fields, "told_peak_bytes": report.get("peak_rss_bytes")}

    warm(image)
    runs = [program.backup(image) for _ in range(RUNS)]
    bench.row("nothing changed, plain file", label, runs, **told(runs[-1]))
    runs, growth = [], []
    for run in range(RUNS):
        changed = change(image, others, seed + run)
        warm(image)
        before = store_sizes(program.store)["bytes"]
        runs.append(program.backup(image))
        growth.append(store_sizes(program.store)["bytes"] - before)
    bench.row(
        "1 % in 160 places, plain file",
        label,
        runs,
        growth_bytes=statistics.median(growth),
        written_bytes=changed,
        **told(runs[-1]),
    )
    runs = []
    for _ in range(RUNS):
        remove("restored")
        runs.append(program.restore("restored"))
    bench.row("restore to a file", label, runs)
    if wyng:
        subprocess.run(
            ["cmp", os.path.join(WORK, "restored"), os.path.join(WORK, image)], check=True
        )
    remove("restored")
    bench.row(
        "verify" if wyng else "verify (index only)", label, [program.verify() for _ in range(RUNS)]
    )
    bench.row("verify --deep", label, [program.verify_deep() for _ in range(RUNS)])
    # Each measured run finds one session besides the newest, of which 1 % of the image differs.
    program.keep_newest()
    runs = []
    for run in range(RUNS):
        change(image, others, seed + RUNS + run)
        warm(image)
        program.backup(image)
        runs.append(program.keep_newest())
    bench.row("prune of one session", label, runs)
    if wyng:
        with Daemon(program) as daemon:
            bench.row("start (list), running daemon", label, [daemon.starts()])


def on_clones(bench, kind, image, others):
    """The same image, and a sparse one of 50 times the size, on a file system that clones files:
    changed, unchanged, restored."""
    subprocess.run(["truncate", f"--size={2 * SIZE + GIB}", "pool.img"], check=True)
    made = subprocess.run([f"mkfs.{kind}", "-q", "pool.img"], capture_output=True, check=False)
    os.makedirs("pool", exist_ok=True)
    if (
        made.returncode
        or subprocess.run(
            ["mount", "-o", "loop,noatime", "pool.img", "pool"], check=False
        ).returncode
    ):
        print(f"{kind} cannot be mounted", file=sys.stderr)
        return
    try:
        for name, label in (("disk.img", kind), ("sparse.img", f"50 x sparse, {kind}")):
            path = os.path.join("pool", name)
            if name == "disk.img":
                subprocess.run(["cp", "--sparse=always", image, path], check=True)
            else:
                os.remove(os.path.join("pool", "disk.img"))
                make_sparse(path, image)
            program = Wyng(3)
            program.store, program.state = "clones-store", "clones-state"
            program.create()
            program.backup(path)
            bench.row(
                f"nothing changed, {label}",
                "wyng zstd 3",
                [program.backup(path) for _ in range(RUNS)],
            )
            runs = []
            for run in range(RUNS):
                change(path, others, 400 + run)
                runs.append(program.backup(path))
            fields = {
                name: report_of(runs[-1])[1].get(name)
                for name in ("method", "read_bytes", "sampled_bytes", "changed_bytes")
            }
            bench.row(f"1 % in 160 places, {label}", "wyng zstd 3", runs, **fields)
            runs = []
            for run in range(RUNS):
                change(path, others, 500 + run)
                runs.append(program.put_back())
            bench.row(f"put back 1 % in place, {label}", "wyng zstd 3", runs)
            fresh(program.store, program.state)
    finally:
        subprocess.run(["umount", "pool"], check=False)
        remove("pool.img")


def main():
    os.makedirs(WORK, exist_ok=True)
    os.chdir(WORK)
    if not os.path.exists(os.path.join(PROGRAMS, "wyng-ctl")):
        sys.exit(f"target/{PROFILE} has no programs: `make bench` builds them")
    with open("passphrase", "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write("correct horse battery staple\n")
    print(f"making an image of {SIZE / GIB:g} GiB", file=sys.stderr, flush=True)
    others = make_image("disk.img")
    if KEEP:
        subprocess.run(["cp", "--sparse=always", "disk.img", "work.img"], check=True)
        image = "work.img"
    else:
        image = "disk.img"
    data = data_bytes(image)
    bench = Bench()

    def told(run):
        return {"told_peak_bytes": report_of(run)[0].get("peak_rss_bytes")}

    one, three = Wyng(1), Wyng(3)
    first_backups(bench, one, "wyng zstd 1", image, told)
    fresh(one.store, one.state)
    first_backups(bench, three, "wyng zstd 3", image, told)
    # The sparse file is made before anything changes, so that it has the image's data.
    make_sparse("sparse.img", image)
    all_jobs(bench, three, "wyng zstd 3", image, others, 1)
    fresh(three.store, three.state)
    sparse = Wyng(3)
    sparse.store, sparse.state = "sparse-store", "sparse-state"
    runs = []
    for _ in range(RUNS):
        sparse.create()
        warm("sparse.img")
        runs.append(sparse.backup("sparse.img"))
    bench.row("first backup, 50 x sparse", "wyng zstd 3", runs)
    runs = []
    for run in range(RUNS):
        change("sparse.img", others, 100 + run)
        warm("sparse.img")
        runs.append(sparse.backup("sparse.img"))
    bench.row("1 % in 160 places, 50 x sparse", "wyng zstd 3", runs)
    fresh("sparse-store", "sparse-state")
    remove("sparse.img")
    for kind in ("btrfs", "xfs"):
        if os.geteuid() == 0 and shutil.which(f"mkfs.{kind}"):
            on_clones(bench, kind, image, others)
    # Each run has its own changes: the same bytes written again would be no change.
    for peer, label, seed in ((Restic(), "restic", 200), (Borg(1), "borg zstd 1", 300)):
        if peer.name in PEERS and shutil.which(peer.name):
            try:
                first_backups(bench, peer, label, image)
                all_jobs(bench, peer, label, image, others, seed)
            except Failed as failed:
                print(f"{label}: {failed}", file=sys.stderr)
            fresh(peer.store, "restic-cache", "borg-base")
    table = make_table(bench, data)
    link_lines, link_rows = link.table()
    table += ["", *link_lines]
    print("\n".join(table))
    result = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine(),
        "profile": PROFILE,
        "size_bytes": SIZE,
        "data_bytes": data,
        "runs": RUNS,
        "rows": bench.rows,
        "link_rows": link_rows,
        "table": table,
    }
    with open(os.path.join(ROOT, "target", "bench.json"), "w") as file:
        json.dump(result, file, indent=1)
    os.chdir(ROOT)
    if not KEEP:
        shutil.rmtree(WORK)
    return 0


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo") as file:
        found = re.search(r"^model name\s*:\s*(.*)$", file.read(), re.M)
        model = found[1].strip() if found else model
    return f"{model}, {os.cpu_count()} cores, {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / GIB:.0f} GiB, Linux {'.'.join(platform.release().split('.')[:2])}"


def make_table(bench, data):
    """Markdown: each figure next to its target, which is scaled by the data."""
    scale, lines = data / TARGET_DATA_BYTES, []
    wyng = lambda job, program="wyng zstd 3": bench.find(job, program) or {}

    def line(what, found, target, unit, digits=2, low=True):
        if found is None:
            return
        met = (
            ""
            if target is None
            else ("yes" if (found <= target if low else found >= target) else "NO")
        )
        goal = "" if target is None else f"{'≤' if low else '≥'} {target:.{digits}f}"
        lines.append(f"| {what} | {found:.{digits}f} {unit} | {goal} | {met} |")

    lines.append(
        f"Image {SIZE / GIB:g} GiB with {data / GIB:.2f} GiB of data; medians of {RUNS}; {machine()}; {PROFILE} build. Targets are scaled by "
        f"the data ({scale:.2f} of the image on which they were set)."
    )
    lines += ["", "| Wyng | found | to reach | met |", "|---|---|---|---|"]
    one, three = wyng("first backup", "wyng zstd 1"), wyng("first backup")
    line("first backup, zstd 1, CPU", one.get("cpu"), 13 * scale, "s")
    line("first backup, zstd 3, CPU", three.get("cpu"), 17 * scale, "s")
    line("first backup, zstd 1, wall", one.get("wall"), 7.5 * scale, "s")
    line("first backup, zstd 3, wall", three.get("wall"), None, "s")
    cores = os.cpu_count() or 1
    line(
        "first backup, zstd 1: cores busy", one.get("cores", 0) / cores * 100, 90, "%", 0, low=False
    )
    line(
        "first backup, zstd 3: cores busy",
        three.get("cores", 0) / cores * 100,
        90,
        "%",
        0,
        low=False,
    )
    stored = three.get("store", {})
    line("size of the store, zstd 3", stored.get("bytes", 0) / MIB, 1400 * scale, "MiB", 0)
    line("objects of the first backup", stored.get("objects"), SIZE / (8 * MIB) + 20, "", 0)
    line(
        "nothing changed, plain file, CPU",
        wyng("nothing changed, plain file").get("cpu"),
        2.0 * scale,
        "s",
    )
    small = wyng("1 % in 160 places, plain file")
    line("1 % in 160 places, plain file, CPU", small.get("cpu"), 2.0 * scale, "s")
    if "growth_bytes" in small:
        line(
            f"growth for {small['written_bytes'] / MIB:.1f} MiB written",
            small["growth_bytes"] / MIB,
            35 * scale,
            "MiB",
            1,
        )
    for kind in ("btrfs", "xfs"):
        line(
            f"nothing changed, {kind}, CPU", wyng(f"nothing changed, {kind}").get("cpu"), 0.15, "s"
        )
        cloned, sparse = (
            wyng(f"1 % in 160 places, {kind}"),
            wyng(f"1 % in 160 places, 50 x sparse, {kind}"),
        )
        line(f"1 % in 160 places, {kind}, CPU", cloned.get("cpu"), 0.4 * scale, "s")
        if cloned.get("changed_bytes"):
            line(
                f"read of {kind} against what changed",
                cloned["read_bytes"] / cloned["changed_bytes"],
                1.05,
                "×",
            )
        if cloned and sparse:
            line(
                f"the same at {SIZE * SPARSE_FACTOR / GIB:g} GiB sparse",
                sparse["cpu"] / cloned["cpu"],
                1.1,
                "×",
            )
        line(
            f"put back 1 % in place, {kind}, CPU",
            wyng(f"put back 1 % in place, {kind}").get("cpu"),
            None,
            "s",
        )
    restore = wyng("restore to a file")
    line("restore, user", restore.get("user"), 4 * scale, "s")
    line("restore, CPU", restore.get("cpu"), None, "s")
    line("restore, wall", restore.get("wall"), 8 * scale, "s")
    line("verify, CPU", wyng("verify").get("cpu"), 1.3 * scale, "s")
    line("verify --deep, CPU", wyng("verify --deep").get("cpu"), 6 * scale, "s")
    line("prune of one session, CPU", wyng("prune of one session").get("cpu"), 0.3, "s")
    sparse = wyng("first backup, 50 x sparse")
    if sparse and three:
        line(
            f"first backup, sparse {SIZE * SPARSE_FACTOR / GIB:g} GiB, CPU against the image's",
            sparse["cpu"] / three["cpu"],
            1.1,
            "×",
        )
    sparse = wyng("1 % in 160 places, 50 x sparse")
    if sparse and small:
        line("the same after 1 % changed", sparse["cpu"] / small["cpu"], 1.1, "×")
    line("start of a command, CPU", wyng("start (list), running daemon").get("cpu"), 0.02, "s", 4)
    line(
        "start of a command with a daemon of its own, CPU",
        wyng("start (list)").get("cpu"),
        0.02,
        "s",
        3,
    )
    if "state_bytes" in three:
        line(
            "local state after the first backup",
            three["state_bytes"] / MIB,
            (SIZE * 0.001 + 3e6) / MIB,
            "MiB",
            1,
        )
    ours = [row for row in bench.rows if row["program"].startswith("wyng")]
    exact = all(row["peak_exact"] for row in ours)
    line(
        "peak memory of any job" + ("" if exact else " (sum of RSS)"),
        max(row["peak_bytes"] for row in ours) / MIB,
        128,
        "MiB",
        0,
    )
    roles = three.get("roles", {})
    pipe = [times for name, times in roles.items() if "transport" in name]
    if pipe and stored:
        cost = sum(sum(times) for times in pipe) / (stored["bytes"] / GIB)
        line("push path: transport and helper, a GiB sent", cost, None, "s")
        line("of it user", sum(times[0] for times in pipe) / (stored["bytes"] / GIB), 0.3, "s")
    lines += [
        "",
        "| job | program | CPU s (user) | wall s | cores | peak MiB | store MiB | objects | CPU of Wyng / its |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in bench.rows:
        store = row.get("store") or (
            {"bytes": row["growth_bytes"], "objects": ""} if "growth_bytes" in row else {}
        )
        base = wyng(
            row["job"].replace(" (index only)", ""),
            "wyng zstd 1"
            if row["program"].endswith("zstd 1") and row["job"] == "first backup"
            else "wyng zstd 3",
        )
        ratio = (
            f"{base['cpu'] / row['cpu']:.2f}"
            if base and not row["program"].startswith("wyng") and row["cpu"]
            else ""
        )
        size = f"{store['bytes'] / MIB:.0f}" if store else ""
        lines.append(
            f"| {row['job']} | {row['program']} | {row['cpu']:.2f} ({row['user']:.2f}) | {row['wall']:.2f} | {row['cores']:.2f} | "
            f"{row['peak_bytes'] / MIB:.0f} | {size} | {store.get('objects', '')} | {ratio} |"
        )
    lines += [
        "",
        "CPU of the roles in the first backup with zstd 3, user and system: "
        + ", ".join(
            f"{name} {user:.2f} + {system:.2f}"
            for name, (user, system) in sorted(roles.items())
            if user + system >= 0.02
        )
        + ".",
    ]
    return lines


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failed:
        sys.exit(str(failed))
