#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Real mounts: what is seen below them, that nothing can be changed, and how they end.

bats_require_minimum_version 1.5.0

load fuse-helpers

# One disk with two partitions, p1 an ext4 file system, made once for all tests.
setup_file() {
  export DISK="$BATS_FILE_TMPDIR/disk.img"
  make_partitioned "$DISK"
  mkfs.ext4 -q -E offset=1048576 "$DISK" 32M
  chmod 0644 "$DISK"
  touch -d '2020-02-03 04:05:06.789 UTC' "$DISK"
}

@test "fuse: a directory shows the disk, its partitions, links and texts, ready at once" {
  "$IMGMOUNT" "$DISK" "$D"
  stat "$D/disk" >/dev/null
  run ls "$D"
  [ "$output" = $'by-partlabel\nby-partuuid\ndisk\ninfo.json\np1\np2' ]
  [ "$(readlink "$D/by-partlabel/odd")" = ../p2 ]
  cmp "$D/by-partlabel/odd" "$D/p2"
  [ "$(ls "$D/by-partuuid" | wc -l)" -eq 2 ]
  [ ! -e "$D/p3" ]
  [ "$(find "$D" | wc -l)" -eq 11 ]
}

@test "fuse: sizes are exact, owner, time and mode are the image's" {
  chown 12:34 "$DISK"
  "$IMGMOUNT" -r "$DISK" "$D"
  [ "$(stat -c '%s %a %u %g %.Y' "$D/disk")" = "67108864 444 12 34 1580702706.789000000" ]
  [ "$(stat -c '%s %a %h' "$D/p2")" = "1049088 444 1" ]
  [ "$(stat -c '%a %u %.Y %h' "$D")" = "555 12 1580702706.789000000 4" ]
  "$IMGMOUNT" --unmount "$D"
  chown 0:0 "$DISK"
  cp -p "$DISK" private.img
  chmod 0640 private.img
  "$IMGMOUNT" -r private.img "$D"
  [ "$(stat -c '%a' "$D/p1")" = 440 ]
  [ "$(stat -c '%a' "$D")" = 550 ]
}

@test "fuse: the bytes are the image's, through the cache, directly, and mapped" {
  "$IMGMOUNT" "$DISK" "$D"
  cmp "$D/disk" "$DISK"
  cmp "$D/p2" <(tail -c +41943041 "$DISK" | head -c 1049088)
  cat "$D/disk" | cmp - "$DISK"
  dd if="$D/p2" of=direct iflag=direct bs=12345 status=none
  cmp direct "$D/p2"
  dd if="$D/disk" of=direct iflag=direct bs=3M status=none
  cmp direct "$DISK"
  py "$D/disk" "$DISK" <<'PY'
import mmap, os, sys
with open(sys.argv[1], "rb") as a, open(sys.argv[2], "rb") as b:
    for flags in (mmap.MAP_SHARED, mmap.MAP_PRIVATE):
        m = mmap.mmap(a.fileno(), 0, flags=flags, prot=mmap.PROT_READ)
        b.seek(0)
        assert m[:] == b.read()
PY
}

@test "fuse: reads at odd places and across the end" {
  "$IMGMOUNT" "$DISK" "$D"
  py "$D/p2" <<'PY'
import mmap, os, random, sys
size = 1049088
whole = open(sys.argv[1], "rb").read()
assert len(whole) == size
for flags in (os.O_RDONLY, os.O_RDONLY | os.O_DIRECT):
    fd = os.open(sys.argv[1], flags)
    for i in range(300):
        at = random.randrange(size + 1000)
        n = random.randrange(1, 70000)
        assert os.pread(fd, n, at) == whole[at:at + n], (flags, at, n)
    assert os.pread(fd, 10, size) == b""
    assert os.pread(fd, 10, 1 << 62) == b""
PY
}

@test "fuse: many readers at once see the same bytes" {
  "$IMGMOUNT" "$DISK" "$D"
  local i pids=()
  for i in 1 2 3 4 5 6 7 8; do
    if ((i % 2)); then
      cmp "$D/disk" "$DISK" 3>&- & pids+=($!)
    else
      dd if="$D/disk" iflag=direct bs=64K status=none 3>&- | cmp - "$DISK" 3>&- & pids+=($!)
    fi
  done
  for i in "${pids[@]}"; do wait "$i"; done
}

@test "fuse: SEEK_HOLE and SEEK_DATA are exact" {
  truncate -s 10M holes.img
  printf x | dd of=holes.img bs=1 seek=3145728 conv=notrunc status=none
  head -c 100000 /dev/urandom | dd of=holes.img bs=1M seek=8 conv=notrunc status=none
  "$IMGMOUNT" -f raw holes.img "$D"
  py "$D/disk" holes.img <<'PY'
import errno, os, sys
def spans(path):
    fd = os.open(path, os.O_RDONLY)
    size, at, out = os.fstat(fd).st_size, 0, []
    while True:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            assert e.errno == errno.ENXIO
            break
        at = os.lseek(fd, data, os.SEEK_HOLE)
        out.append((data, at))
    for past in (size, size + 1, 1 << 62):
        for whence in (os.SEEK_DATA, os.SEEK_HOLE):
            try:
                os.lseek(fd, past, whence)
                assert False
            except OSError as e:
                assert e.errno == errno.ENXIO
    assert os.lseek(fd, size - 1, os.SEEK_HOLE) == size - 1
    return out
assert spans(sys.argv[1]) == spans(sys.argv[2]), (spans(sys.argv[1]), spans(sys.argv[2]))
PY
}

@test "fuse: what is allocated comes to light, and copies stay sparse" {
  truncate -s 4G sparse.img
  head -c 3M /dev/urandom | dd of=sparse.img bs=1M seek=2000 conv=notrunc,fsync status=none
  "$IMGMOUNT" -f raw sparse.img "$D"
  [ "$(stat -c %b "$D/disk")" -lt 8388608 ]
  cp "$D/disk" copy.img
  [ "$(stat -c %b copy.img)" -le 8192 ]
  [ "$(stat -c %s copy.img)" -eq 4294967296 ]
  cmp <(tail -c +2097152001 copy.img | head -c 4M) <(tail -c +2097152001 sparse.img | head -c 4M)
  sleep 1.1
  [ "$(stat -c %b "$D/disk")" -eq "$(stat -c %b sparse.img)" ]
}

@test "fuse: qcow2: the holes and the bytes of the guest's disk" {
  qemu-img convert -O qcow2 "$DISK" disk.qcow2
  "$IMGMOUNT" disk.qcow2 "$D"
  cmp "$D/disk" "$DISK"
  qemu-img map --output=json "$D/disk" >/dev/null
  cp --sparse=auto "$D/disk" copy.img
  cmp copy.img "$DISK"
  [ "$(stat -c %b copy.img)" -lt 100000 ]
}

@test "fuse: info.json is JSON, of the size that stat says, and rendered for each open" {
  "$IMGMOUNT" "$DISK" "$D"
  py "$D/info.json" <<'PY'
import json, os, sys
text = open(sys.argv[1]).read()
json.loads(text)
assert os.stat(sys.argv[1]).st_size == len(text.encode())
fd = os.open(sys.argv[1], os.O_RDONLY)
assert os.pread(fd, 5, 3) == text.encode()[3:8]
assert os.pread(fd, 5, len(text) + 5) == b""
assert os.lseek(fd, 0, os.SEEK_HOLE) == len(text.encode())
PY
}

@test "fuse: nothing can be changed: EROFS everywhere" {
  "$IMGMOUNT" -r "$DISK" "$D"
  before=$(sha256sum <"$DISK")
  py "$D" <<'PY'
import errno, os, sys
d = sys.argv[1]
def refused(f, *args):
    try:
        f(*args)
    except OSError as e:
        assert e.errno == errno.EROFS, (f, args, e)
        return
    assert False, (f, args)
for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
    for name in ("disk", "p1", "info.json"):
        refused(os.open, d + "/" + name, flags)
refused(os.open, d + "/new", os.O_WRONLY | os.O_CREAT)
refused(os.truncate, d + "/disk", 0)
refused(os.unlink, d + "/p1")
refused(os.unlink, d + "/by-partlabel/root")
refused(os.rmdir, d + "/by-partlabel")
refused(os.mkdir, d + "/dir")
refused(os.symlink, "x", d + "/link")
refused(os.link, d + "/p1", d + "/p9")
refused(os.rename, d + "/p1", d + "/p9")
refused(os.mknod, d + "/node")
refused(os.chmod, d + "/p1", 0o600)
refused(os.chown, d + "/p1", 1, 1)
refused(os.utime, d + "/p1")
refused(os.setxattr, d + "/p1", "user.x", b"y")
refused(os.removexattr, d + "/p1", "user.x")
assert os.listxattr(d + "/p1") == []
try:
    os.getxattr(d + "/p1", "user.x")
    assert False
except OSError as e:
    assert e.errno == errno.ENODATA
PY
  [ "$before" = "$(sha256sum <"$DISK")" ]
}

# True when the server has replied with next to nothing, after a COMMAND.
leaves_the_server_alone() {
  local before after
  before=$(awk '/^wchar/ { print $2 }' "/proc/$SERVER/io")
  "$@"
  after=$(awk '/^wchar/ { print $2 }' "/proc/$SERVER/io")
  ((after - before < 1048576))
}

# Serves with passthrough, or skips.
serve_passed_through() {
  serve -v "$@"
  # The kernel is given the file at the first open.
  local disk=${*: -1}
  [[ -f $disk ]] || disk+=/disk
  head -c 1 "$disk" >first
  if grep 'no kernel passthrough' server.log; then skip "$(grep -o 'no kernel passthrough.*' server.log)"; fi
}

@test "fuse: a whole raw disk, read-only, is read by the kernel itself" {
  serve_passed_through -r "$DISK" "$D"
  leaves_the_server_alone cmp "$DISK" "$D/disk"
  # Directly, by us and from the page cache, at any alignment.
  run leaves_the_server_alone dd if="$D/disk" of=/dev/null bs=1M iflag=direct status=none
  [ "$status" -eq 1 ]
  cmp "$DISK" <(dd if="$D/disk" bs=1000003 iflag=direct status=none)
  run leaves_the_server_alone cat "$D/p1"
  [ "$status" -eq 1 ]
  cmp <(tail -c +41943041 "$DISK" | head -c 1049088) "$D/p2"
  loop=$(losetup -f --show -r "$D/disk")
  cmp "$loop" "$DISK" || { losetup -d "$loop"; false; }
  losetup -d "$loop"
}

@test "fuse: kernel passthrough leaves no access time, and no way to write" {
  cp --sparse=always "$DISK" own.img
  chmod 0666 own.img
  touch -a -d '2001-01-01' own.img
  serve_passed_through -r own.img "$D"
  [ "$(stat -c %X own.img)" = "$(date -d 2001-01-01 +%s)" ]
  cat "$D/disk" >/dev/null
  py "$D/disk" <<'EOF'
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as m:
    assert m[510:512] == b"\x55\xaa"
EOF
  [ "$(stat -c %X own.img)" = "$(date -d 2001-01-01 +%s)" ]
  mount -i -o remount,rw "$D" || skip "this kernel does not remount it"
  run ! dd if=/dev/zero of="$D/disk" bs=512 count=1 conv=notrunc
  run ! python3 -c 'import os, sys; os.open(sys.argv[1], os.O_RDWR)' "$D/disk"
  cmp "$DISK" own.img
}

@test "fuse: kernel passthrough of an image on overlayfs, and of a file mount point" {
  mkdir -p lower upper work merged
  cp --sparse=always "$DISK" lower/disk.img
  mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged || skip "no overlayfs"
  touch file
  serve_passed_through -r merged/disk.img file || { umount merged; false; }
  leaves_the_server_alone cmp "$DISK" file || { umount -l merged; false; }
  "$IMGMOUNT" --unmount file
  umount merged
}

@test "fuse: what is not one whole file is not passed through" {
  head -c 1000001 "$DISK" >odd.img
  qemu-img convert -f raw -O qcow2 odd.img odd.qcow2
  serve -r --offset 512 odd.img "$D"
  cmp <(tail -c +513 odd.img) "$D/disk"
  "$IMGMOUNT" --unmount "$D"
  serve -r --size 500000 odd.img "$D"
  cmp <(head -c 500000 odd.img) "$D/disk"
  cmp <(head -c 500000 odd.img) <(dd if="$D/disk" bs=1M iflag=direct status=none)
  "$IMGMOUNT" --unmount "$D"
  serve -r odd.img "$D"
  cmp odd.img "$D/disk"
  "$IMGMOUNT" --unmount "$D"
  serve odd.img "$D"
  cmp odd.img "$D/disk"
  printf x | dd of="$D/disk" bs=1 seek=5000 conv=notrunc status=none
  cmp odd.img "$D/disk"
  "$IMGMOUNT" --unmount "$D"
  serve -r odd.qcow2 "$D"
  qemu-img convert -O raw odd.qcow2 out.raw
  cmp out.raw "$D/disk"
}

@test "fuse: the kernel reads ahead as far as four requests go, where root mounts" {
  for how in -r -s; do
    "$IMGMOUNT" "$how" "$DISK" "$D"
    [ "$(cat "/sys/class/bdi/$(findmnt -n -r -o MAJ:MIN "$D")/read_ahead_kb")" -eq 4096 ]
    "$IMGMOUNT" --unmount "$D"
  done
}

@test "fuse: a mount made writable behind our back changes nothing either" {
  "$IMGMOUNT" -r "$DISK" "$D"
  mount -i -o remount,rw "$D" || skip "this kernel does not remount it"
  before=$(sha256sum <"$DISK")
  for command in "dd if=/dev/zero of=$D/disk count=1 conv=notrunc" "truncate -s 0 $D/p1" \
    "touch $D/new" "touch $D/p1" "rm -f $D/p1" "mkdir $D/x" "mv $D/p1 $D/p9" "chmod 0 $D/p2" \
    "ln -s x $D/y" "ln $D/p1 $D/z" "rmdir $D/by-partlabel" "mkfifo $D/f" \
    "fallocate -l 4096 $D/disk" "setfattr -n user.a -v b $D/disk"; do
    run -1 $command
    [[ $output == *"Read-only file system"* ]] || { echo "$command: $output"; false; }
  done
  [ "$before" = "$(sha256sum <"$DISK")" ]
  cmp "$D/disk" "$DISK"
}

@test "fuse: the mount table names the image, whatever its name, read-only" {
  name=$'odd, name\\with %s#\tand so on.img'
  cp "$DISK" "$name"
  "$IMGMOUNT" -r "$name" "$D"
  [ "$(findmnt -n -o FSTYPE "$D")" = fuse.imgmount ]
  [[ ,$(findmnt -n -o OPTIONS "$D"), == *,ro,* ]]
  py "$PWD/$name" "$D" <<'PY'
import re, sys
for line in open("/proc/self/mountinfo"):
    f = line.split(" ")
    if f[4] == sys.argv[2]:
        source = f[f.index("-") + 2]
        assert re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), source) == sys.argv[1], source
        sys.exit(0)
sys.exit("not mounted")
PY
}

@test "fuse: df and statfs make sense" {
  "$IMGMOUNT" "$DISK" "$D"
  [ "$(stat -f -c '%b %S %f' "$D")" = "16384 4096 0" ]
  df "$D" >/dev/null
}

@test "fuse: a file as mount point becomes the disk" {
  touch file
  "$IMGMOUNT" "$DISK" "$PWD/file"
  [ -f file ]
  cmp file "$DISK"
  "$IMGMOUNT" --unmount file
  [ ! -s file ]
  "$IMGMOUNT" -P 2 "$DISK" "$PWD/file"
  [ "$(stat -c %s file)" -eq 1049088 ]
  cmp file <(tail -c +41943041 "$DISK" | head -c 1049088)
  "$IMGMOUNT" --unmount "$PWD/file"
}

@test "fuse: an image can be mounted over itself and over its own folder" {
  mkdir folder
  cp "$DISK" folder/disk.img
  "$IMGMOUNT" "$PWD/folder/disk.img" "$PWD/folder"
  cmp folder/disk "$DISK"
  [ ! -e folder/disk.img ]
  "$IMGMOUNT" --unmount folder
  qemu-img convert -O qcow2 "$DISK" file
  "$IMGMOUNT" file file
  cmp file "$DISK"
  "$IMGMOUNT" --unmount file
  qemu-img info file | grep -q 'format: qcow2'
}

@test "fuse: a mount within a mount" {
  "$IMGMOUNT" "$DISK" "$D"
  "$IMGMOUNT" "$D/p2" "$D/p1"
  cmp "$D/p1" "$D/p2"
  run -1 "$IMGMOUNT" --unmount "$D"
  [[ $output == *usy* ]]
  "$IMGMOUNT" --unmount "$D/p1"
  "$IMGMOUNT" --unmount "$D"
}

@test "fuse: a partition through a loop device: fsck and a read-only mount" {
  "$IMGMOUNT" "$DISK" "$D"
  loop=$(losetup -f --show -r "$D/p1") || skip "no loop devices"
  run fsck.ext4 -n -f "$loop"
  fsck=$status
  mkdir fs
  mount -o ro,noload "$loop" fs && listing=$(ls fs) && umount fs
  losetup -d "$loop"
  [ "$fsck" -eq 0 ]
  [ "$listing" = lost+found ]
}

@test "fuse: --unmount returns when the server has ended" {
  serve "$DISK" "$D"
  "$IMGMOUNT" --unmount "$D"
  # A zombie, ours to bury, or gone.
  [[ ! -e /proc/$SERVER/stat || $(cut -d ' ' -f 3 "/proc/$SERVER/stat") == Z ]]
  ended "$SERVER"
  SERVER=
  run ! is_mounted "$D"
}

@test "fuse: after --unmount nobody holds the image, a hundred times" {
  for round in {1..100}; do
    "$IMGMOUNT" "$DISK" "$D" 2>/dev/null
    "$IMGMOUNT" --unmount "$D"
    flock -n -x "$DISK" true
    run ! grep -q ":$(stat -c %i "$DISK") " /proc/locks
  done
}

@test "fuse: --unmount takes relative paths, links and trailing slashes" {
  ln -s mnt link
  for path in mnt ./mnt/ link "$D/../mnt" "$D//"; do
    "$IMGMOUNT" "$DISK" "$D"
    "$IMGMOUNT" --unmount "$path"
    run ! is_mounted "$D"
  done
}

@test "fuse: --unmount of what is no mount of ours fails in one line" {
  run -1 "$IMGMOUNT" --unmount "$D"
  [ "$output" = "imgmount: $D: no image is mounted there" ]
  mount -t tmpfs none "$D"
  run -1 "$IMGMOUNT" --unmount "$D"
  [ "$output" = "imgmount: $D: a file system of the type tmpfs is mounted there, and no image" ]
  is_mounted "$D"
}

@test "fuse: a busy mount is not unmounted, and says so" {
  "$IMGMOUNT" "$DISK" "$D"
  exec 7<"$D/disk"
  run -1 "$IMGMOUNT" --unmount "$D"
  [[ $output == "imgmount: $D: "*"busy"* ]]
  [ "${#lines[@]}" -eq 1 ]
  is_mounted "$D"
  exec 7<&-
  "$IMGMOUNT" --unmount "$D"
}

@test "fuse: umount and fusermount3 -u end the server with 0" {
  for command in umount "fusermount3 -u"; do
    serve "$DISK" "$D"
    $command "$D"
    ended "$SERVER"
  done
  SERVER=
}

@test "fuse: SIGTERM, SIGINT and SIGHUP unmount and end with 0" {
  for signal in TERM INT HUP; do
    serve "$DISK" "$D"
    kill -"$signal" "$SERVER"
    ended "$SERVER"
    run ! is_mounted "$D"
  done
  SERVER=
}

@test "fuse: SIGTERM of a busy mount: out of sight, served until the last handle closes" {
  serve "$DISK" "$D"
  exec 7<"$D/disk"
  kill -TERM "$SERVER"
  until_unmounted
  run ! is_mounted "$D"
  kill -0 "$SERVER"
  cat <&7 | cmp - "$DISK"
  kill -0 "$SERVER"
  exec 7<&-
  ended "$SERVER"
  SERVER=
}

@test "fuse: a second SIGTERM ends a busy server" {
  serve "$DISK" "$D"
  exec 7<"$D/disk"
  kill -TERM "$SERVER"
  until_unmounted
  kill -TERM "$SERVER"
  ended "$SERVER"
  SERVER=
  run -1 cat <&7
  exec 7<&-
}

@test "fuse: a mount whose server was killed can be unmounted, and says what it is" {
  serve "$DISK" "$D"
  exec 7<"$D/disk"
  kill -KILL "$SERVER"
  run ended "$SERVER"
  SERVER=
  run -1 "$IMGMOUNT" "$DISK" "$D"
  [[ ${lines[-1]} == *--unmount* || ${lines[-1]} == *"is mounted there already" ]]
  exec 7<&-
  "$IMGMOUNT" --unmount "$D"
  run ! is_mounted "$D"
  "$IMGMOUNT" "$DISK" "$D"
  cmp "$D/disk" "$DISK"
}

@test "fuse: -o auto_unmount: no mount is left by a killed server" {
  serve -o auto_unmount "$DISK" "$D"
  cmp "$D/disk" "$DISK"
  kill -KILL "$SERVER"
  run ended "$SERVER"
  SERVER=
  until_unmounted
  run ! is_mounted "$D"
}

@test "fuse: a mount point that cannot be one is refused in one line, nothing is mounted" {
  run -1 "$IMGMOUNT" -r "$DISK" "$PWD/none"
  [[ ${lines[-1]} == "imgmount: $PWD/none: "*"No such file or directory" ]]
  mkfifo pipe
  run -1 timeout 10 "$IMGMOUNT" -r "$DISK" "$PWD/pipe"
  [[ ${lines[-1]} == *"neither a directory nor a regular file" ]]
  "$IMGMOUNT" -r "$DISK" "$D"
  run -1 "$IMGMOUNT" -r "$DISK" "$D"
  [[ ${lines[-1]} == "imgmount: $D: "*"is mounted there already" ]]
  [ "$(grep -c " $D " /proc/self/mountinfo)" -eq 1 ]
}

@test "fuse: of two that mount at one place at once one does" {
  local round one two status
  for round in 1 2 3 4 5 6 7 8; do
    "$IMGMOUNT" -r "$DISK" "$D" 2>one.log 3>&- &
    one=$!
    "$IMGMOUNT" -r "$DISK" "$D" 2>two.log 3>&- &
    two=$!
    status=0
    wait "$one" || status=$((status + 1))
    wait "$two" || status=$((status + 1))
    [ "$status" -eq 1 ] || { echo "round $round: $status failed"; cat one.log two.log; return 1; }
    [ "$(cat one.log two.log | grep -c "is mounted there already")" -eq 1 ]
    "$IMGMOUNT" --unmount "$D"
    run ! is_mounted "$D"
  done
}

@test "fuse: a folder that is not empty will do" {
  touch "$D/inside"
  "$IMGMOUNT" "$DISK" "$D"
  [ ! -e "$D/inside" ]
  "$IMGMOUNT" --unmount "$D"
  [ -e "$D/inside" ]
}

@test "fuse: a mount option that the kernel does not know is named" {
  run -1 "$IMGMOUNT" -o max_read=nonsense "$DISK" "$D"
  [[ ${lines[-1]} == *max_read=nonsense* ]]
}

@test "fuse: what root mounts is for those whom the image's mode admits" {
  # The folders above the mount point must let others pass.
  place=$(mktemp -d)
  chmod 0755 "$place"
  cp "$DISK" private.img
  chmod 0600 private.img
  mkdir "$place/m"
  "$IMGMOUNT" "$DISK" "$place/m"
  run setpriv --reuid=12345 --regid=12345 --clear-groups head -c 16 "$place/m/disk"
  open=$status
  "$IMGMOUNT" --unmount "$place/m"
  "$IMGMOUNT" private.img "$place/m"
  run setpriv --reuid=12345 --regid=12345 --clear-groups head -c 16 "$place/m/disk"
  closed=$status
  "$IMGMOUNT" --unmount "$place/m"
  rm -r "$place"
  [ "$open" -eq 0 ]
  [ "$closed" -ne 0 ]
}

@test "fuse: an ordinary user mounts and unmounts through fusermount3" {
  command -v fusermount3 >/dev/null || skip "fusermount3 is not installed"
  as_user '
    ./imgmount -r disk.img m
    cmp m/disk disk.img
    grep " $PWD/m " /proc/self/mountinfo | grep -q "ro.* fuse.imgmount .*user_id=65534"
    ./imgmount --unmount m
    test ! -e m/disk
    flock -n -x disk.img true
    ./imgmount --foreground -r disk.img m & server=$!
    until test -e m/disk; do kill -0 $server; sleep 0.01; done
    exec 7<m/disk
    ! ./imgmount --unmount m || exit 9
    kill -TERM $server
    while test -e m/disk; do sleep 0.01; done
    cmp - disk.img <&7
    exec 7<&-
    wait $server
    echo all done' 666
  echo "$output"
  [ "$status" -eq 0 ]
  [ "${lines[-1]}" = "all done" ]
}

@test "fuse: an ordinary user gets one clear line without rights on /dev/fuse or the folder" {
  command -v fusermount3 >/dev/null || skip "fusermount3 is not installed"
  as_user './imgmount -r disk.img m' 600
  [ "$status" -eq 1 ]
  [[ $output == *"/dev/fuse"*"mode 0666"*"Permission denied"* ]]
  as_user './imgmount -r disk.img /usr' 666
  [ "$status" -eq 1 ]
  [ "$output" = "imgmount: /usr: fusermount3: user has no write access to mountpoint /usr" ]
}
