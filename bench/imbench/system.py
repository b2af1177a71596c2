# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that are run to their end, and servers that are always ended again."""

import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
START_LIMIT = 20.0
LEAVE_LIMIT = 1.0  # some do not leave when they are unmounted
STOP_LIMIT = 10.0


class Failure(Exception):
    """A program did not do what it was asked to; what it did counts for nothing."""


@dataclass(frozen=True)
class Finished:
    """What a command that succeeded has said and cost."""

    output: bytes
    seconds: float
    cpu: float


def _children_cpu():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _last_line(text):
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no message"


def end_group(process):
    """Ends a command and what it started; it leads a session of its own."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def run(argv, timeout=900, stdout=subprocess.PIPE):
    """Runs a command; any status but 0 is a Failure that carries its last words."""
    words = [str(word) for word in argv]
    cpu = _children_cpu()
    begin = time.monotonic()
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE,
        start_new_session=True)
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Failure(f"{words[0]}: not done in {timeout} seconds") from None
    finally:
        end_group(process)
    seconds = time.monotonic() - begin
    if process.returncode != 0:
        # fio complains on standard output, before its JSON.
        complaint = errors.strip() or (output or b"").partition(b"{")[0]
        raise Failure(f"{words[0]}: status {process.returncode}: {_last_line(complaint)}")
    return Finished(output, seconds, _children_cpu() - cpu)


def _stat_fields(pid):
    """The fields of /proc/PID/stat after the name, from "state" on."""
    text = Path(f"/proc/{pid}/stat").read_text()
    return text.rpartition(")")[2].split()


@dataclass(frozen=True)
class Pid:
    """A process, known by its start too, so that a number used again is not mistaken."""

    number: int
    started: str

    @classmethod
    def of(cls, number):
        return cls(number, _stat_fields(number)[19])

    def fields(self):
        """The fields of its stat file, or None once it is gone or only a zombie."""
        try:
            fields = _stat_fields(self.number)
        except (OSError, IndexError):
            return None
        return fields if fields[19] == self.started and fields[0] != "Z" else None

    def cpu(self):
        fields = self.fields()
        return (int(fields[11]) + int(fields[12])) / TICKS if fields else 0.0

    def memory(self):
        """Anonymous memory in MiB: what the process itself takes, without file pages."""
        try:
            status = Path(f"/proc/{self.number}/status").read_text()
        except OSError:
            return 0.0
        sizes = dict(line.split(":", 1) for line in status.splitlines())
        return sum(int(sizes[key].split()[0])
                   for key in ("RssAnon", "RssShmem") if key in sizes) / 1024

    def kill(self, number):
        if self.fields():
            os.kill(self.number, number)


def _all_pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _names_path(pid, path):
    try:
        return path.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _processes_of(directory):
    """The processes that name DIRECTORY on their command line, and their children."""
    family = {pid for pid in _all_pids() if _names_path(pid, str(directory))}
    grown = True
    while grown:
        grown = False
        for pid in _all_pids():
            try:
                parent = int(_stat_fields(pid)[1])
            except (OSError, IndexError):
                continue
            if parent in family and pid not in family:
                family.add(pid)
                grown = True
    found = set()
    for pid in family - {os.getpid()}:
        try:
            found.add(Pid.of(pid))
        except (OSError, IndexError):
            continue
    return found


def _is_listening(launch):
    family, address = ((socket.AF_INET, ("127.0.0.1", launch.port)) if launch.port
                       else (socket.AF_UNIX, str(launch.socket)))
    with socket.socket(family) as probe:
        try:
            probe.connect(address)
            return True
        except OSError:
            return False


class Server:
    """One serving program in a directory of its own; ended when its with-block is left.

    LAUNCH is a function of that directory and gives a Launch (see programs.py).
    """

    def __init__(self, launch):
        self._launch = launch
        self._process = None
        self._pids = set()

    def __enter__(self):
        self._directory = Path(tempfile.mkdtemp(prefix="imbench-"))
        try:
            self.launch = self._launch(self._directory)
            self.target = self.launch.target
            if self.launch.argv:
                self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_):
        self._stop()

    def _start(self):
        log = open(self._directory / "log", "wb")
        self._begin = time.monotonic()
        self._process = subprocess.Popen(
            [str(word) for word in self.launch.argv], stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, start_new_session=True)
        log.close()
        if self.launch.wait:
            self._wait_ready()
            self._pids = _processes_of(self._directory)

    def _is_ready(self):
        if self.launch.socket or self.launch.port:
            return _is_listening(self.launch)
        try:
            # A regular file that is mounted over is there before, and empty.
            found = os.stat(self.target)
            return found.st_size > 0 or stat.S_ISBLK(found.st_mode)
        except OSError:
            return False

    def _wait_ready(self):
        end = time.monotonic() + START_LIMIT
        while not self._is_ready():
            # A status of 0 is that of a parent whose child serves on.
            if self._process.poll() not in (None, 0):
                raise Failure(self._last_words())
            if time.monotonic() > end:
                raise Failure(f"not ready in {START_LIMIT:.0f} seconds: "
                              + self._last_words())
            time.sleep(0.01)

    def _last_words(self):
        return _last_line((self._directory / "log").read_bytes())

    def first(self, read):
        """What READ gives, and the seconds from the command's start to then."""
        data = read()
        return data, time.monotonic() - self._begin

    def cpu(self):
        return sum(pid.cpu() for pid in self._pids)

    def memory(self):
        return sum(pid.memory() for pid in self._pids)

    def _is_mounted(self):
        """By the table: a mount whose server died answers no stat."""
        mounts = Path("/proc/self/mounts").read_text()
        return f" {self.launch.mountpoint} " in mounts

    def _unmount(self):
        mountpoint = self.launch.mountpoint
        for command in ("umount", "umount", "umount -l"):
            if not self._is_mounted():
                return
            subprocess.run([*command.split(), mountpoint], check=False,
                           stderr=subprocess.DEVNULL)
            time.sleep(0.05)

    def _stop(self):
        pids = self._pids | _processes_of(self._directory)
        if getattr(self, "launch", None) and self.launch.mountpoint:
            self._unmount()
        elif self._process:
            for pid in pids:
                pid.kill(signal.SIGTERM)
        self._await_end(pids)
        if self._process:
            end_group(self._process)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _await_end(self, pids):
        """Processes get time to leave by themselves, then a signal, then SIGKILL."""
        for number, limit in ((signal.SIGTERM, LEAVE_LIMIT), (signal.SIGKILL, STOP_LIMIT),
                              (None, STOP_LIMIT)):
            end = time.monotonic() + limit
            while any(pid.fields() for pid in pids) and time.monotonic() < end:
                if self._process:
                    self._process.poll()
                time.sleep(0.01)
            for pid in pids:
                if number and pid.fields():
                    pid.kill(number)
