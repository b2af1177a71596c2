# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line."""

import argparse
import os
import platform
import re
import shutil
import signal
import sys
import time
from pathlib import Path

from . import programs as p
from .copies import imgmount_extract
from .images import FULL, QUICK, Images
from .report import as_json, markdown, markdown_row
from .rounds import OURS, Runner, say
from .rows import NULL_FUSE, all_rows
from .system import Failure

HERE = Path(__file__).resolve().parent.parent
REAL_TIME = 10  # above nothing that matters; children inherit it
NEEDED_SPACE = 22 << 30
PEERS = ("qemu-nbd", "qemu-storage-daemon", "nbdkit", "nbdfuse", "qcowmount", "vmdkmount",
         "ewfmount", "xmount", "ewfexport", "mmcat", "fio", "nbdcopy")
CLIENTS = ("fio", "nbdcopy", "qemu-img", "qemu-io", "cmp", "dd", "sfdisk", "mke2fs")


def _default_cache():
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "imgmount-bench"


def _default_imgmount():
    built = HERE.parent / "build" / "src" / "cli" / "imgmount"
    return str(built) if built.exists() else "imgmount"


def parse(argv):
    parser = argparse.ArgumentParser(
        prog="bench/run", description="Measures imgmount against the other programs that "
        "serve disk images, in turn, and prints a table. Needs root. See bench/README.md.")
    parser.add_argument("--quick", action="store_true",
                        help="small images, three rounds of one second: only shows that "
                        "everything works, the figures mean nothing")
    parser.add_argument("--rows", default="", metavar="PATTERN",
                        help="only rows whose name matches this regular expression")
    parser.add_argument("--list", action="store_true", help="list the rows and leave")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds (7)")
    parser.add_argument("--seconds", type=int, metavar="S", help="a round's length (5)")
    parser.add_argument("--real-time", action="store_true",
                        help="run servers and clients with real-time priority: for machines "
                        "that do other work meanwhile, which then has to wait")
    parser.add_argument("--imgmount", default=_default_imgmount(), metavar="PATH")
    parser.add_argument("--cache", type=Path, default=_default_cache(), metavar="DIR",
                        help="where the images lie (%(default)s)")
    parser.add_argument("--output", type=Path, metavar="NAME",
                        help="write NAME.md and NAME.json too")
    options = parser.parse_args(argv)
    options.rounds = options.rounds or (3 if options.quick else 7)
    options.seconds = options.seconds or (1 if options.quick else 5)
    return options


def _helper(source, libraries, cache):
    """A program of ours, or its bare name, which then counts as absent."""
    try:
        return str(p.compile_helper(HERE / source, libraries, cache / "bin"))
    except (Failure, OSError) as failure:
        say(f"{source}: not built: {failure}")
        return Path(source).stem


def _facts(options):
    facts = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "rounds": f"{options.rounds} of {options.seconds} seconds"
                  + (", small images" if options.quick else "")
                  + (", with real-time priority" if options.real_time else ""),
        "imgmount": p.version_of(options.imgmount) or "absent",
    }
    facts.update((name, p.version_of(name) or "absent") for name in PEERS)
    return facts


def _check_ground(options, scale):
    if os.geteuid() != 0:
        raise Failure("needs root: others' mounts and measuring them take it")
    missing = [name for name in CLIENTS if not shutil.which(name)]
    if missing:
        raise Failure("not here: " + ", ".join(missing))
    made = (options.cache / scale.name / "raw.raw").exists()
    if scale is FULL and not made and shutil.disk_usage(options.cache).free < NEEDED_SPACE:
        raise Failure(f"{options.cache}: less than {NEEDED_SPACE >> 30} GiB are free")


def _leave_on_signals():
    """The first signal unwinds everything; further ones do not disturb that."""
    def leave(number, _frame):
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(one, signal.SIG_IGN)
        raise SystemExit(128 + number)
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, leave)


def _ours(program):
    """imgmount in each of the ways in which a row may want it."""
    ways = {"fuse": p.imgmount_fuse(program), "nbd": p.imgmount_nbd(program),
            "tcp": p.imgmount_tcp(program),
            "extract": imgmount_extract(program, "none"),
            "extract-digests": imgmount_extract(program, "md5,sha1,sha256")}
    return {way: p.Contender(OURS, (program,), launch) for way, launch in ways.items()}


def _run(options):
    scale = QUICK if options.quick else FULL
    if options.real_time:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(REAL_TIME))
    options.cache.mkdir(parents=True, exist_ok=True)
    null = _helper("null-fuse.c", ["fuse3"], options.cache)
    null = p.Contender(NULL_FUSE, (null,), p.null_fuse(null), reference=True, exact=False)
    rows = [row for row in all_rows(scale, null, options.cache)
            if re.search(options.rows, row.name)]
    if options.list:
        for row in rows:
            print(f"{row.name:24} {row.title}; goal: {row.goal_text() or 'none'}")
        return
    _check_ground(options, scale)
    runner = Runner(Images(options.cache, scale), _ours(options.imgmount), options.rounds,
                    options.seconds)
    runner.set_decoder(_helper("decode-ceiling.c", ["libdeflate", "libzstd"],
                               options.cache))
    facts = _facts(options)
    results = []
    for row in rows:
        results.append((row, runner.run(row)))
        say(markdown_row(*results[-1]))
    text = markdown(results, facts)
    print(text)
    if options.output:
        options.output.with_suffix(".md").write_text(text)
        options.output.with_suffix(".json").write_text(as_json(results, facts))


def main(argv):
    options = parse(argv)
    _leave_on_signals()
    try:
        _run(options)
    except Failure as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    return 0
