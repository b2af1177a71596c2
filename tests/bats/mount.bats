#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# An image as a file system among others: mount(8), fstab, umount(8), ordinary users, and
# what servers that were killed leave behind.

bats_require_minimum_version 1.5.0

load fuse-helpers

setup_file() {
  export DISK="$BATS_FILE_TMPDIR/disk.img"
  make_partitioned "$DISK"
  chmod 0644 "$DISK"
}

# What root does before mount(8) finds the program, and /etc/fstab is what is in the file
# fstab of this folder, fuse.conf likewise; in a namespace of its own.
private_etc='{ mount --bind . /usr/local/bin; touch fstab fuse.conf; chmod a+rw fstab fuse.conf
  mount --bind fstab /etc/fstab && mount --bind fuse.conf /etc/fuse.conf; }'

# Runs script $1 as root in PLACE, where all this is so.
as_root() {
  [[ -e /etc/fstab ]] || skip "no /etc/fstab to put another in the place of"
  [[ $(command -v mount.fuse3) ]] || skip "mount.fuse3 is not installed"
  make_user_place
  printf '%s\n' "$1" >"$PLACE/script"
  run timeout 60 unshare -m -p -f --kill-child --mount-proc --propagation slave bash -c "
    cd $PLACE && $private_etc && { bash -eu ./script; status=\$?; }
    umount -f -l m 2>/dev/null
    exit \$status" 3>&-
  rm -r "$PLACE"
  echo "$output"
}

@test "mount: mount -t fuse.imgmount, and what /proc/mounts says of it" {
  as_root '
    mount -t fuse.imgmount disk.img m -o ro
    cmp disk.img m/disk
    grep "^$PWD/disk.img $PWD/m fuse.imgmount ro," /proc/mounts
    umount m
    mount -t fuse.imgmount disk.img m
    grep "^$PWD/disk.img $PWD/m fuse.imgmount rw,.*,default_permissions,allow_other" /proc/mounts
    imgmount --status | grep "^$PWD/m .*rw .*disk.img$"
    pid=$(imgmount --status --json | sed -n "s/.*\"pid\": \([0-9]*\).*/\1/p")
    umount m
    timeout 30 tail -s 0.02 --pid="$pid" -f /dev/null
    mount -t fuse "imgmount#disk.img" m -o rw,partition=2
    test "$(stat -c %s m/disk)" = 1049088
    imgmount --unmount m
    ! grep "$PWD/m" /proc/mounts || exit 9
    echo all done'
  [ "$status" -eq 0 ]
  [ "${lines[-1]}" = "all done" ]
}

@test "mount: options for others are ignored, ours and FUSE's are taken" {
  as_root '
    mount -t fuse.imgmount disk.img m -o noauto,user,nofail,_netdev,noatime,exec,x-systemd.automount,comment=no,iversion,format=raw,max_read=65536
    grep "$PWD/m fuse.imgmount rw,.*max_read=65536" /proc/mounts
    imgmount --unmount m
    command -v qemu-img || exit 0
    qemu-img convert -f raw -O qcow2 disk.img disk.qcow2
    mount -t fuse.imgmount disk.qcow2 m -o ro,disk-offset=1M,disk-size=0x1000
    cmp m/disk <(tail -c +1048577 disk.img | head -c 4096)
    umount m
    ! mount -t fuse.imgmount disk.img m -o nonsense || exit 9
    ! mount -t fuse.imgmount disk.img m -o partition=7 || exit 9
    ! grep "$PWD/m" /proc/mounts || exit 9
    echo all done'
  [ "$status" -eq 0 ]
  [[ $output == *"imgmount: -o: 'nonsense' is not known"* ]]
  [[ $output == *"disk.img: --partition: there is no partition 7"* ]]
}

@test "mount: lines of /etc/fstab, by mount point and by mount -a; umount -a" {
  as_root '
    mkdir auto
    printf "%s\n" "$PWD/disk.img $PWD/m fuse.imgmount ro,noauto,partition=2 0 0" \
      "$PWD/a\\040b.img $PWD/auto fuse.imgmount defaults,nofail 0 0" >fstab
    cp disk.img "a b.img"
    mount m
    test "$(stat -c %s m/disk)" = 1049088
    grep "^$PWD/disk.img $PWD/m fuse.imgmount ro," /proc/mounts
    umount m
    mount -a
    mount -a
    ! mountpoint -q m || exit 9
    cmp disk.img auto/disk
    test "$(grep -c "^$PWD/a.040b.img $PWD/auto fuse.imgmount rw," /proc/mounts)" = 1
    umount -a -t fuse.imgmount
    ! grep "$PWD/\(m\|auto\) " /proc/mounts || exit 9
    echo all done'
  [ "$status" -eq 0 ]
  [ "${lines[-1]}" = "all done" ]
}

@test "mount: an ordinary user mounts and unmounts what /etc/fstab lets him" {
  [[ -e /etc/fstab && -u $(command -v mount) ]] || skip "no /etc/fstab, or mount is not for users"
  [[ $(command -v mount.fuse3) ]] || skip "mount.fuse3 is not installed"
  as_user_after "$private_etc" '
    echo "$PWD/disk.img $PWD/m fuse.imgmount ro,noauto,user 0 0" >fstab
    mount m
    cmp disk.img m/disk
    grep "^$PWD/disk.img $PWD/m fuse.imgmount ro,.*user_id=65534" /proc/mounts
    umount m
    ! grep "$PWD/m " /proc/mounts || exit 9
    echo all done' 666
  echo "$output"
  [ "$status" -eq 0 ]
  [ "${lines[-1]}" = "all done" ]
}

@test "mount: what fails is said by mount(8), which fails" {
  as_root '
    ! mount -t fuse.imgmount none.img m || exit 9
    ! mount -t fuse.imgmount disk.img none || exit 9
    ! mount -t fuse.imgmount script m -o format=qcow2 || exit 9
    mount -t fuse.imgmount disk.img m -o ro
    ! mount -t fuse.imgmount disk.img m -o ro || exit 9
    ! mount -o remount,ro m || exit 9
    umount m
    echo all done'
  [ "$status" -eq 0 ]
  grep -Fx "imgmount: none.img: cannot open: No such file or directory" <<<"$output"
  grep -Fx "imgmount: none: No such file or directory" <<<"$output"
  grep -E "^imgmount: .*script: header: no qcow2 signature$" <<<"$output"
  grep -E "^imgmount: .*m: mount point: .*disk.img is mounted there already$" <<<"$output"
  grep -Fx "imgmount: -o remount: a mount cannot be changed: unmount it, and mount anew" <<<"$output"
}

@test "mount: a mount point that somebody works in, and that is not empty, will do" {
  touch "$D/inside"
  cd "$D"
  sleep 60 3>&- &
  sleeper=$!
  cd "$BATS_TEST_TMPDIR"
  "$IMGMOUNT" -r "$DISK" "$D"
  cmp "$DISK" "$D/disk"
  "$IMGMOUNT" --unmount "$D"
  kill "$sleeper"
  [ -e "$D/inside" ]
}

@test "mount: allow_other takes user_allow_other for ordinary users, and then others see it" {
  command -v fusermount3 >/dev/null || skip "fusermount3 is not installed"
  as_user_after "$private_etc" './imgmount -r -o allow_other disk.img m' 666
  [ "$status" -eq 1 ]
  [ "$output" = "imgmount: m: fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf" ]
  as_user_after "$private_etc && { (
      other='setpriv --reuid=12345 --regid=12345 --clear-groups'
      until test -e shared; do sleep 0.01; done
      \$other cmp disk.img m/disk >said 2>&1 && echo read it >said; mv said seen
      until test -e closed; do sleep 0.01; done
      \$other head -c 1 m/disk >said 2>&1; mv said refused ) & } && true" '
    echo user_allow_other >fuse.conf
    ./imgmount -r -o allow_other disk.img m
    grep "$PWD/m fuse.imgmount ro,.*user_id=65534.*,default_permissions,allow_other" /proc/mounts
    touch shared; until test -e seen; do sleep 0.01; done
    cat seen
    ./imgmount --unmount m
    chmod 0600 disk.img
    ./imgmount -r -o allow_other disk.img m
    ! test -r /proc/1/nothing
    touch closed; until test -e refused; do sleep 0.01; done
    cat refused
    ./imgmount --unmount m' 666
  echo "$output"
  [ "$status" -eq 0 ]
  [[ $output == *"read it"*"Permission denied"* ]]
}

@test "mount: an image that the user cannot read, or that is not there, is one line" {
  as_user_after '{ touch secret.img; chmod 0600 secret.img; }' '
    ! ./imgmount secret.img m || exit 9
    ! ./imgmount none.img m || exit 9
    grep -c "$PWD/m" /proc/mounts || true' 666
  [ "$status" -eq 0 ]
  [ "${lines[0]}" = "imgmount: secret.img: cannot open: Permission denied" ]
  [ "${lines[1]}" = "imgmount: none.img: cannot open: No such file or directory" ]
  [ "${lines[2]}" = 0 ]
}

@test "mount: --unmount of what is another's is refused in one sentence" {
  as_user_after './imgmount -f raw -r disk.img m' '
    ! ./imgmount --unmount m || exit 9
    ! ./imgmount --unmount /dev || exit 9
    ! ./imgmount --unmount none || exit 9
    cmp m/disk disk.img' 666
  echo "$output"
  [ "$status" -eq 0 ]
  [ "${lines[0]}" = "imgmount: m: only the user with the number 0, who mounted it, and root can unmount it" ]
  [ "${lines[1]}" = "imgmount: /dev: a file system of the type tmpfs is mounted there, and no image" ]
  [ "${lines[2]}" = "imgmount: none: no image is mounted there" ]
}

@test "mount: a killed server's mount is cleared though files and folders of it are in use" {
  serve "$DISK" "$D"
  exec 7<"$D/disk"
  exec 8<>"$D/p2"
  cd "$D/by-partlabel"
  sleep 60 3>&- 7<&- 8<&- &
  sleeper=$!
  cd "$BATS_TEST_TMPDIR"
  kill_server
  run ended "$SERVER"
  SERVER=
  run -0 "$IMGMOUNT" --unmount "$D"
  [ -z "$output" ]
  run ! is_mounted "$D"
  # The place is free, and the image is nobody's.
  "$IMGMOUNT" "$DISK" "$D"
  cmp "$DISK" "$D/disk"
  "$IMGMOUNT" --unmount "$D"
  flock -n -x "$DISK" true
  run -1 head -c 1 <&7
  exec 7<&- 8<&-
  kill "$sleeper"
}

@test "mount: what is mounted within a dead mount goes with it" {
  serve "$DISK" "$D"
  "$IMGMOUNT" -r -f raw "$D/p2" "$D/p1"
  inner=$("$IMGMOUNT" --status | awk -v place="$D/p1" '$1 == place { print $3 }')
  kill_server
  run ended "$SERVER"
  SERVER=
  "$IMGMOUNT" --unmount "$D"
  timeout 30 tail -s 0.02 --pid="$inner" -f /dev/null
  run ! grep -F " $D" /proc/self/mountinfo
}

# The library that makes a disk stall; FAULTS are the variables for it, FILE the disk.
need_stalls() { # FILE
  local library=${IMGMOUNT%/src/cli/imgmount}/tests/preload/fault.so
  [[ -e $library ]] || skip "tests/preload/fault.so was not built"
  FAULTS=("LD_PRELOAD=$library" "FAULT_FILE=$1" "FAULT_RULES=$PWD/rules" "FAULT_LOG=$PWD/hit"
    "ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0")
  : >rules
  : >hit
}

# Shell: get_stuck SERVER MOUNT: a reader waits for a page that the server is reading from
# its disk, and a writer, through another file, for the server's helper, which waits for the
# same page.  Then the server is killed: the helper waits on, and so does what is left of the
# process.  get_rid IMGMOUNT SERVER MOUNT is the way out.
stuck='
until_so() {
  local i
  for ((i = 0; i < 2000; i++)); do ! "$@" || return 0; sleep 0.01; done
  return 1
}
# For longer than a disk takes.
waits_in_kernel() {
  grep -qh "^State:.D" /proc/"$1"/task/*/status && sleep 0.5 &&
    grep -qh "^State:.D" /proc/"$1"/task/*/status
}
get_stuck() {
  echo "read 1 stall" >rules
  dd if="$2/disk" of=/dev/null bs=4k skip=512 count=1 status=none 3>&- & reader=$!
  until_so test -s hit
  printf x | dd of="$2/p1" bs=1 seek=1048576 conv=notrunc status=none 3>&- & writer=$!
  until_so waits_in_kernel "$1"
  kill -9 "$1"
  until_so grep -q "^State:.Z" /proc/"$1"/status
}
get_rid() {
  "$1" --status 2>/dev/null | grep -F " $2 "
  timeout 30 "$1" --unmount "$3"
  ! wait "$reader" || return 9
  ! wait "$writer" || return 9
  ! grep -F " $3 " /proc/self/mountinfo
}'

@test "mount: a killed server that cannot end, for its own helper waits for it, is got rid of" {
  need_stalls "$DISK"
  env "${FAULTS[@]}" "$IMGMOUNT" --foreground "$DISK" "$D" 2>server.log 3>&- &
  SERVER=$!
  until is_mounted "$D"; do kill -0 "$SERVER"; sleep 0.01; done
  eval "$stuck"
  get_stuck "$SERVER" "$D"
  get_rid "$IMGMOUNT" "$SERVER" "$D"
  run ended "$SERVER"
  [ "$status" -eq 137 ]
  SERVER=
  flock -n -x "$DISK" true
}

@test "mount: and so it is by an ordinary user" {
  command -v fusermount3 >/dev/null || skip "fusermount3 is not installed"
  [[ -d /sys/fs/fuse/connections ]] || skip "the kernel does not list its FUSE connections"
  need_stalls ./disk.img
  library=${FAULTS[0]#*=}
  as_user_after '{ mount -t fusectl none /sys/fs/fuse/connections; }' "
    $stuck
    : >rules; : >hit
    env LD_PRELOAD=\$PWD/fault.so FAULT_FILE=\$PWD/disk.img FAULT_RULES=rules FAULT_LOG=hit \
      ${FAULTS[4]@Q} ./imgmount --foreground disk.img m & server=\$!
    until test -e m/disk; do kill -0 \$server; sleep 0.01; done
    get_stuck \$server \$PWD/m
    get_rid ./imgmount \$server \$PWD/m
    ! wait \$server || exit 9
    flock -n -x disk.img true
    echo all done" 666 "$library"
  echo "$output"
  [ "$status" -eq 0 ]
  [ "${lines[-1]}" = "all done" ]
}
