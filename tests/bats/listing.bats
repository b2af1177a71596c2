#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# The disk that --list draws on a terminal, and only there.

bats_require_minimum_version 1.5.0

setup() {
  load partition-helpers
  need sfdisk python3
  cd "$BATS_TEST_TMPDIR"
  export LC_ALL=C.UTF-8 TERM=xterm
  unset NO_COLOR
}

# A quarter of the disk is p1, half of it data; then a gap; the second half is p2.
make_disk() {
  make_table x.img 64M <<<$'label: dos\n1: start=2048, size=32768, type=83\n2: start=65536, size=65536, type=83'
  head -c 8M /dev/zero | tr '\0' x | dd of=x.img bs=1M seek=1 conv=notrunc status=none
}

on_terminal() { # COLUMNS COMMAND...
  "$BATS_TEST_DIRNAME/on-terminal.py" "$@"
}

without_colours() {
  sed 's/\x1b\[[0-9;]*m//g'
}

# The longest line in characters that a terminal shows; the listing's own lines are left out.
longest() {
  python3 -c '
import sys
print(max(len(line.rstrip("\n")) for line in sys.stdin if line[:3] in ("  ┌", "  │", "  └", "  +", "  |")))'
}

@test "listing: what is no terminal gets no drawing" {
  make_disk
  "$IMGMOUNT" --list x.img >plain
  [ "$(wc -l <plain)" -eq 4 ]
  on_terminal 80 "$IMGMOUNT" --list x.img | head -n 4 | diff plain -
  on_terminal 80 "$IMGMOUNT" --list --json x.img | diff <("$IMGMOUNT" --list --json x.img) -
}

@test "listing: the drawing is as wide as the terminal, less a margin" {
  make_disk
  for columns in 24 40 80 200; do
    on_terminal "$columns" "$IMGMOUNT" --list x.img | without_colours >drawn
    [ "$(longest <drawn)" -eq $((columns - 2)) ] || {
      cat drawn
      return 1
    }
  done
  # Where the terminal does not know its size.
  on_terminal 0 "$IMGMOUNT" --list x.img | without_colours >drawn
  [ "$(longest <drawn)" -eq 78 ]
  on_terminal 20 "$IMGMOUNT" --list x.img | diff <("$IMGMOUNT" --list x.img) -
}

@test "listing: lines and bars follow the locale, colours NO_COLOR and TERM" {
  make_disk
  esc=$'\x1b'
  run -0 on_terminal 80 "$IMGMOUNT" --list x.img
  [[ $output == *┌* && $output == *█* && $output == *"$esc["* ]]
  LC_ALL=C run -0 on_terminal 80 "$IMGMOUNT" --list x.img
  [[ $output == *"+-"* && $output == *"##"* && $output != *┌* && $output != *█* ]]
  NO_COLOR=1 run -0 on_terminal 80 "$IMGMOUNT" --list x.img
  [[ $output == *┌* && $output != *"$esc"* ]]
  NO_COLOR='' run -0 on_terminal 80 "$IMGMOUNT" --list x.img
  [[ $output == *"$esc["* ]]
  for term in dumb ''; do
    TERM=$term run -0 on_terminal 80 "$IMGMOUNT" --list x.img
    [[ $output == *┌* && $output != *"$esc"* ]]
  done
}

@test "listing: what is allocated is drawn where it is" {
  make_disk
  LC_ALL=C NO_COLOR=1 on_terminal 80 "$IMGMOUNT" --list x.img | tail -n 6 >drawn
  grep -q '| p1 .*| gap .*| p2 ' drawn
  grep -qE '\| (16 MiB, )?50 % .*\| 32 MiB, 0 % allocated ' drawn
  # The lower row of bars: the first half of p1, and nothing of p2.
  sed -n 5p drawn | grep -qE '^  \|#{8,10}[. ]{8,10}\| +\| +\|$' || {
    cat drawn
    return 1
  }
}

@test "listing: a disk of 1 TiB whose map is long is drawn all the same" {
  need qemu-img qemu-io
  qemu-img create -q -f qcow2 -o cluster_size=4k t.qcow2 1T
  # A table of 2 MiB, every other cluster of it, at each of four places.
  for at in 0 300 600 900; do
    for ((i = 0; i < 256; i++)); do echo "write -q -P 1 $(((at << 30) + i * 8192)) 4k"; done
  done | qemu-io -t unsafe -f qcow2 t.qcow2 >/dev/null
  NO_COLOR=1 run -0 timeout 60 "$BATS_TEST_DIRNAME/on-terminal.py" 80 "$IMGMOUNT" --list t.qcow2
  [[ $output == *"│ disk "* && $output == *"1 TiB, <1 % allocated"* ]]
}
