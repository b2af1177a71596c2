# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs that are compared, and how each is told to serve an image."""

import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from .system import Failure, run


@dataclass(frozen=True)
class Launch:
    """A server's command, and where its clients find the disk.

    No ARGV: TARGET is there without a server.  WAIT False: whoever asked waits itself.
    """

    argv: list
    target: str
    mountpoint: Optional[Path] = None
    socket: Optional[Path] = None
    port: int = 0  # of loopback, in the socket's place
    wait: bool = True


@dataclass(frozen=True)
class Order:
    """What is to be served."""

    path: Path
    format: str
    size: int
    partition: Optional[tuple] = None  # offset and size of p1, which is to be served
    writable: bool = False


@dataclass(frozen=True)
class Contender:
    """One way to get at an image's bytes.

    REFERENCE: a ceiling, not a rival; it is no "best other".  EXACT: gives the image's
    bytes, which is checked.
    """

    name: str
    programs: tuple
    launch: Optional[Callable]  # (Order, Path) -> Launch; None: measured in its own way
    reference: bool = False
    exact: bool = True

    def missing(self):
        return [name for name in self.programs if not shutil.which(name)]


def _mount_dir(directory):
    mountpoint = directory / "mnt"
    mountpoint.mkdir()
    return mountpoint


def _mount_file(directory):
    mountpoint = directory / "disk"
    mountpoint.touch()
    return mountpoint


def _fuse(argv, mountpoint, name):
    return Launch(argv, str(mountpoint / name), mountpoint=mountpoint)


def _nbd(argv, socket, export=""):
    return Launch(argv, f"nbd+unix:///{export}?socket={socket}", socket=socket)


def _tcp(argv, directory):
    """ARGV takes the options that a port and a file for the process's id come behind; the file
    lies in DIRECTORY, by which processes are found."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [{"PORT": port, "PID-FILE": directory / "pid"}.get(word, word) for word in argv]
    return Launch(words, f"nbd://127.0.0.1:{port}", port=port)


def imgmount_fuse(program):
    def launch(order, directory):
        mountpoint = _mount_dir(directory)
        name = "p1" if order.partition else "disk"
        mode = [] if order.writable else ["-r"]
        return _fuse([program, "--foreground", *mode, order.path, mountpoint],
                     mountpoint, name)
    return launch


def imgmount_nbd(program):
    def launch(order, directory):
        socket = directory / "nbd"
        mode = [] if order.writable else ["-r"]
        return _nbd([program, "--nbd", "-t", "-e", "16", *mode, "-k", socket, order.path],
                    socket)
    return launch


def imgmount_tcp(program):
    def launch(order, directory):
        return _tcp([program, "--nbd", "-t", "-e", "16", "-r", "-b", "127.0.0.1", "-p", "PORT",
                     "--pid-file", "PID-FILE", order.path], directory)
    return launch


def _qcowmount(order, directory):
    mountpoint = _mount_dir(directory)
    return _fuse(["qcowmount", order.path, mountpoint], mountpoint, "qcow1")


def _vmdkmount(order, directory):
    mountpoint = _mount_dir(directory)
    return _fuse(["vmdkmount", order.path, mountpoint], mountpoint, "vmdk1")


def _ewfmount(order, directory):
    mountpoint = _mount_dir(directory)
    return _fuse(["ewfmount", order.path, mountpoint], mountpoint, "ewf1")


def _xmount(order, directory):
    mountpoint = _mount_dir(directory)
    kind = "ewf" if order.path.suffix == ".E01" else "raw"
    slice_of = []
    if order.partition:
        slice_of = ["--offset", order.partition[0], "--sizelimit", order.partition[1]]
    return _fuse(["xmount", "--in", kind, order.path, *slice_of, "--out", "raw", mountpoint],
                 mountpoint, order.path.with_suffix(".dd").name)


def _block_nodes(order):
    """qemu-storage-daemon's options for a node "disk"."""
    mode = "off" if order.writable else "on"
    file = ("driver=file,node-name=file,read-only=" + mode
            + f",filename={order.path}")
    disk = f"driver={order.format},node-name=disk,file=file,read-only={mode}"
    if order.partition:
        disk += ",offset={},size={}".format(*order.partition)
    return ["--blockdev", file, "--blockdev", disk]


def _daemon_fuse(order, directory):
    mountpoint = _mount_file(directory)
    writable = "on" if order.writable else "off"
    export = f"type=fuse,id=e,node-name=disk,mountpoint={mountpoint},writable={writable}"
    argv = ["qemu-storage-daemon", *_block_nodes(order), "--export", export]
    return Launch(argv, str(mountpoint), mountpoint=mountpoint)


def _daemon_nbd(order, directory):
    socket = directory / "nbd"
    writable = "on" if order.writable else "off"
    return _nbd(["qemu-storage-daemon", *_block_nodes(order),
                 "--nbd-server", f"addr.type=unix,addr.path={socket}",
                 "--export", f"type=nbd,id=e,node-name=disk,name=e,writable={writable}"],
                socket, "e")


def _nbdkit_file(order):
    """nbdkit's words for serving a raw file."""
    partition = ["--filter=partition"] if order.partition else []
    select = ["partition=1"] if order.partition else []
    return [*partition, "file", order.path, *select]


def _nbdfuse_nbdkit(order, directory):
    mountpoint = _mount_dir(directory)
    return _fuse(["nbdfuse", "-r", mountpoint / "nbd", "--command", "nbdkit", "-s", "-r",
                  *_nbdkit_file(order)], mountpoint, "nbd")


def _nbdfuse_qemu(order, directory):
    mountpoint = _mount_dir(directory)
    mode = [] if order.writable else ["-r"]
    return _fuse(["nbdfuse", *mode, mountpoint / "nbd", "--socket-activation", "qemu-nbd",
                  *mode, "-f", order.format, order.path], mountpoint, "nbd")


def _nbdkit(order, directory):
    socket = directory / "nbd"
    mode = [] if order.writable else ["-r"]
    return _nbd(["nbdkit", "-f", *mode, "-U", socket, *_nbdkit_file(order)], socket)


def _nbdkit_memory(order, directory):
    socket = directory / "nbd"
    return _nbd(["nbdkit", "-f", "-r", "-U", socket, "memory", order.size], socket)


def _qemu_nbd(order, directory):
    socket = directory / "nbd"
    mode = ["--cache=writeback"] if order.writable else ["-r"]
    return _nbd(["qemu-nbd", "-t", "-e", "16", *mode, "-k", socket, "-f", order.format,
                 order.path], socket)


def _nbdkit_tcp(order, directory):
    return _tcp(["nbdkit", "-f", "-r", "-i", "127.0.0.1", "-p", "PORT", "-P", "PID-FILE",
                 *_nbdkit_file(order)], directory)


def _qemu_nbd_tcp(order, directory):
    return _tcp(["qemu-nbd", "-t", "-e", "16", "-r", "-b", "127.0.0.1", "-p", "PORT",
                 "--pid-file", "PID-FILE", "-f", order.format, order.path], directory)


def _file_itself(order, _directory):
    return Launch([], str(order.path))


# The device goes when the script is told to end.
LOOP_SCRIPT = """
device=$(losetup --find --show "$1") || exit 1
trap 'losetup --detach "$device"; exit 0' TERM
ln -s "$device" "$2"
sleep infinity & wait
"""


def _loop(order, directory):
    link = directory / "loop"
    return Launch(["bash", "-c", LOOP_SCRIPT, "bash", order.path, link], str(link))


def null_fuse(program):
    def launch(order, directory):
        mountpoint = _mount_file(directory)
        return Launch([program, str(order.size), mountpoint], str(mountpoint),
                      mountpoint=mountpoint)
    return launch


QCOWMOUNT = Contender("qcowmount", ("qcowmount",), _qcowmount)
VMDKMOUNT = Contender("vmdkmount", ("vmdkmount",), _vmdkmount)
EWFMOUNT = Contender("ewfmount", ("ewfmount",), _ewfmount)
XMOUNT = Contender("xmount", ("xmount",), _xmount)
DAEMON_FUSE = Contender("qemu-storage-daemon", ("qemu-storage-daemon",), _daemon_fuse)
DAEMON_NBD = Contender("qemu-storage-daemon", ("qemu-storage-daemon",), _daemon_nbd)
NBDFUSE_NBDKIT = Contender("nbdfuse+nbdkit", ("nbdfuse", "nbdkit"), _nbdfuse_nbdkit)
NBDFUSE_QEMU = Contender("nbdfuse+qemu-nbd", ("nbdfuse", "qemu-nbd"), _nbdfuse_qemu)
NBDKIT = Contender("nbdkit file", ("nbdkit",), _nbdkit)
NBDKIT_MEMORY = Contender("nbdkit memory", ("nbdkit",), _nbdkit_memory,
                          reference=True, exact=False)
QEMU_NBD = Contender("qemu-nbd", ("qemu-nbd",), _qemu_nbd)
NBDKIT_TCP = Contender("nbdkit file", ("nbdkit",), _nbdkit_tcp)
QEMU_NBD_TCP = Contender("qemu-nbd", ("qemu-nbd",), _qemu_nbd_tcp)
LOOP = Contender("loop device", ("losetup",), _loop, reference=True)
FILE_ITSELF = Contender("the raw file itself", (), _file_itself, reference=True)


def version_of(program):
    """One line, or None for a program that is not here or says nothing."""
    if not shutil.which(program):
        return None
    flag = "-V" if program.endswith("mount") and program != "xmount" else "--version"
    try:
        lines = run([program, flag], timeout=20).output.decode().strip().splitlines()
    except Failure:
        return "present"
    return lines[0] if lines else "present"


def compile_helper(source, libraries, build_dir):
    """Builds one of bench's own C programs and returns its path; raises Failure."""
    build_dir.mkdir(parents=True, exist_ok=True)
    program = build_dir / source.stem
    if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
        return program
    flags = run(["pkg-config", "--cflags", "--libs", *libraries]).output.decode().split()
    compiler = os.environ.get("CC", "cc")
    run([compiler, "-std=gnu17", "-O2", "-Wall", "-Wextra", "-pthread", "-o", program,
         source, *flags])
    return program
