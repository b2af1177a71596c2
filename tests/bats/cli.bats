#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# The command line itself: options, refusals, messages, and the papers that describe them.

bats_require_minimum_version 1.5.0

setup() {
  IMGMOUNT=${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}
  cd "$BATS_TEST_TMPDIR"
  truncate -s 1M disk.img
}

# Every long option that --help names.
help_options() {
  "$IMGMOUNT" --help | grep -oE -- '^ +(-., )? *--[a-z-]+' | grep -oE -- '--[a-z-]+' | sort -u
}

@test "cli: --help, the man page and the completion name the same options" {
  help_options >help
  # mdoc writes --name as "Fl -name".
  grep -oE '(Fl|,) -[a-z-]+' "$BATS_TEST_DIRNAME/../../man/imgmount.1" | sed 's/.* -/--/' | sort -u >man
  sed -n '/compgen -W .$/,/compgen -f/p' "$BATS_TEST_DIRNAME/../../completions/imgmount.bash" |
    grep -oE -- '--[a-z-]+' | grep -vx -- '--' | sort -u >completion
  [ -s help ]
  diff help completion
  # The man page also names options of qemu-nbd that are not there.
  diff help <(comm -12 help man)
}

@test "cli: the man page has no errors" {
  command -v mandoc >/dev/null || skip "mandoc is not installed"
  mandoc -T lint -W error "$BATS_TEST_DIRNAME/../../man/imgmount.1"
}

@test "cli: --version and --help exit with 0 on standard output" {
  run --separate-stderr "$IMGMOUNT" --version
  [ "$status" -eq 0 ]
  [[ $output == imgmount\ * ]]
  [ -z "$stderr" ]
  run --separate-stderr "$IMGMOUNT" -h
  [ "$status" -eq 0 ]
  [ -z "$stderr" ]
}

@test "cli: -f help lists the formats" {
  run "$IMGMOUNT" -f help
  [ "$status" -eq 0 ]
  grep -q '^raw ' <<<"$output"
  grep -q '^qcow2 ' <<<"$output"
}

refused() { # MESSAGE ARG...
  local message=$1
  shift
  run --separate-stderr "$IMGMOUNT" "$@"
  [ "$status" -eq 1 ]
  [ -z "$output" ]
  [[ ${stderr_lines[0]} == "imgmount: $message" ]] || {
    printf 'said: %s\n' "${stderr_lines[@]}"
    return 1
  }
}

@test "cli: wrong command lines get one sentence each" {
  refused "no IMAGE given"
  refused "no MOUNTPOINT given" disk.img
  refused "no MOUNTPOINT given" --unmount
  refused "'c' is one operand too many" a b c
  refused "'b' is one operand too many" --list a b
  refused "option '--nonsense' is not known, or short for several" --nonsense
  refused "option '-z' is not known" -z
  refused "option '--s' is not known, or short for several" --s
  refused "--port needs a value" --nbd disk.img --port
  refused "--list takes no value" --list=x disk.img
  refused "--list and --info exclude each other" --list --info disk.img
  refused "--port has no meaning when mounting (--nbd was meant?)" -p 1 disk.img mnt
  refused "--json has no meaning with --nbd" --nbd --json disk.img
  refused "--port: 0 is less than 1" --nbd -p 0 disk.img
  refused "--port: 65536 is more than 65535" --nbd -p65536 disk.img
  refused "--port: '-1' is not a number" --nbd -p -1 disk.img
  refused "--offset: '1X' is not a size (a number, then K, M, G, T, P or E)" --list --offset 1X disk.img
  refused "--offset: 16E does not fit 64 bits" --list --offset 16E disk.img
  refused "--partition and --offset or --size exclude each other" -P1 --offset 512 disk.img mnt
  if "$IMGMOUNT" --version | grep -qF 'json yes'; then
    refused '--object: "qom-type" is missing' --list --object '{"id": "x", "data": "hidden"}' disk.img
    refused '--object: no JSON at line 1, column 32' --list --object '{"id": "x", "data": "hidden", so}' disk.img
    refused '--object: "data" is neither text nor a whole number, true or false' --list \
      --object '{"id": "x", "data": null, "qom-type": "secret"}' disk.img
    refused '--object: "a.b.c.d" is not known' --list --object '{"a": {"b": {"c": {"d": {"e": 1}}}}}' disk.img
    refused "--object secret,id=x: this id was given before" --list --object secret,id=x,data=y \
      --object '{"data": "y", "id": "x", "qom-type": "secret"}' disk.img
  else
    refused '--object: this build lacks JSON (it was made without jansson)' --list --object '{}' disk.img
  fi
  refused "--size: 0 is less than 1" --list --size 0 disk.img
  refused "--image-opts: size: 0 is less than 1" --nbd --image-opts driver=raw,size=0,file.filename=disk.img
  refused "--image-opts: read-only: 'maybe' is neither on nor off" --nbd --image-opts read-only=maybe,file.filename=disk.img
  refused "--socket: 'rel' is not an absolute path" --nbd -k rel disk.img
  refused "--connect has no meaning when mounting (--nbd was meant?)" -c /dev/nbd0 disk.img
  refused "--disconnect has no meaning when mounting (--nbd was meant?)" -d /dev/nbd0
  refused "--connect and --disconnect exclude each other" --nbd -c /dev/nbd0 -d disk.img
  refused "--connect and --port exclude each other" --nbd -c /dev/nbd0 -p 10809 disk.img
  refused "--connect and --bind exclude each other" --nbd -b ::1 -c auto disk.img
  refused "no DEV given" --nbd -d
  refused "no IMAGE given" --nbd -c /dev/nbd0
  refused "'b' is one operand too many" --nbd -d /dev/nbd0 b
  refused "--read-only has no meaning with --disconnect" --nbd -d -r /dev/nbd0
  refused "-o has no meaning with --disconnect" --nbd -d -o 1 /dev/nbd0
  refused "--force has no meaning without --disconnect" --nbd --force -c auto disk.img
  refused "--ioctl has no meaning without --connect or --disconnect" --nbd --ioctl disk.img
  refused "--timeout has no meaning without --connect" --nbd --timeout 3 disk.img
  refused "--block-size has no meaning without --connect" --nbd --block-size 512 disk.img
  refused "--block-size: 768 is no power of two from 512 to $(getconf PAGESIZE)" --nbd -c auto --block-size 768 disk.img
  refused "--block-size: 0 is no power of two from 512 to $(getconf PAGESIZE)" --nbd -c auto --block-size 0 disk.img
  refused "disk.img: is no block device" --nbd -d disk.img
  refused "/dev/null: is no block device" --nbd -c /dev/null disk.img
  refused "--sector-size: 513 is not 512, 1024, 2048 or 4096" --list --sector-size 513 disk.img
  refused "--cache: 'x' is none of writeback, writethrough, none, off, directsync, unsafe" --cache x disk.img mnt
  refused "--discard is given more than once" --discard on --discard off disk.img mnt
  refused "--cache has no meaning with --list" --list --cache unsafe disk.img
  refused "-o: 'nonsense' is not known" -o nonsense disk.img mnt
  refused "-o offset needs a value" -o offset disk.img mnt
}

@test "cli: options stand anywhere, bundled, attached and abbreviated" {
  run "$IMGMOUNT" disk.img --li --json
  [ "$status" -eq 0 ]
  run "$IMGMOUNT" -rvfraw disk.img --list
  [ "$status" -eq 0 ]
}

@test "cli: a name with a colon is a file's name" {
  cp disk.img nbd:localhost:1
  run "$IMGMOUNT" --list nbd:localhost:1
  [ "$status" -eq 0 ]
}

@test "cli: what cannot be opened gets one line and status 1" {
  mkdir folder
  mkfifo fifo
  refused "absent: cannot open: No such file or directory" --list absent
  refused "folder: is a directory, not a regular file or a block device" --list folder
  refused "fifo: is a FIFO, not a regular file or a block device" --list fifo
  refused "/dev/null: is a character device, not a regular file or a block device" --list /dev/null
  refused "disk.img: format 'vmdkk' is not known (-f help lists those that are)" --list -f vmdkk disk.img
  refused "disk.img: the raw format has no internal snapshots" --list -l 1 disk.img
}

@test "cli: an unreadable file is refused for an ordinary user" {
  [ "$EUID" -eq 0 ] || skip "needs root to become another user"
  chmod 000 disk.img
  chmod 755 .
  run setpriv --reuid 65534 --regid 65534 --clear-groups "$IMGMOUNT" --list "$PWD/disk.img"
  [ "$status" -eq 1 ]
  [[ $output == *"Permission denied"* ]]
}

@test "cli: an empty file is a disk of no bytes" {
  : >empty
  run "$IMGMOUNT" --list empty
  [ "$status" -eq 0 ]
  [[ $output == *"0 bytes"*"no partition table"* ]]
}

@test "cli: control characters of a name do not reach the terminal" {
  run "$IMGMOUNT" --list $'a\x1b[31m\nb'
  [ "$status" -eq 1 ]
  [[ $output == *'a\x1b[31m\x0ab: cannot open'* ]]
}

@test "cli: a closed standard output is a failure" {
  [ -e /dev/full ] || skip "no /dev/full"
  run sh -c '"$1" --list disk.img >/dev/full' sh "$IMGMOUNT"
  [ "$status" -eq 1 ]
  [[ $output == *"No space left on device"* ]]
}

@test "cli: an image that another process writes is refused, served with -U, and looked at" {
  command -v qemu-io >/dev/null || skip "qemu-io is not installed"
  qemu-img create -q -f qcow2 locked.qcow2 1M
  coproc writer { qemu-io -f qcow2 locked.qcow2; }
  sleep 0.5
  run "$IMGMOUNT" --nbd -r -k "$PWD/s" locked.qcow2
  refusal=$status said=$output
  run "$IMGMOUNT" --nbd -r -U -t --fork --pid-file "$PWD/pid" -k "$PWD/s" locked.qcow2 3>&-
  forced=$status
  kill "$(cat pid)" || :
  run "$IMGMOUNT" --list locked.qcow2
  echo quit >&"${writer[1]}"
  [ "$refusal" -eq 1 ]
  [[ $said == *"locked.qcow2: is in use"*"-U"* ]]
  [ "$forced" -eq 0 ]
  [ "$status" -eq 0 ]
  [[ $output == *"another process writes to it"*"no partition table"* ]]
  wait "$writer_PID" || true
}
