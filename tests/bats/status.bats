#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# --status: what is mounted, where, by whom, and whether its server is still there.  Devices
# are in tests/vm/nbd-device.bats.

bats_require_minimum_version 1.5.0

load fuse-helpers

setup_file() {
  export DISK="$BATS_FILE_TMPDIR/disk.img"
  truncate -s 8M "$DISK"
  chmod 0644 "$DISK"
}

# The row of the mount point $1, with single blanks; other tests' mounts are here too.
row_of() {
  "$IMGMOUNT" --status 2>hints | awk -v place="$1" '$1 == place { $1 = $1; print }'
}

# What --status --json says of the mount point $1, as python's dict; nothing where it is not.
json_of() {
  "$IMGMOUNT" --status --json | python3 -c '
import json, sys
for mount in json.load(sys.stdin)["mounts"]:
    if mount["mountpoint"] == sys.argv[1]:
        print(sorted(mount.items()))' "$1"
}

@test "status: a mount, its image, its access and its process; and then no more" {
  serve "$DISK" "$D"
  [ "$(row_of "$D")" = "$D rw $SERVER $DISK" ]
  [ "$(json_of "$D")" = "[('image', '$DISK'), ('mountpoint', '$D'), ('pid', $SERVER), ('read-only', False), ('state', 'served'), ('user', 0)]" ]
  "$IMGMOUNT" --unmount "$D"
  SERVER=
  [ -z "$(row_of "$D")" ]
  [ -z "$(json_of "$D")" ]
  serve -r "$DISK" "$D"
  [ "$(row_of "$D")" = "$D ro $SERVER $DISK" ]
  [[ $(json_of "$D") == *"('read-only', True)"* ]]
}

@test "status: the columns have titles, and are aligned" {
  "$IMGMOUNT" -r "$DISK" "$D"
  "$IMGMOUNT" --status >table
  [[ $(head -n 1 table) =~ ^where\ +access\ \ pid\ +image$ ]]
  title=$(head -n 1 table)
  before=${title%access*}
  row=$(grep -F "$D " table)
  [ "${row:${#before}:2}" = ro ]
  before=${title%image}
  [ "${row:${#before}}" = "$DISK" ]
}

@test "status: a file as mount point, odd names, and a mount in two places" {
  touch file
  odd=$'odd, name\\with\tand so on.img'
  cp "$DISK" "$odd"
  "$IMGMOUNT" -r "$odd" file
  [[ $("$IMGMOUNT" --status) == *"$PWD/file "*'odd, name\with\x09and so on.img'* ]]
  [[ $(json_of "$PWD/file") == *"odd, name"* ]]
  "$IMGMOUNT" --unmount file
  mkdir other
  serve -r "$DISK" "$D"
  mount --bind "$D" other
  there=$(row_of "$PWD/other")
  here=$(row_of "$D")
  umount other
  [ "$there" = "$PWD/other ro $SERVER $DISK" ]
  [ "$here" = "$D ro $SERVER $DISK" ]
}

@test "status: whoever has nothing gets nothing, or empty lists, and status 0" {
  "$IMGMOUNT" -r "$DISK" "$D"
  as_user '
    test -z "$(./imgmount --status 2>&1)"
    ./imgmount --status --json >json
    test "$(tr -d " \n" <json)" = "{\"mounts\":[],\"devices\":[]}"
    echo all done' 666
  [ "$output" = "all done" ]
}

@test "status: a user sees his own mounts, and root those of all" {
  command -v fusermount3 >/dev/null || skip "fusermount3 is not installed"
  as_user_after '{ mkdir other && ./imgmount -r -f raw disk.img other; } && {
      ( until test -e done; do sleep 0.01; done
        ./imgmount --status | grep -c "$PWD/\(m\|other\) " >found
        ./imgmount --unmount other; touch seen ) & } && true' '
    ./imgmount -r disk.img m
    ./imgmount --status | grep -v "^where" | while read -r where access pid image; do
      test "$where $access $image" = "$PWD/m ro $PWD/disk.img"
      kill -0 "$pid"
      echo "mine: $access"
    done
    echo "rows: $(./imgmount --status | wc -l)"
    ./imgmount --status --json | grep -c "\"user\": 65534"
    touch done
    until test -e seen; do sleep 0.01; done
    cat found
    ./imgmount --unmount m' 666
  echo "$output"
  [ "$status" -eq 0 ]
  [ "$output" = $'mine: ro\nrows: 2\n1\n2' ]
}

@test "status: a mount whose server was killed is dead, and a hint says what clears it" {
  serve "$DISK" "$D"
  kill_server
  run ended "$SERVER"
  SERVER=
  [ "$(row_of "$D")" = "$D rw - $DISK [dead]" ]
  grep -Fx "imgmount: hint: the server of $D has ended: imgmount --unmount $D clears it" hints
  [[ $(json_of "$D") == *"('pid', None)"*"('state', 'dead')"* ]]
  "$IMGMOUNT" --status --json 2>&1 >/dev/null | { ! grep -q hint; }
  eval "$(sed -n "s|.*: imgmount --unmount $D clears it|\"\$IMGMOUNT\" --unmount $D|p" hints)"
  run ! is_mounted "$D"
  [ -z "$(row_of "$D")" ]
}

@test "status: an ordinary user's dead mount, also as root sees it" {
  command -v fusermount3 >/dev/null || skip "fusermount3 is not installed"
  as_user_after '{ ( until test -e done; do sleep 0.01; done
        ./imgmount --status 2>/dev/null | grep -c "m .*\[dead\]" >found; touch seen ) & } && true' '
    ./imgmount --foreground -r disk.img m & server=$!
    until test -e m/disk; do kill -0 $server; sleep 0.01; done
    kill -9 $server
    wait $server || true
    ./imgmount --status 2>/dev/null | grep -c "\[dead\]"
    touch done
    until test -e seen; do sleep 0.01; done
    cat found
    ./imgmount --unmount m
    ./imgmount --status' 666
  echo "$output"
  [ "$status" -eq 0 ]
  [[ $output == *$'1\n1' ]]
}

@test "status: from another network namespace the server is not found, its mount is served" {
  serve "$DISK" "$D"
  unshare -n true 2>/dev/null || skip "no network namespaces"
  run unshare -n "$IMGMOUNT" --status
  [ "$status" -eq 0 ]
  [ "$(awk -v place="$D" '$1 == place { $1 = $1; print }' <<<"$output")" = "$D rw - $DISK" ]
}

@test "status: a mount that does not answer is unknown, and keeps nobody waiting for good" {
  unshare -n true 2>/dev/null || skip "no network namespaces"
  serve "$DISK" "$D"
  kill -STOP "$SERVER"
  # Found by its process it need not be asked; else it is, and does not answer.
  found=$(row_of "$D")
  run timeout 60 unshare -n "$IMGMOUNT" --status
  kill -CONT "$SERVER"
  [ "$found" = "$D rw $SERVER $DISK" ]
  [ "$status" -eq 0 ]
  [ "$(awk -v place="$D" '$1 == place { $1 = $1; print }' <<<"$output")" = "$D rw - $DISK [unknown]" ]
  "$IMGMOUNT" --unmount "$D"
}

@test "status: wrong command lines, and a full disk, are failures" {
  run -1 "$IMGMOUNT" --status "$D"
  [ "${lines[0]}" = "imgmount: '$D' is one operand too many" ]
  run -1 "$IMGMOUNT" --status -r
  [ "${lines[0]}" = "imgmount: --read-only has no meaning with --status" ]
  run -1 "$IMGMOUNT" --status --list
  [ "${lines[0]}" = "imgmount: --status and --list exclude each other" ]
  "$IMGMOUNT" -r "$DISK" "$D"
  [ -e /dev/full ] || skip "no /dev/full"
  run -1 sh -c '"$1" --status >/dev/full' sh "$IMGMOUNT"
  [ "$output" = "imgmount: standard output: No space left on device" ]
}
