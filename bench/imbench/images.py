# SPDX-License-Identifier: GPL-2.0-or-later
"""The images, made once and kept in a cache directory."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .system import Failure, run

MIB = 1 << 20
PARTITION_OFFSET = MIB
TARGETS = ("empty", "child", "subclusters")  # exist only as copies that are written to
EMPTY = 16 << 30  # so large that random writes hardly meet one another


@dataclass(frozen=True)
class Scale:
    """How large the images are; the quick ones only show that all works."""

    name: str
    disk: int
    partition: int
    files: int
    written: int  # by rows that fill an image
    rewritten: int  # the part that is gone over by rows that overwrite one

    @property
    def hot(self):
        """Offset and size of what random reads of compressed images touch: it fits into
        imgmount's cache of decoded chunks (128 MiB)."""
        return self.disk // 4, 96 * MIB


FULL = Scale("full", 4096 * MIB, 3072 * MIB, 1536 * MIB, 512 * MIB, 128 * MIB)
QUICK = Scale("quick", 512 * MIB, 384 * MIB, 160 * MIB, 256 * MIB, 128 * MIB)


def _files_of(root):
    """The regular files below ROOT in an order that is the same each time."""
    for directory, names, files in os.walk(root):
        names.sort()
        for name in sorted(files):
            path = Path(directory, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _fill(target, size):
    """Fills TARGET with the content of files of /usr, from its end backwards so that it
    differs from what the file system will hold, and over again where that is too little."""
    files = list(_files_of("/usr"))[::-1]
    with open(target, "wb") as out:
        while out.tell() < size:
            before = out.tell()
            for path in files:
                with open(path, "rb") as source:
                    shutil.copyfileobj(source, out, MIB)
                if out.tell() >= size:
                    break
            if out.tell() == before:
                raise Failure("/usr has no content to fill an image with")
        out.truncate(size)


def _copy_tree(tree, size):
    """Copies files of /usr into TREE until they come to SIZE bytes."""
    left = size
    for path in _files_of("/usr"):
        length = path.stat().st_size
        if length > left:
            continue
        copy = tree / path.relative_to("/usr")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        left -= length
        if left < MIB:
            break


class Images:
    """Paths by key; each image is made when it is first asked for."""

    def __init__(self, cache, scale):
        self.scale = scale
        self._directory = Path(cache) / scale.name
        self._directory.mkdir(parents=True, exist_ok=True)
        self._make = {
            "raw": self._make_raw,
            "qcow2": lambda path: self._convert(path, "qcow2"),
            "zlib": lambda path: self._convert(
                path, "qcow2", "-c", "-o", "compression_type=zlib"),
            "zstd": lambda path: self._convert(
                path, "qcow2", "-c", "-o", "compression_type=zstd"),
            "vmdk": lambda path: self._convert(
                path, "vmdk", "-o", "subformat=streamOptimized"),
            "e01": self._make_ewf,
            "sparse-1G": lambda path: self._make_sparse(path, "1G"),
            "sparse-1T": lambda path: self._make_sparse(path, "1T"),
        }

    def size(self, key):
        return {"sparse-1G": 1 << 30, "sparse-1T": 1 << 40,
                "empty": EMPTY}.get(key, self.scale.disk)

    def format(self, key):
        """The name of KEY's format in QEMU's programs."""
        return {"raw": "raw", "vmdk": "vmdk"}.get(key, "qcow2")

    def path(self, key):
        suffix = {"raw": "raw", "vmdk": "vmdk", "e01": "E01"}.get(key, "qcow2")
        path = self._directory / f"{key}.{suffix}"
        if not path.exists():
            self._build(key, path)
        return path

    def warm(self, key):
        """Brings an image into the page cache, so that no row measures the disk."""
        if key in TARGETS:
            key = "raw"  # what lies behind those that have a parent
        with open(self.path(key), "rb", buffering=0) as image:
            buffer = bytearray(4 * MIB)
            while image.readinto(buffer):
                pass

    def new_target(self, key, path):
        """A copy of KEY's image for a row that writes, on the disk already, so that no
        flush pays for it; the caller removes it."""
        if key in ("raw", "qcow2"):
            shutil.copyfile(self.path(key), path)
        else:
            self._create(key, path)
        with open(path, "rb") as copy:
            os.fsync(copy.fileno())
        return path

    def new_reference(self, key, path):
        """A raw file that holds what KEY's image shows."""
        if key == "empty":
            with open(path, "wb") as file:
                file.truncate(self.size(key))
        else:
            shutil.copyfile(self.path("raw"), path)
        return path

    def _create(self, key, path):
        """An image that holds nothing of its own."""
        options = {"empty": [], "child": [], "subclusters": [
            "-o", "extended_l2=on,cluster_size=2M"]}[key]
        if key != "empty":
            options += ["-b", self.path("raw"), "-F", "raw"]
        run(["qemu-img", "create", "-q", "-f", "qcow2", *options, path, self.size(key)])

    @property
    def scratch(self):
        return self._directory

    def _build(self, key, path):
        # Under its own name, for formats that write it into the image; in a folder of its own,
        # since making one image may begin with making another.
        unfinished = self._directory / f"unfinished-{key}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        print(f"making {path} …", file=sys.stderr, flush=True)
        try:
            self._make[key](unfinished / path.name)
            (unfinished / path.name).rename(path)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _make_raw(self, path):
        """An MBR disk with one ext4 partition half full of files.  Its free blocks and the
        rest of the disk hold real data too: nothing is a hole, nothing compresses away."""
        tree = self._directory / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        try:
            _copy_tree(tree, self.scale.files)
            _fill(path, self.scale.disk)
            _wipe_start(path)
            sectors = self.scale.partition // 512
            subprocess.run(["sfdisk", "-q", path], check=True, text=True,
                           input=f"start={PARTITION_OFFSET // 512} size={sectors}\n")
            run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", tree,
                 "-E", f"nodiscard,offset={PARTITION_OFFSET}", path,
                 f"{self.scale.partition // 1024}k"])
        finally:
            shutil.rmtree(tree, ignore_errors=True)

    def _convert(self, path, image_format, *options):
        run(["qemu-img", "convert", "-f", "raw", "-O", image_format, *options,
             self.path("raw"), path])

    def _make_ewf(self, path):
        run(["ewfacquire", "-u", "-q", "-c", "deflate:fast", "-f", "encase6",
             "-S", "8EiB", "-t", path.with_suffix(""), self.path("raw")])

    def _make_sparse(self, path, size):
        run(["qemu-img", "create", "-q", "-f", "qcow2", path, size])
        run(["qemu-io", "-f", "qcow2", "-c", "write -P 1 0 64k", path])


def _wipe_start(path):
    """No signature of the filling may be taken for one of the disk."""
    with open(path, "r+b") as disk:
        disk.write(bytes(PARTITION_OFFSET))
