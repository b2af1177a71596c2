# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs that copy a disk or a partition out of an image, into a raw file that is on the
disk when they are done: as imgmount does it, and whoever does not by himself is told to."""

from .programs import Contender, Launch

COPY = "copy"  # the file's name in the directory that a copy is given
MMCAT_P1 = 2  # mmls counts the table and the space before the partition too


def _to(directory):
    return directory / COPY


def _made_by(argv):
    """ARGV: a function of an Order and of the file that is to be made."""
    return lambda order, directory: Launch(argv(order, _to(directory)), str(_to(directory)))


def imgmount_extract(program, digests):
    def argv(order, output):
        what = "p1" if order.partition else "disk"
        return [program, "--extract", what, "--digest", digests, "-O", output, order.path]
    return _made_by(argv)


def _dd(order, output):
    part = []
    if order.partition:
        offset, size = order.partition
        part = ["iflag=skip_bytes,count_bytes", f"skip={offset}", f"count={size}"]
    return ["dd", "bs=1M", "conv=sparse,fsync", *part, f"if={order.path}", f"of={output}"]


def _convert(order, output):
    node = f"driver={order.format},file.driver=file,file.filename={order.path}"
    if order.partition:
        node += ",offset={},size={}".format(*order.partition)
    return ["qemu-img", "convert", "-t", "writeback", "--image-opts", "-O", "raw", node, output]


def _mmcat(order, output):
    return ["sh", "-c", 'mmcat "$1" "$2" >"$3" && sync "$3"', "sh", order.path, MMCAT_P1, output]


def _ewfexport(order, output):
    # It gives the name an ending of its own.
    return ["sh", "-c", 'ewfexport -u -q -f raw -t "$2" "$1" && mv "$2".raw "$2" && sync "$2"', "sh",
            order.path, output]


DD = Contender("dd", ("dd",), _made_by(_dd))
CONVERT = Contender("qemu-img convert", ("qemu-img",), _made_by(_convert))
MMCAT = Contender("mmcat", ("mmcat",), _made_by(_mmcat))
EWFEXPORT = Contender("ewfexport", ("ewfexport",), _made_by(_ewfexport))
