#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures how much of a link over a distance Wyng fills: a first backup and a restore of random
data, through a relay that delays and shapes (tests/src/relay.rs), to real servers on loopback; and
`archive open` of another archive with many small packs. `make bench` prints its rows; alone it
prints them too.

  WYNG_LINK_SIZE        data of the image (default 256M)
  WYNG_LINK_ROUND_TRIP  milliseconds (default 50)
  WYNG_LINK_MBIT        Mbit/s in each direction (default 200)
  WYNG_LINK_PACKS       packs of the archive that is opened (default 2000)
  WYNG_LINK_STORES      stores (default "s3 webdav sftp", as far as their servers are installed)
  WYNG_BENCH_PROFILE    release (default) or debug: the build whose programs are measured

`share` is the part of the link's rate that was used from the first to the last byte of the command:
opening the store, the head and the commit count. `middle` is the same between the first and the last
tenth of the bytes: what a long run comes to. `helper` is the peak of the helper's resident
memory. `waits` are the times after which something was sent although the link had carried nothing
for a round trip.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
MIB = 1 << 20
PROFILE = os.environ.get("WYNG_BENCH_PROFILE") or "release"
PROGRAMS = os.path.join(ROOT, "target", PROFILE)
ROUND_TRIP_MS = os.environ.get("WYNG_LINK_ROUND_TRIP") or "50"
MBIT = os.environ.get("WYNG_LINK_MBIT") or "200"
STORES = (os.environ.get("WYNG_LINK_STORES") or "s3 webdav sftp").split()
SECRET = "bench-secret"


PACKS = int(os.environ.get("WYNG_LINK_PACKS") or 2000)


def size_bytes():
    text = os.environ.get("WYNG_LINK_SIZE") or "256M"
    return int(text[:-1]) * {"K": 1 << 10, "M": MIB, "G": 1 << 30}[text[-1]]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def program(name, own):
    """A server of the tests, where scripts/install-needs.sh puts it or on the path."""
    built = os.path.join(ROOT, "target", own)
    return built if os.path.exists(built) else shutil.which(name)


class Server:
    """A server over the folder `served`, and the address of a store in it behind another port."""

    def __init__(self, kind, folder):
        self.kind, self.folder, self.port = kind, folder, free_port()
        self.served = os.path.join(folder, "served")
        os.makedirs(os.path.join(self.served, "disks"))
        self.env = dict(os.environ)
        command = getattr(self, f"command_{kind}")()
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        sys.exit(f"the {kind} server does not start")

    def command_s3(self):
        words = ["--access-key", "bench", "--secret-key", SECRET, "--host", "127.0.0.1"]
        own = program("s3s-fs", "s3s-fs/bin/s3s-fs")
        return [own, *words, "--port", str(self.port), self.served]

    def command_webdav(self):
        words = ["--user", "bench", "--pass", SECRET, "--addr", f"127.0.0.1:{self.port}"]
        config = ["--config", os.path.join(self.folder, "rclone.conf"), "--dir-cache-time", "0s"]
        return [program("rclone", "rclone"), "serve", "webdav", *words, *config, self.served]

    def command_sftp(self):
        os.makedirs("/run/sshd", exist_ok=True)
        for key in ("host", "user"):
            path = os.path.join(self.folder, key)
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path]
            subprocess.run(make, check=True)
        config = os.path.join(self.folder, "sshd.conf")
        with open(config, "w") as file:
            file.write(
                f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host\n"
                f"PidFile none\nAuthorizedKeysFile {self.folder}/user.pub\nStrictModes no\n"
                "UsePAM no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n"
            )
        return [shutil.which("sshd", path="/usr/sbin:/usr/bin"), "-D", "-e", "-f", config]

    def address(self, port):
        if self.kind == "s3":
            return f"s3://disks/store?endpoint=http://127.0.0.1:{port}&insecure=true"
        if self.kind == "webdav":
            return f"webdav://127.0.0.1:{port}/disks/store?insecure=true"
        return f"sftp://root@127.0.0.1:{port}{self.served}/disks/store"

    def credentials(self):
        if self.kind == "s3":
            return f"access_key_id = bench\nsecret_access_key = {SECRET}\n"
        return f"user = bench\npassword = {SECRET}\n" if self.kind == "webdav" else None

    def use_ssh(self, port):
        """An ssh that knows the server behind the relay."""
        with open(os.path.join(self.folder, "host.pub")) as file:
            host = file.read()
        with open(os.path.join(self.folder, "known_hosts"), "w") as file:
            file.write(f"[127.0.0.1]:{port} {host}")
        with open(os.path.join(self.folder, "ssh_config"), "w") as file:
            file.write(
                f"IdentityFile {self.folder}/user\nIdentitiesOnly yes\nIdentityAgent none\n"
                f"UserKnownHostsFile {self.folder}/known_hosts\nGlobalKnownHostsFile none\n"
            )
        os.makedirs(os.path.join(self.folder, "bin"))
        path = os.path.join(self.folder, "bin", "ssh")
        with open(path, "w") as file:
            file.write(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {self.folder}/ssh_config "$@"\n')
        os.chmod(path, 0o755)
        self.env["PATH"] = f"{self.folder}/bin:{os.environ['PATH']}"

    def end(self):
        self.process.terminate()
        self.process.wait()


def is_there(kind):
    names = {
        "s3": ("s3s-fs", "s3s-fs/bin/s3s-fs"),
        "webdav": ("rclone", "rclone"),
        "sftp": ("sshd", "sshd"),
    }
    name, own = names[kind]
    return bool(program(name, own) or shutil.which(name, path="/usr/sbin:/sbin"))


class Relay:
    def __init__(self, port):
        command = [os.path.join(PROGRAMS, "relay"), str(port), ROUND_TRIP_MS, MBIT]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.port = int(self.process.stdout.readline())

    def carried(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait()


class HelperMemory(threading.Thread):
    """The peak of the resident memory of the helpers below a process."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.stopped, self.peak_bytes = pid, threading.Event(), 0

    def run(self):
        while not self.stopped.wait(0.05):
            left = [self.pid]
            while left:
                pid = left.pop()
                try:
                    with open(f"/proc/{pid}/task/{pid}/children") as file:
                        left.extend(int(child) for child in file.read().split())
                    with open(f"/proc/{pid}/status") as file:
                        fields = dict(line.split(":", 1) for line in file if ":" in line)
                    if fields["Name"].strip().startswith("wyng-transport"):
                        peak = int(fields["VmHWM"].split()[0]) * 1024
                        self.peak_bytes = max(self.peak_bytes, peak)
                except (OSError, KeyError, ValueError):
                    continue


def run(folder, env, *arguments):
    common = ["--standalone", "--state-dir", "state", "--passphrase-file", "passphrase"]
    command = [os.path.join(PROGRAMS, "wyng-ctl"), *common, "--progress", "none", *arguments]
    began = time.monotonic()
    child = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL)
    memory = HelperMemory(child.pid)
    memory.start()
    if child.wait() != 0:
        sys.exit(f"{' '.join(command)} failed")
    memory.stopped.set()
    return time.monotonic() - began, memory.peak_bytes


def make_packs(server, folder):
    """An archive of many packs in the server's folder, made without the server."""
    disks = os.path.join(server.served, "disks")
    made = os.path.join(folder, "made" if server.kind == "s3" else "served/disks/packs")
    sizes = ["--pack-size", "128K", "--chunk-size", "64K", "--kdf-memory", "64M"]
    store = ["--store", f"dir:{made}", "--kdf-passes", "3"]
    run(folder, server.env, "archive", "create", "packs", *sizes, *store)
    with open(os.path.join(folder, "packs.img"), "wb") as file:
        for _ in range(PACKS):
            file.write(os.urandom(64 << 10))
    run(folder, server.env, "backup", "packs", "disk=packs.img")
    run(folder, server.env, "archive", "forget", "packs", "--yes")
    if server.kind == "s3":
        # A bucket has no folders of two digits.
        target = os.path.join(disks, "packs")
        os.makedirs(target)
        for below, _, names in os.walk(made):
            for name in names:
                os.rename(os.path.join(below, name), os.path.join(target, name))


def measure(kind):
    """The rows of one store: backup, restore, and opening it on a new machine."""
    with tempfile.TemporaryDirectory(prefix="wyng-link-") as folder:
        server = Server(kind, folder)
        relay = Relay(server.port)
        try:
            if kind == "sftp":
                server.use_ssh(relay.port)
            with open(os.path.join(folder, "passphrase"), "w") as file:
                file.write("correct horse battery staple\n")
            os.chmod(os.path.join(folder, "passphrase"), 0o600)
            store = ["--store", server.address(relay.port)]
            if server.credentials():
                with open(os.path.join(folder, "credentials"), "w") as file:
                    file.write(server.credentials())
                os.chmod(os.path.join(folder, "credentials"), 0o600)
                store += ["--credentials", "credentials"]
            with open(os.path.join(folder, "disk.img"), "wb") as file:
                for _ in range(size_bytes() // MIB):
                    file.write(os.urandom(MIB))
            kdf = ["--kdf-memory", "64M", "--kdf-passes", "3"]
            run(folder, server.env, "archive", "create", "home", *kdf, *store)
            jobs = [
                ("backup", "up", ["backup", "home", "disk=disk.img"]),
                ("restore", "down", ["restore", "home", "disk", "--to", "restored"]),
            ]
            rows = []
            for job, direction, words in jobs:
                relay.carried()
                wall, peak_bytes = run(folder, server.env, *words)
                carried = relay.carried()[direction]
                rows.append({
                    "store": kind, "job": job, "wall": wall, "peak_bytes": peak_bytes, **carried
                })
            files = [os.path.join(folder, name) for name in ("disk.img", "restored")]
            subprocess.run(["cmp", *files], check=True)
            make_packs(server, folder)
            store[1] = store[1].replace("/store", "/packs")
            relay.carried()
            wall, peak_bytes = run(folder, server.env, "archive", "open", "packs", *store)
            carried = relay.carried()["down"]
            rows.append({
                "store": kind, "job": "open", "wall": wall, "peak_bytes": peak_bytes, **carried
            })
            return rows
        finally:
            relay.end()
            server.end()


def table():
    """All rows, as lines of text, and as objects."""
    lines = [
        f"over a link of {MBIT} Mbit/s and {ROUND_TRIP_MS} ms, {size_bytes() // MIB} MiB",
        f"{'store':8} {'job':8} {'share':>6} {'middle':>6} {'seconds':>8} {'waits':>6} {'helper':>10}",
    ]
    rows = []
    for kind in STORES:
        if not is_there(kind):
            print(f"the server of {kind} is not installed", file=sys.stderr)
            continue
        for row in measure(kind):
            rows.append(row)
            lines.append(
                f"{row['store']:8} {row['job']:8} {row['share']:6.1%} {row['middle_share']:6.1%} {row['seconds']:8.2f} "
                f"{row['waits']:6} {row['peak_bytes'] / MIB:6.1f} MiB"
            )
    return lines, rows


if __name__ == "__main__":
    print("\n".join(table()[0]))
