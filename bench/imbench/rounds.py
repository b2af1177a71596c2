# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a row: all contenders in turn, round after round."""

import dataclasses
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from . import rows as r
from .clients import Decoder, Fio, Sample, first_file_read, first_nbd_read
from .images import PARTITION_OFFSET
from .programs import Contender, Order
from .system import Failure, Server, run

OURS = "imgmount"
STARTS = 10
WARM_UP = 1
# Each block that fio writes is full of its own offset.
NUMBERED = ("--verify=pattern", "--verify_pattern=%o", "--do_verify=0",
            "--verify_state_save=0")
WRITTEN_TO_CHECK = 8 << 20
CHECK_LIMIT = 120  # seconds


@dataclass
class Entry:
    """What one contender reached in one row: a sample for each round, None where it was
    lost; NOTE says why there is nothing, or not all."""

    name: str
    reference: bool = False
    samples: list = field(default_factory=list)
    note: str = ""

    def values(self):
        return [sample.value for sample in self.samples if sample]

    def median(self):
        return statistics.median(self.values()) if self.values() else None

    def cpu_per_gb(self):
        costs = [sample.cpu / (sample.bytes / 1e9) for sample in self.samples
                 if sample and sample.bytes]
        return statistics.median(costs) if costs else None


@dataclass(frozen=True)
class Place:
    """A contender with what it serves in this row."""

    entry: Entry
    contender: Contender
    image: str


def say(text):
    print(text, file=sys.stderr, flush=True)


class Runner:
    def __init__(self, images, ours, rounds, seconds):
        """OURS: the contender that is imgmount, by the name of the export."""
        self._images = images
        self._ours = ours
        self._rounds = rounds
        self._seconds = seconds
        self._verified = {}
        self._decoder = None

    def set_decoder(self, program):
        """The program that finds the decode ceiling; without it that is absent."""
        self._decoder = program

    def run(self, row):
        """The row's entries, imgmount first."""
        say(f"{row.name}: {row.title}")
        measure = {r.READ: self._run_read, r.WRITE: self._run_write,
                   r.START: self._each_alone(self._start, self._rounds),
                   r.MEMORY: self._each_alone(self._hold, 1),
                   r.COPY: self._each_alone(self._copy, self._rounds)}[row.kind]
        places = self._places(row)
        if row.kind != r.START:
            for image in {place.image for place in places}:
                self._images.warm(image)
        measure(row, [place for place in places if not place.entry.note])
        return [place.entry for place in places]

    def _places(self, row):
        ours = self._ours[row.export]
        places = [Place(Entry(OURS), ours, row.image)]
        places += [Place(Entry(r.BESIDE[image], True), ours, image) for image in row.beside]
        places += [Place(Entry(other.name, other.reference), other, row.image)
                   for other in row.others]
        if any(getattr(goal, "against", None) == r.CEILING for goal in row.goals):
            ceiling = Contender(r.CEILING, (self._decoder or "decode-ceiling",), None,
                                reference=True)
            places.append(Place(Entry(r.CEILING, True), ceiling, row.image))
        for place in places:
            missing = place.contender.missing()
            if missing:
                place.entry.note = "absent: " + ", ".join(str(name) for name in missing)
        return places

    def _order(self, row, image, writable=None):
        partition = (PARTITION_OFFSET, self._images.scale.partition)
        return Order(path=writable or self._images.path(image),
                     format=self._images.format(image),
                     size=self._images.size(image),
                     partition=partition if row.partition else None,
                     writable=bool(writable))

    def _server(self, place, order):
        return Server(lambda directory: place.contender.launch(order, directory))

    def _sample(self, place, seconds, measure, server=None):
        """One run; a failed one is lost and named."""
        before = server.cpu() if server else 0
        try:
            sample = measure(seconds)
        except Failure as failure:
            say(f"  {place.entry.name}: run lost: {failure}")
            place.entry.note = f"runs lost; last: {failure}"
            return None
        after = server.cpu() if server else 0
        return dataclasses.replace(sample, cpu=sample.cpu + after - before)

    # Rows that read: servers stay up, clients take turns.

    def _run_read(self, row, places):
        with ExitStack() as stack:
            ready = []
            for place in places:
                try:
                    ready.append((place, *self._prepare(row, place, stack)))
                except Failure as failure:
                    place.entry.note = f"failed: {failure}"
                    say(f"  {place.entry.name}: {failure}")
            for _ in range(self._rounds):
                for place, server, measure in ready:
                    sample = self._sample(place, self._seconds, measure, server)
                    place.entry.samples.append(sample)

    def _prepare(self, row, place, stack):
        """A server with its first faults behind it, or None, and how to measure."""
        if not place.contender.launch:
            decoder = Decoder(self._decoder, self._images.path(place.image))
            return None, lambda seconds: decoder.measure(None, seconds)
        server = stack.enter_context(
            self._server(place, self._order(row, place.image)))
        self._verify(row, place, server)
        if isinstance(row.client, Fio):
            row.client.measure(server.target, WARM_UP)
        return server, lambda seconds: row.client.measure(server.target, seconds)

    def _verify(self, row, place, server):
        """Every byte that a contender gives is compared once."""
        key = (place.contender.name, row.export, place.image, row.partition)
        if not place.contender.exact or place.contender.reference or key in self._verified:
            return
        raw = self._images.path("raw")
        if row.export in ("nbd", "tcp"):
            run(["bash", "-c", 'set -o pipefail; nbdcopy "$1" - | cmp - "$2"', "bash",
                 server.target, raw])
        elif row.partition:
            size = self._images.scale.partition
            if os.stat(server.target).st_size != size:
                raise Failure(f"p1 is not of {size} bytes")
            run(["cmp", "-n", size, "-i", f"{PARTITION_OFFSET}:0", raw, server.target])
        else:
            run(["cmp", server.target, raw])
        self._verified[key] = True

    # Rows that write: each contender has a copy of the image for itself; fresh ones for
    # each run, where the row is about filling it.

    def _run_write(self, row, places):
        for place in list(places):
            try:
                self._check_writes(row, place)
            except Failure as failure:
                place.entry.note = f"failed: {failure}"
                say(f"  {place.entry.name}: {failure}")
                places.remove(place)
        with ExitStack() as stack:
            ready = []
            for place in places:
                measure = self._write_fresh if row.fresh else stack.enter_context(
                    self._write_kept(row, place))
                ready.append((place, measure))
            for _ in range(self._rounds):
                for place, measure in ready:
                    place.entry.samples.append(measure(row, place))

    @contextmanager
    def _target(self, place, name="write-target"):
        target = self._images.scratch / f"{name}-{os.getpid()}"
        try:
            yield self._images.new_target(place.image, target)
        finally:
            target.unlink(missing_ok=True)

    @contextmanager
    def _writable_server(self, row, place, target):
        with self._server(place, self._order(row, place.image, target)) as server:
            yield server

    def _write_fresh(self, row, place):
        with self._target(place) as target, \
                self._writable_server(row, place, target) as server:
            return self._sample(
                place, self._seconds,
                lambda seconds: row.client.measure(server.target, seconds), server)

    @contextmanager
    def _write_kept(self, row, place):
        """How to measure on a copy and a server that stay up."""
        name = "kept-" + "".join(filter(str.isalnum, place.entry.name))
        with self._target(place, name) as target, \
                self._writable_server(row, place, target) as server:
            yield lambda row, place: self._sample(
                place, self._seconds,
                lambda seconds: row.client.measure(server.target, seconds), server)

    def _check_writes(self, row, place):
        """Once, the same is written to a raw file too, and qemu-img compares the two."""
        key = (place.contender.name, row.export, place.image, row.client)
        if key in self._verified:
            return
        some = dataclasses.replace(row.client, amount=WRITTEN_TO_CHECK)
        image_format = self._images.format(place.image)
        reference = self._images.scratch / f"reference-{os.getpid()}"
        with self._target(place) as target:
            with self._writable_server(row, place, target) as server:
                some.measure(server.target, CHECK_LIMIT, NUMBERED)
            if image_format == "qcow2":
                run(["qemu-img", "check", "-q", "-f", "qcow2", target])
            try:
                self._images.new_reference(place.image, reference)
                dataclasses.replace(some, flush="end").measure(str(reference), CHECK_LIMIT,
                                                               NUMBERED)
                self._compare(place, reference, image_format, target)
            finally:
                reference.unlink(missing_ok=True)
        self._verified[key] = True

    def _compare(self, place, reference, image_format, target):
        """Whoever else writes the wrong bytes is measured all the same: a figure that is
        too good beats no figure to compare with."""
        try:
            run(["qemu-img", "compare", "-f", "raw", "-F", image_format, reference, target])
        except Failure:
            if place.entry.name == OURS:
                raise
            place.entry.note = "wrote wrong bytes"

    # Rows in which nothing stays up from one measurement to the next.

    def _each_alone(self, measure, rounds):
        def run_rounds(row, places):
            for _ in range(rounds):
                for place in places:
                    sample = self._sample(place, 0, lambda _, at=place: measure(row, at))
                    place.entry.samples.append(sample)
        return run_rounds

    # From the command to the first bytes.

    def _start(self, row, place):
        """The median of some starts, in milliseconds."""
        order = self._order(row, place.image)
        times = []
        for _ in range(STARTS):
            server = Server(lambda directory: dataclasses.replace(
                place.contender.launch(order, directory), wait=False))
            with server:
                launch = server.launch
                if launch.socket:
                    export = launch.target[len("nbd+unix:///"):].partition("?")[0]
                    data, seconds = server.first(
                        lambda: first_nbd_read(launch.socket, export))
                else:
                    data, seconds = server.first(lambda: first_file_read(launch.target))
            if data != b"\1" * 4096:
                raise Failure("the first bytes are wrong")
            times.append(seconds * 1000)
        return Sample(statistics.median(times))

    # Commands that copy out of the image.

    def _copy(self, row, place):
        """One copy, into the images' own file system; the first of each is compared."""
        order = self._order(row, place.image)
        offset, size = order.partition or (0, order.size)
        with tempfile.TemporaryDirectory(dir=self._images.scratch) as directory:
            launch = place.contender.launch(order, Path(directory))
            done = run(launch.argv)
            key = (place.entry.name, row.name)
            if key not in self._verified:
                if os.stat(launch.target).st_size != size:
                    raise Failure(f"the copy is not of {size} bytes")
                run(["cmp", "-n", size, "-i", f"{offset}:0", self._images.path("raw"),
                     launch.target])
                self._verified[key] = True
        return Sample(size / done.seconds / 1e9, size, done.cpu)

    # What a server holds after all was read.

    def _hold(self, row, place):
        with self._server(place, self._order(row, place.image)) as server:
            run(["nbdcopy", server.target, "null:"])
            return Sample(server.memory())
