# SPDX-License-Identifier: GPL-2.0-or-later
# For tests of partition tables: the program, damage, and comparisons with other readers.

IMGMOUNT=${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}

need() { # PROGRAM...
  local program
  for program; do
    command -v "$program" >/dev/null || skip "$program is not installed"
  done
}

# Reads the script from standard input.
make_table() { # IMAGE SIZE
  truncate -s 0 "$1"
  truncate -s "$2" "$1"
  sfdisk --quiet --no-reread --no-tell-kernel "$1"
}

# Puts the bytes of HEX at OFFSET.
poke() { # IMAGE OFFSET HEX
  python3 -c '
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2], 0))
    f.write(bytes.fromhex(sys.argv[3]))' "$@"
}

# Overwrites COUNT sectors of 512 bytes with zeros.
wipe() { # IMAGE SECTOR COUNT
  dd if=/dev/zero of="$1" bs=512 seek="$2" count="$3" conv=notrunc status=none
}

# Prints what EXPRESSION makes of the partitiontable t of --list --json.
table() { # EXPRESSION IMGMOUNT-ARGUMENT...
  local expression=$1
  shift
  "$IMGMOUNT" --list --json "$@" | python3 -c '
import json, sys
t = json.load(sys.stdin)["partitiontable"]
p = {e["number"]: e for e in t["partitions"]}
print(eval(sys.argv[1]))' "$expression"
}

# Everything in sfdisk's JSON is in ours, with the same value and type, and nothing that
# sfdisk could have said is in ours alone.
same_as_sfdisk() { # IMAGE
  sfdisk --json "$1" >sfdisk.json 2>sfdisk.err || {
    cat sfdisk.err
    return 1
  }
  "$IMGMOUNT" --list --json "$1" >ours.json
  python3 - sfdisk.json ours.json <<'END'
import json, sys

theirs, ours = (json.load(open(name))["partitiontable"] for name in sys.argv[1:])
bad = 0

def compare(where, a, b, keys):
    global bad
    for key in keys:
        if (key in a) != (key in b) or (key in a and (type(a[key]), a[key]) != (type(b[key]), b[key])):
            print(f"{where}: {key}: sfdisk {a.get(key)!r}, imgmount {b.get(key)!r}")
            bad = 1

table_keys = {"label", "id", "device", "unit", "firstlba", "lastlba", "sectorsize", "table-length", "grain"}
entry_keys = {"node", "start", "size", "type", "uuid", "name", "attrs", "bootable"}
compare("table", theirs, ours, table_keys | set(theirs) - {"partitions"})
a, b = theirs.get("partitions", []), ours["partitions"]
if [e["node"] for e in a] != [e["node"] for e in b]:
    print("nodes:", [e["node"] for e in a], [e["node"] for e in b])
    bad = 1
for x, y in zip(a, b):
    compare(x["node"], x, y, entry_keys | set(x))
sys.exit(bad)
END
}

# Number, first sector and sectors of each entry, as imgmount lists them.
our_entries() { # IMGMOUNT-ARGUMENT...
  table '"\n".join("%d %d %d" % (e["number"], e["start"], e["size"]) for e in t["partitions"])' "$@"
}

# The same, as libblkid lists them.
blkid_entries() { # IMAGE
  partx --noheadings --output NR,START,SECTORS --show "$1" | awk '{ print $1, $2, $3 }'
}

# The same for a GPT, as gdisk's reader does; a last sector becomes a number of sectors.
gdisk_entries() { # IMAGE
  sgdisk --print "$1" | awk '$1 ~ /^[0-9]+$/ && $2 ~ /^[0-9]+$/ { print $1, $2, $3 - $2 + 1 }'
}

# First sectors and lengths of what the Sleuth Kit takes for partitions, without numbers.
sleuthkit_ranges() { # IMAGE
  mmls -a "$1" | awk '$2 ~ /^[0-9]+:?[0-9]*/ && $3 ~ /^[0-9]+$/ { print $3 + 0, $5 + 0 }' | sort -n
}

our_ranges() { # IMAGE
  table '"\n".join("%d %d" % (e["start"], e["size"]) for e in t["partitions"] if e["file"])' "$1" | sort -n
}
