#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Images of every kind that the other tests have, sound and broken, go through everything
# that only reads; then each has the digest and the times that it had.

bats_require_minimum_version 1.5.0

load fuse-helpers

# qcow2 of disk.raw
convert() { # IMAGE [OPTION...]
  qemu-img convert -f raw -O qcow2 "${@:2}" disk.raw "$1"
}

child() { # IMAGE PARENT FORMAT [OPTION...]
  qemu-img create -q -f qcow2 -b "$2" -F "$3" "${@:4}" "$1"
  qemu-io -c 'write -P 5 1M 300k' -c 'write -z 2M 1M' "$1" >/dev/null
}

poke() { # IMAGE OFFSET BYTES, with escapes
  printf %b "$3" | dd of="$1" bs=1 seek=$(($2)) conv=notrunc status=none
}

make_raw() {
  local corpus=$BATS_TEST_DIRNAME/../fuzz/corpus
  truncate -s 8M disk.raw
  printf 'label: gpt\nstart=2048,size=4096,name=one\nstart=8192,size=6001,name=two\n' | sfdisk -q disk.raw
  head -c 3M /dev/urandom | dd of=disk.raw bs=512 seek=2048 conv=notrunc status=none
  cp disk.raw odd.raw
  truncate -s +100 odd.raw
  cp disk.raw torn.raw
  poke torn.raw 600 XXXX
  truncate -s 8M logical.raw
  printf 'label: dos\nstart=2048,size=2048\nstart=4096,size=12000,type=5\nstart=6144,size=2048\nstart=10240,size=99\n' |
    sfdisk -q logical.raw
  for file in "$corpus"/{partition,qcow2,luks}/*; do
    cp "$file" "corpus-$(basename "$(dirname "$file")")-${file##*/}"
  done
}

make_qcow2() {
  convert plain.qcow2
  convert old.qcow2 -o compat=0.10
  convert packed.qcow2 -c
  convert zstd.qcow2 -c -o compression_type=zstd
  convert sub.qcow2 -o extended_l2=on
  convert outside.qcow2 -o data_file=outside.data,data_file_raw=on
  convert lazy.qcow2 -o lazy_refcounts=on
  poke lazy.qcow2 79 '\x01'
  convert corrupt.qcow2
  poke corrupt.qcow2 79 '\x02'
  convert snapshots.qcow2
  qemu-img snapshot -c first snapshots.qcow2
  qemu-io -c 'write -P 3 0 1M' snapshots.qcow2 >/dev/null
  convert bitmap.qcow2
  qemu-img bitmap --add bitmap.qcow2 b
  child child.qcow2 packed.qcow2 qcow2
  child grandchild.qcow2 child.qcow2 qcow2 -o cluster_size=4k
  child over-raw.qcow2 odd.raw raw
  convert broken.qcow2
  # Its first L2 table is somewhere else.
  poke broken.qcow2 0x30000 '\x80\x00\x7f\xff\xff\xff\x00\x00'
  convert cut.qcow2
  truncate -s 1500001 cut.qcow2
}

setup_file() {
  [[ $EUID == 0 && -c /dev/fuse ]] || skip "needs root and FUSE"
  local tool
  for tool in qemu-img qemu-io sfdisk nbdcopy; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
  done
  export IMAGES="$BATS_FILE_TMPDIR/images"
  mkdir "$IMAGES"
  cd "$IMAGES"
  make_raw
  make_qcow2
  # As one has evidence, and as one has it by mistake.
  chmod 0444 ./*
  chmod 0644 plain.qcow2 child.qcow2 disk.raw odd.raw lazy.qcow2 torn.raw logical.raw
  touch -d '2001-02-03 04:05:06.789' ./*
}

# All that may be said of the images: bytes, sizes, times (of inodes too), owners, modes, names.
record() {
  (cd "$IMAGES" && sha256sum -- * && stat -c '%n %s %.Y %.Z %a %u %g %h' -- *)
}

# Whatever fails: not every image is one.
quietly() {
  timeout 60 "$@" >/dev/null 2>&1 || :
}

# Everything below the mount is read, and nothing can be written.
read_mount() {
  find "$D" -type f -exec cat {} + >/dev/null || :
  if [[ -e $D/disk ]]; then
    run dd if=/dev/zero of="$D/disk" bs=512 count=1 conv=notrunc
    [ "$status" -eq 1 ]
    run touch "$D/disk"
    [ "$status" -eq 1 ]
  fi
}

write_mount() {
  for file in "$D"/disk "$D"/p[0-9]*; do
    [[ ! -e $file ]] || head -c 100000 /dev/urandom | dd of="$file" bs=1000 seek=3 conv=notrunc status=none 2>/dev/null || :
  done
}

# IMAGE through FUSE; DO is what is done with the mount.
by_fuse() { # IMAGE DO [OPTION...]
  "$IMGMOUNT" --gaps "${@:3}" "$1" "$D" 2>/dev/null || return 0
  "$2"
  "$IMGMOUNT" --unmount "$D"
}

@test "evidence: listing, describing, checking and extracting leave no trace" {
  record >before
  for image in "$IMAGES"/*; do
    for form in '--info --json' '--list --gaps' --verify; do
      # shellcheck disable=SC2086
      quietly "$IMGMOUNT" $form "$image"
    done
    quietly "$IMGMOUNT" --extract disk -O out --force "$image"
    quietly "$IMGMOUNT" --extract p1 -O out --force -l first "$image"
    quietly "$IMGMOUNT" --extract disk -O out --force --cache=none "$image"
  done
  record | diff before -
}

@test "evidence: -r leaves no trace, whoever tries to write, through FUSE and NBD" {
  record >before
  for image in "$IMAGES"/*; do
    by_fuse "$image" read_mount -r --discard=unmap
    quietly "$IMGMOUNT" --nbd -r --discard=unmap --run 'nbdcopy "$uri" null:; nbdcopy --allocated /dev/zero "$uri"' "$image"
  done
  record | diff before -
}

@test "evidence: overlays leave no trace in what is below them" {
  record >before
  for image in "$IMAGES"/*.{qcow2,raw}; do
    by_fuse "$image" write_mount -s
    rm -f over.qcow2
    by_fuse "$image" write_mount --overlay over.qcow2
    by_fuse "$image" write_mount --overlay over.qcow2
    quietly "$IMGMOUNT" --nbd -s --run 'nbdcopy --allocated /dev/zero "$uri"' "$image"
  done
  record | diff before -
}

@test "evidence: a writable image that nobody writes to keeps its times too" {
  record >before
  for image in "$IMAGES"/{plain,child,lazy}.qcow2 "$IMAGES"/{disk,odd,torn,logical}.raw; do
    by_fuse "$image" true
    quietly "$IMGMOUNT" --nbd --run 'nbdcopy "$uri" null: && nbdsh -u "$uri" -c "h.flush()"' "$image"
  done
  record | diff before -
}

# All calls by which a file, or its name, is changed or may be.
CHANGING=open,openat,openat2,creat,write,pwrite64,writev,pwritev,pwritev2,fallocate,truncate,ftruncate
CHANGING+=,copy_file_range,sendfile,splice,chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,utime,utimes,futimesat
CHANGING+=,utimensat,link,linkat,symlink,symlinkat,unlink,unlinkat,rename,renameat,renameat2,setxattr,lsetxattr
CHANGING+=,fsetxattr,removexattr,lremovexattr,fremovexattr,fsync,fdatasync,sync_file_range,io_submit,ioctl

# The traced calls that have to do with an image, but for opening it to read.  -y has shown
# the file behind each descriptor.
changes() {
  grep -F "$IMAGES/" trace |
    grep -vE '^[0-9]+ +open[a-z0-9]*\([^)]*O_RDONLY' |
    # Out of an image bytes may go anywhere.
    grep -vE '^[0-9]+ +sendfile\([0-9]+<[^>]*>, [0-9]+<'"$IMAGES" |
    grep -vE '^[0-9]+ +(copy_file_range|splice)\([0-9]+<[^>]*>, [^,]*, [0-9]+<'"$PWD" || :
}

@test "evidence: with -r no image is opened for writing, by strace, whatever its kind" {
  command -v strace >/dev/null || skip "strace is not installed"
  strace -qq -o /dev/null true || skip "strace cannot trace here"
  local under=(strace -f -y -q -s 0 -o trace -e trace="$CHANGING"
    env "ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0")
  for image in "$IMAGES"/*.{qcow2,raw}; do
    for form in --verify '--extract disk -O out --force' '--nbd -r --run true' FUSE; do
      if [[ $form == FUSE ]]; then
        "${under[@]}" "$IMGMOUNT" --foreground -r "$image" "$D" 2>/dev/null 3>&- &
        tracer=$!
        until is_mounted "$D" || ! kill -0 "$tracer" 2>/dev/null; do sleep 0.02; done
        read_mount
        umount "$D" 2>/dev/null || :
        wait "$tracer" || :
      else
        # shellcheck disable=SC2086
        quietly "${under[@]}" "$IMGMOUNT" $form "$image"
      fi
      grep -qE "open.*\"$image\".*O_RDONLY" trace
      run changes
      echo "$image $form: $output"
      [ -z "$output" ]
    done
  done
}
