# SPDX-License-Identifier: GPL-2.0-or-later
# What the tests of the qcow2 driver share: a disk, images of it, and the comparison with
# what qemu-img reads.

# A disk of 3 MiB and a bit: runs of noise, of text and of zeros, at any sector.
make_disk() { # FILE
  /usr/bin/python3 - "$1" <<'END'
import random, sys
random.seed(7)
size = 3 * 1024 * 1024 + 1536
disk = bytearray(size)
for i in range(90):
    length = random.choice([512, 4096, 20000, 65536])
    at = random.randrange(0, size - length) // 512 * 512
    disk[at:at + length] = random.choice(
        [random.randbytes(length), (b"line %d\n" % i * length)[:length], bytes(length)])
disk[-512:] = b"end!" * 128
open(sys.argv[1], "wb").write(disk)
END
}

# Serves IMAGE on the socket `s` until stop_serving.
serve() { # IMAGE [OPTION...]
  local image=$1
  shift
  "$IMGMOUNT" --nbd -r -t --fork --pid-file pid -k "$PWD/s" "$@" "$image"
}

# The server removes its pid file at the end; the process itself may linger as a zombie
# for as long as init pleases.
stop_serving() {
  [ -e pid ] || return 0
  kill "$(cat pid)"
  while [ -e pid ]; do sleep 0.01; done
}

uri() { echo "nbd+unix:///?socket=$PWD/s"; }

# Lines "start length flags", neighbours of the same flags as one.
merge_runs() {
  awk '{ if (NR > 1 && $3 == flags) length_ += $2
         else { if (NR > 1) print start, length_, flags; start = $1; length_ = $2; flags = $3 } }
       END { if (NR > 0) print start, length_, flags }'
}

# "hole,zero", "zero" or "data" of each run: zeros that qemu-img calls data as well lie in a
# place that the image has set aside.
qemu_map() { # IMAGE
  qemu-img map --output=json "$1" |
    sed -nE 's/.*"start": ([0-9]+), "length": ([0-9]+),.*"zero": (true|false), "data": (true|false).*/\1 \2 \3\4/p' |
    sed -E 's/truefalse$/hole,zero/; s/truetrue$/zero/; s/falsetrue$/data/' | merge_runs
}

our_map() { nbdinfo --map "$(uri)" | awk '{ print $1, $2, $4 }' | merge_runs; }

# Every byte and every hole of IMAGE as qemu-img has them.
#
# The maps come first: to ext4, a page in memory makes data of what was preallocated.
same_as_qemu() { # IMAGE [LABEL]
  qemu_map "$1" >want.map
  serve "$1"
  our_map >got.map
  nbdcopy "$(uri)" got.raw
  stop_serving
  qemu-img convert -O raw "$1" want.raw
  cmp want.raw got.raw && diff want.map got.map || {
    echo "differs: ${2:-$1}"
    return 1
  }
}

# IMAGE of disk.raw in clusters of SIZE with OPTIONS, from qemu-img; any old data file goes.
make_image() { # IMAGE SIZE OPTIONS [-c]
  rm -f "$1" "$1.data"
  qemu-img convert ${4:-} -O qcow2 -o "cluster_size=$2,$3" disk.raw "$1"
}

# A child of the image PARENT with writes, zeros, a compressed cluster and discards of its
# own, and a larger disk.
make_child() { # IMAGE SIZE OPTIONS PARENT
  rm -f "$1" "$1.data"
  qemu-img create -q -f qcow2 -o "cluster_size=$2,$3" -b "$4" -F qcow2 "$1" 5M
  qemu-io -c "write -P 7 12k 40k" -c "write -z 100k 300k" -c "write -z -u 500k 300k" \
    -c "write -P 9 620k 4k" -c "write -P 3 5116k 4k" -c "discard 1M 100k" \
    -c "write -z 1333k 5k" "$1" >/dev/null
  # Last, and the disk's end written: the file's tail is read to recognise the image, and
  # shall be data before that too.
  [[ $3 == *data_file* ]] || qemu-io -c "write -c -P 4 2M $2" "$1" >/dev/null
}

refused() { # IMAGE PART-OF-THE-MESSAGE [OPTION...]
  local image=$1 part=$2
  shift 2
  run --separate-stderr "$IMGMOUNT" --info "$@" "$image"
  [ "$status" -eq 1 ]
  [ -z "$output" ]
  [[ ${stderr_lines[0]} == "imgmount: $image: "*"$part"* ]] || {
    printf 'said: %s\n' "${stderr_lines[@]}"
    return 1
  }
}

# Writes BYTES (with escapes, \\x80) at OFFSET of FILE.
poke() { # FILE OFFSET BYTES
  printf %b "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
