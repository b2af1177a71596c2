#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Encrypted images, made by qemu-img and cryptsetup, read and written, and held against
# what qemu-img makes of them.

bats_require_minimum_version 1.5.0

load crypt-helpers
load forked-helpers

setup() {
  IMGMOUNT=$(realpath "${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}")
  DIFFER=$BATS_TEST_DIRNAME/differ.py
  "$IMGMOUNT" --version | grep -q 'gcrypt yes' || skip "built without libgcrypt"
  need qemu-img qemu-io nbdcopy
  cd "$BATS_TEST_TMPDIR"
  SECRET=(--object 'secret,id=s,data=open sesame')
}

teardown() {
  [ ! -e pid ] || kill "$(cat pid)" 2>/dev/null || :
  umount -l "$BATS_TEST_TMPDIR/mnt" 2>/dev/null || :
}

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
  done
}

uri() { echo "nbd+unix:///?socket=$PWD/s"; }

# 3 MiB and a bit of noise, text and zeros.
make_plain() {
  { head -c 1000000 /dev/urandom; yes text | head -c 700416; head -c 1000000 /dev/zero
    head -c 447136 /dev/urandom; } >plain.raw
  truncate -s 3147776 plain.raw
}

# Key-value options by which qemu-img opens IMAGE of KIND: luks, or qcow2 with luks or aes.
qemu_opts() { # IMAGE KIND
  case $2 in
    raw) echo "driver=luks,file.filename=$1,key-secret=s" ;;
    *) echo "driver=qcow2,file.filename=$1,encrypt.key-secret=s" ;;
  esac
}

# IMAGE of KIND with SIZE; each is made once and kept.
make() { # IMAGE KIND SIZE [OPTIONS]
  local kept
  kept=$BATS_FILE_TMPDIR/$(md5sum <<<"${*:2} ${SECRET[*]}" | cut -c 1-32)
  if [ ! -e "$kept" ]; then
    make_once "$kept.new" "${@:2}"
    mv "$kept.new" "$kept"
  fi
  cp --sparse=always "$kept" "$1"
}

make_once() { # IMAGE KIND SIZE [OPTIONS]
  local options=${4:+,$4}
  case $2 in
    raw) create_encrypted -u "${SECRET[@]}" -f luks -o "key-secret=s,iter-time=10$options" "$1" "$3" ;;
    luks)
      create_encrypted -u "${SECRET[@]}" -f qcow2 \
        -o "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10$options" "$1" "$3"
      ;;
    aes) create_encrypted -u "${SECRET[@]}" -f qcow2 -o "encrypt.format=aes,encrypt.key-secret=s$options" "$1" "$3" ;;
  esac
}

# The same with the contents of plain.raw.
make_full() { # IMAGE KIND [OPTIONS]
  make "$1" "$2" 3147776 "${3:-}"
  qemu-img convert "${SECRET[@]}" -n --target-image-opts plain.raw "$(qemu_opts "$1" "$2")"
}

same_as() { # REFERENCE IMAGE [OPTION...]
  local reference=$1 image=$2
  shift 2
  serve -r "${SECRET[@]}" "$@" "$image"
  nbdcopy "$(uri)" got.raw
  stop
  cmp "$reference" got.raw || { echo "differs: $image $*"; return 1; }
}

# Random work on IMAGE of KIND; then it is sound and holds what the copy holds.
differ() { # IMAGE KIND SEED [OPTION...]
  local image=$1 kind=$2 seed=$3
  shift 3
  serve "${SECRET[@]}" "$@" "$image"
  /usr/bin/python3 "$DIFFER" "$PWD/s" reference.raw "$seed" "${OPERATIONS:-200}"
  stop
  [ "$kind" = raw ] || qemu-img check -q "${SECRET[@]}" --image-opts "$(qemu_opts "$image" "$kind")"
  qemu-img convert "${SECRET[@]}" --image-opts "$(qemu_opts "$image" "$kind")" -O raw got.raw
  cmp reference.raw got.raw || { echo "differs: $image seed $seed"; return 1; }
}

needs_differ() {
  /usr/bin/python3 -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed"
}

@test "crypt: LUKS in qcow2 and around raw, in every cipher, mode and vector of QEMU's" {
  make_plain
  local spec prefix
  for spec in aes-256:xts:plain64: aes-128:xts:plain: aes-256:cbc:essiv:sha256 \
    aes-256:ecb:plain64: serpent-256:xts:plain64: \
    twofish-256:cbc:essiv:sha256 cast5-128:cbc:plain64:; do
    IFS=: read -r cipher mode ivgen ivhash <<<"$spec"
    for kind in raw luks; do
      # The two differ in where sectors are counted from alone.
      [[ $kind == raw || $spec == aes-256:* ]] || continue
      prefix=
      [ "$kind" = raw ] || prefix=encrypt.
      local options="${prefix}cipher-alg=$cipher,${prefix}cipher-mode=$mode,${prefix}ivgen-alg=$ivgen"
      [ -z "$ivhash" ] || options+=",${prefix}ivgen-hash-alg=$ivhash"
      # What this build of QEMU lacks is of no use to compare with.
      make_full image "$kind" "$options" 2>lacks || { grep -qi 'support\|No AES\|not available' lacks; continue; }
      same_as plain.raw image
    done
  done
}

@test "crypt: hashes of LUKS" {
  make_plain
  local hash
  for hash in sha1 sha512 ripemd160; do
    make_full image luks "encrypt.hash-alg=$hash" 2>lacks || { grep -q 'not supported' lacks; continue; }
    same_as plain.raw image
  done
}

@test "crypt: what cryptsetup formats, with several key slots" {
  need cryptsetup
  make_plain
  local cipher bits hash tried=
  printf 'open sesame' >key
  printf 'another' >other
  while read -r cipher bits hash; do
    rm -f image
    truncate -s 8M image
    # Where the kernel lacks a cipher, cryptsetup wants the device mapper.
    cryptsetup luksFormat -q --type luks1 --cipher "$cipher" --key-size "$bits" --hash "$hash" \
      --pbkdf-force-iterations 1000 image key 2>lacks || continue
    cryptsetup luksAddKey -q --pbkdf-force-iterations 1000 --key-file key image other
    qemu-img convert "${SECRET[@]}" -n --target-image-opts plain.raw "$(qemu_opts image raw)" 2>lacks ||
      { grep -q 'not supported' lacks; continue; }
    qemu-img convert "${SECRET[@]}" --image-opts "$(qemu_opts image raw)" -O raw want.raw
    same_as want.raw image
    # The other slot's passphrase gives the same disk.
    SECRET=(--object secret,id=s,file=other)
    same_as want.raw image
    SECRET=(--object 'secret,id=s,data=open sesame')
    tried+=" $cipher"
  done <<'END'
aes-xts-plain64 256 sha256
aes-xts-plain64 512 sha512
aes-cbc-essiv:sha256 256 sha1
aes-xts-plain64 512 whirlpool
serpent-xts-plain64 512 sha256
twofish-cbc-plain 128 sha256
END
  [[ $tried == *xts* && $tried == *essiv* ]]

  # Key material that ends within a sector, at which QEMU aborts; that the key which comes
  # out is the right one, its digest in the header tells.
  cryptsetup luksFormat -q --type luks1 --cipher aes-cbc-plain64 --key-size 192 \
    --pbkdf-force-iterations 1000 image key
  "$IMGMOUNT" --info "${SECRET[@]}" image
}

@test "crypt: legacy AES, which counts sectors on the disk" {
  make_plain
  make_full image aes
  same_as plain.raw image
  make_full image aes cluster_size=512
  same_as plain.raw image
}

@test "crypt: parts of sectors are read" {
  make_plain
  needs_differ
  for kind in raw luks aes; do
    make_full image "$kind"
    serve -r "${SECRET[@]}" image
    /usr/bin/python3 - "$PWD/s" <<'END'
import nbd, random, sys
handle = nbd.NBD()
handle.connect_unix(sys.argv[1])
plain = open("plain.raw", "rb").read()
rng = random.Random(3)
for _ in range(500):
    length = rng.choice([1, 7, 511, 513, 4000, 70001, 700001])
    at = rng.randrange(len(plain) - length)
    if handle.pread(length, at) != plain[at:at + length]:
        sys.exit("%d bytes at %d" % (length, at))
END
    stop
  done
}

@test "crypt: written through NBD: LUKS in qcow2 of every cluster size" {
  needs_differ
  local size seed=1
  for size in 512 4k 64k 2M; do
    make image luks 9M "cluster_size=$size"
    differ image luks $((seed++)) --discard=unmap
  done
  make image luks 9M compat=0.10
  differ image luks $((seed++))
  make image luks 9M encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha256
  differ image luks $((seed++)) --detect-zeroes=unmap --discard=unmap
}

@test "crypt: written through NBD: legacy AES" {
  needs_differ
  local size seed=20
  for size in 512 4k 64k; do
    make image aes 9M "cluster_size=$size"
    differ image aes $((seed++)) --discard=unmap
  done
}

@test "crypt: written through NBD: LUKS around raw" {
  needs_differ
  make image raw 9M
  head -c 2M image >before
  differ image raw 30 --discard=unmap
  make image raw 9M cipher-mode=cbc,ivgen-alg=plain64
  differ image raw 31 --cache=writethrough
  # The header is not what is written.
  make image raw 1M
  head -c 1M image >before
  serve "${SECRET[@]}" image
  nbdcopy /dev/stdin "$(uri)" < <(head -c 1M /dev/urandom)
  stop
  head -c 1M image | cmp before -
}

@test "crypt: with subclusters and in data files" {
  needs_differ
  local seed=60 options
  make image luks 9M extended_l2=on
  differ image luks $((seed++)) --discard=unmap
  make image aes 9M extended_l2=on
  differ image aes $((seed++)) --discard=unmap
  for options in data_file=image.data data_file=image.data,extended_l2=on \
    data_file=image.data,data_file_raw=on; do
    rm -f image.data
    until make_once image luks 9M "$options" 2>said; do grep -q 'CPU usage' said; done
    differ image luks $((seed++)) --discard=unmap
  done
}

@test "crypt: copy-on-write from parents, plain and encrypted, and from a snapshot" {
  needs_differ
  make_plain
  cp plain.raw parent.raw
  make image luks 9M backing_file=parent.raw,backing_fmt=raw
  differ image luks 40
  cmp plain.raw parent.raw

  make_full parent.qcow2 luks
  for kind in luks aes; do
    make image "$kind" 9M backing_file=parent.qcow2,backing_fmt=qcow2
    serve "${SECRET[@]}" image
    /usr/bin/python3 "$DIFFER" "$PWD/s" reference.raw 41 200
    stop
    qemu-img convert "${SECRET[@]}" --image-opts "$(qemu_opts image "$kind"),backing.encrypt.key-secret=s" \
      -O raw got.raw
    cmp reference.raw got.raw
  done

  make_full image luks
  qemu-img snapshot "${SECRET[@]}" --image-opts -c before "$(qemu_opts image luks)"
  differ image luks 42 --discard=unmap
  same_as plain.raw image -l before
}

@test "crypt: an unencrypted child of an encrypted parent" {
  make_plain
  make_full parent.qcow2 aes
  qemu-img create -q -u -f qcow2 -F qcow2 -b parent.qcow2 image 9M
  truncate -s 9M plain.raw
  same_as plain.raw image
}

@test "crypt: through FUSE, at any place, and seen by later reads" {
  [[ $(id -u) == 0 && -c /dev/fuse ]] || skip "mounting needs root and FUSE"
  make_plain
  mkdir mnt
  for kind in raw luks aes; do
    make_full image "$kind"
    cp plain.raw reference.raw
    "$IMGMOUNT" "${SECRET[@]}" image mnt
    cmp reference.raw mnt/disk
    local at size
    for spec in 0:1 511:2 1000:70001 65536:65536 131000:1000000 3147775:1; do
      at=${spec%:*} size=${spec#*:}
      head -c "$size" /dev/urandom >noise
      for target in reference.raw mnt/disk; do
        dd if=noise of="$target" bs="$size" seek="$at" oflag=seek_bytes conv=notrunc,fsync status=none
      done
      cmp reference.raw mnt/disk
    done
    fallocate -p -n -o 5000 -l 100001 mnt/disk
    fallocate -p -n -o 5000 -l 100001 reference.raw
    cmp reference.raw mnt/disk
    "$IMGMOUNT" --unmount mnt
    qemu-img convert "${SECRET[@]}" --image-opts "$(qemu_opts image "$kind")" -O raw got.raw
    cmp reference.raw got.raw
  done
}

@test "crypt: holes beneath encrypted bytes are no zeros, and none is sent from the file" {
  need nbdinfo
  make image raw 9M
  serve -r "${SECRET[@]}" image
  nbdinfo --map "$(uri)" | awk '{ print $1, $2, $4 }' >map
  [ "$(cat map)" = "0 9437184 data" ]
  nbdcopy "$(uri)" got.raw
  stop
  qemu-img convert "${SECRET[@]}" --image-opts "$(qemu_opts image raw)" -O raw want.raw
  cmp want.raw got.raw
}

@test "crypt: QEMU writes on what was written, and the other way round" {
  make image luks 9M
  serve "${SECRET[@]}" image
  qemu-io -f raw -c 'write -P 1 0 100k' -c 'write -P 2 1000k 3k' "$(uri)" >/dev/null
  stop
  qemu-io "${SECRET[@]}" --image-opts -c 'read -P 1 0 100k' -c 'read -P 2 1000k 3k' -c 'write -P 3 50k 300k' \
    "$(qemu_opts image luks)" >said
  run ! grep -i 'fail\|error' said
  serve "${SECRET[@]}" image
  qemu-io -f raw -c 'read -P 1 0 50k' -c 'read -P 3 50k 300k' -c 'read -P 0 350k 650k' "$(uri)" >said
  stop
  run ! grep -i 'fail\|error' said
}

@test "crypt: opening and reading change no byte" {
  make_plain
  for kind in raw luks aes; do
    make_full image "$kind"
    md5sum image >sum
    serve "${SECRET[@]}" image
    nbdcopy "$(uri)" null:
    stop
    md5sum -c --quiet sum
  done
}

@test "crypt: a secret's file counts to its last byte, base64 is decoded" {
  make image luks 1M
  printf 'open sesame' >good
  printf 'open sesame\n' >line
  printf 'b3BlbiBzZXNhbWU=\n' >coded
  "$IMGMOUNT" --info --object secret,id=x,file=good image
  "$IMGMOUNT" --info --object secret,id=x,file=coded,format=base64 image
  if "$IMGMOUNT" --version | grep -qF 'json yes'; then
    "$IMGMOUNT" --info --object '{"file": "coded", "qom-type": "secret", "id": "x", "format": "base64"}' image
  fi
  "$IMGMOUNT" --info --object secret,id=x,data=b3BlbiBzZXNhbWU=,format=base64 image
  "$IMGMOUNT" --info --object qom-type=secret,id=x,file=<(cat good) image
  run -1 "$IMGMOUNT" --info --object secret,id=x,file=line image
  [ "$output" = "imgmount: image: wrong passphrase: it opens none of the key slots (it ends with a newline, which counts)" ]
  # A comma in a value is doubled.
  printf 'open sesame' >a,b
  "$IMGMOUNT" --info --object secret,id=x,file=a,,b image
  SECRET=(--object 'secret,id=s,data=a,,b')
  make image luks 1M
  printf 'a,b' >good
  "$IMGMOUNT" --info --object secret,id=x,file=good image
}

@test "crypt: one error for a wrong passphrase, and one for none" {
  for kind in raw luks; do
    make image "$kind" 1M
    run -1 "$IMGMOUNT" --info --object secret,id=s,data=wrong image
    [ "$output" = "imgmount: image: wrong passphrase: it opens none of the key slots" ]
    run -1 setsid -w "$IMGMOUNT" --info image
    [[ $output == "imgmount: image: encrypted: --object secret,id=ID,file=FILE gives the passphrase"* ]]
    [ "${#lines[@]}" -eq 1 ]
  done
}

@test "crypt: objects and image options that make no sense are refused by name" {
  make image luks 1M
  local object options
  refused() { # PART ARGUMENT...
    local part=$1
    shift
    run -1 setsid -w "$IMGMOUNT" --info "$@"
    [[ ${lines[0]} == "imgmount: "*"$part"* ]] || { echo "said: $output"; return 1; }
  }
  refused "it has no meaning with --info" --object tls-creds-x509,id=s image
  refused "id= is missing" --object secret,data=x image
  refused "one of file= and data=" --object secret,id=s image
  refused "one of file= and data=" --object secret,id=s,data=x,file=y image
  refused "'keyid' is not known" --object secret,id=s,data=x,keyid=y image
  refused "given before" --object secret,id=s,data=x --object secret,id=s,data=y image
  refused "neither raw nor base64" --object secret,id=s,data=x,format=hex image
  refused "not base64" --object "secret,id=s,data=a b?,format=base64" image
  refused "nothing-here: cannot open" --object secret,id=s,file=nothing-here image
  refused "which of several secrets" --object secret,id=a,data=x --object secret,id=b,data=y image
  options() { # PART OPTIONS
    refused "$1" "${SECRET[@]}" --image-opts "$2"
  }
  options "key 'colour' is not known" file.filename=image,colour=red
  options "no file" driver=qcow2
  options "no --object secret,id=t" file.filename=image,encrypt.key-secret=t || options "there is no --object secret,id=t" file.filename=image,encrypt.key-secret=t
  options "encrypt.format is aes, but the image's encryption is luks" file.filename=image,encrypt.format=aes
  options "neither luks nor aes" file.filename=image,encrypt.format=rot13
  options "offset and size are for raw" driver=qcow2,file.filename=image,offset=512
  options "offset and size are for raw, and this is qcow2" file.filename=image,offset=512
  options "neither on nor off" file.filename=image,read-only=maybe
  options "'nbd' is neither file nor host_device" file.driver=nbd,file.filename=image
  options "more than once" filename=image,file.filename=image
  options "exclude each other" -fqcow2 || refused "exclude each other" -f qcow2 --image-opts file.filename=image
}

@test "crypt: --image-opts: driver, names with commas, offset and size, secrets of a chain" {
  make_plain
  truncate -s 4M plain.raw
  serve -r --image-opts driver=raw,file.filename=plain.raw,offset=1M,size=1M
  nbdcopy "$(uri)" got.raw
  stop
  tail -c +1048577 plain.raw | head -c 1M | cmp - got.raw
  serve --image-opts driver=raw,file.driver=file,filename=plain.raw,offset=3M,read-only=on
  qemu-io -f raw -r -c 'read 1023k 1k' "$(uri)" >said
  run ! qemu-io -f raw -c 'write 0 1k' "$(uri)"
  stop
  # Written through the offset, and nowhere else.
  cp plain.raw want.raw
  printf x | dd of=want.raw bs=1 seek=1048581 conv=notrunc status=none
  serve --image-opts driver=raw,filename=plain.raw,offset=1M,size=1M
  /usr/bin/python3 -c 'import nbd, sys; h = nbd.NBD(); h.connect_unix(sys.argv[1]); h.pwrite(b"x", 5)' "$PWD/s"
  stop
  cmp want.raw plain.raw
  run -1 "$IMGMOUNT" --info --image-opts driver=raw,file.filename=plain.raw,offset=5M
  [[ $output == *"offset 5242880 is not inside the file"* ]]

  truncate -s 3147776 plain.raw
  make_full parent luks
  mv parent parent,1
  SECRET=(--object secret,id=s,data=child)
  make image luks 3147776 backing_file=elsewhere,backing_fmt=qcow2
  serve -r --object secret,id=s,data=child --object 'secret,id=p,data=open sesame' --image-opts \
    driver=qcow2,file.filename=image,encrypt.format=luks,encrypt.key-secret=s,backing.driver=qcow2,backing.file.filename=parent,,1,backing.encrypt.key-secret=p
  nbdcopy "$(uri)" got.raw
  stop
  cmp plain.raw got.raw
}

@test "crypt: the terminal is asked, without an echo, again after a wrong answer, and from the background" {
  make image luks 1M
  mkdir -p mnt
  cat >ask.py <<'END'
import os, pty, select, sys, time
answers, command = sys.argv[1].split("|"), sys.argv[2:]
pid, fd = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
seen, asked = b"", 0
while True:
    try:
        data = os.read(fd, 1000)
    except OSError:
        break
    if not data:
        break
    seen += data
    if seen.count(b"Passphrase for ") > asked:
        time.sleep(0.1)
        os.write(fd, answers[min(asked, len(answers) - 1)].encode().decode("unicode_escape").encode())
        asked += 1
status = os.waitpid(pid, 0)[1]
sys.stdout.write(seen.decode().replace("\r", ""))
print("asked %d, status %d" % (asked, os.waitstatus_to_exitcode(status)))
END
  run -0 /usr/bin/python3 ask.py 'open sesame\n' "$IMGMOUNT" --info image
  [[ $output == *"asked 1, status 0"* && $output == *"virtual size"* && $output != *sesame* ]]
  run -0 /usr/bin/python3 ask.py 'no\n|open sesame\n' "$IMGMOUNT" --info image
  [[ $output == *"That was not it."*"asked 2, status 0"* && $output != *sesame* ]]
  run -0 /usr/bin/python3 ask.py 'no\n' "$IMGMOUNT" --info image
  [[ $output == *"wrong passphrase"*"asked 3, status 1"* ]]
  # ^C, and an answer that never comes.
  run -0 /usr/bin/python3 ask.py '\x03' "$IMGMOUNT" --nbd -k "$PWD/s" image
  [[ $output == *"asked 1, status 1"* ]]
  run -0 /usr/bin/python3 ask.py '\x04' "$IMGMOUNT" --info image
  [[ $output == *"asked 1, status 1"* ]]
  if [[ $(id -u) == 0 && -c /dev/fuse ]]; then
    run -0 /usr/bin/python3 ask.py 'open sesame\n' "$IMGMOUNT" image mnt
    [[ $output == *"asked 1, status 0"* ]]
    [ "$(stat -c %s mnt/disk)" -eq 1048576 ]
    "$IMGMOUNT" --unmount mnt
  fi
  # Writable by its file and not by its contents: it is opened twice, and asked for once.
  chmod 0444 image
  run -0 /usr/bin/python3 ask.py 'open sesame\n' "$IMGMOUNT" --info image
  [[ $output == *"asked 1, status 0"* ]]
}

@test "crypt: a secret in the command does not stay in the list of processes" {
  make image luks 1M
  serve "${SECRET[@]}" image
  run ! grep -q sesame "/proc/$(cat pid)/cmdline"
  stop
}

@test "crypt: LUKS2 is refused by name, and -f raw gives the bytes" {
  make image raw 1M
  printf '\0\2' | dd of=image bs=1 seek=6 conv=notrunc status=none
  run -1 "$IMGMOUNT" --info "${SECRET[@]}" image
  [ "$output" = "imgmount: image: LUKS header: version 2 is not supported, only 1 is (-f raw gives the encrypted bytes)" ]
  "$IMGMOUNT" --info -f raw image
}

@test "crypt: every field of LUKS headers poked: one line, and it ends" {
  make good.luks raw 1M
  make good.qcow2 luks 1M
  {
    printf '%s\n' '0 4 big magic' '6 2 big version' '8 4 big cipher' '40 4 big mode' '72 4 big hash' \
      '104 4 big payload' '108 4 big key_bytes' '112 4 big digest' '132 4 big salt' '164 4 big iterations' \
      '208 4 big slot0.state' '212 4 big slot0.iterations' '216 4 big slot0.salt' '248 4 big slot0.material' \
      '252 4 big slot0.stripes' '256 4 big slot1.state' '260 4 big slot1.iterations' '300 4 big slot1.stripes'
  } >fields
  "$BATS_TEST_DIRNAME/poke.py" good.luks fields "$IMGMOUNT" --info "${SECRET[@]}" @
  # The same header where qcow2 has it, and the extension that leads there.
  /usr/bin/python3 - >places <<'END'
import struct
data = open("good.qcow2", "rb").read()
at = 104
if struct.unpack_from(">I", data, 100)[0] > 104:
    at = struct.unpack_from(">I", data, 100)[0]
while True:
    kind, length = struct.unpack_from(">II", data, at)
    if kind == 0x0537be77:
        break
    at += 8 + (length + 7) // 8 * 8
print(at, struct.unpack_from(">Q", data, at + 8)[0])
END
  read -r extension header <places
  awk -v base="$header" '{ print $1 + base, $2, $3, $4 }' fields >inner
  printf '%s\n' "$extension 4 big kind" "$((extension + 4)) 4 big length" "$((extension + 8)) 8 big offset" \
    "$((extension + 16)) 8 big size" '32 4 big crypt_method' >>inner
  "$BATS_TEST_DIRNAME/poke.py" good.qcow2 inner "$IMGMOUNT" --info "${SECRET[@]}" @
}

@test "crypt: --info tells how it is encrypted" {
  need jq
  make image luks 1M
  "$IMGMOUNT" --info --json "${SECRET[@]}" image |
    jq -e '.chain[0].facts | .encryption == "luks" and .cipher == "aes" and ."cipher-mode" == "xts-plain64"
           and ."key-bits" == 512 and ."key-slots-used" == 1 and (."luks-uuid" | length) == 36'
  make image raw 1M
  "$IMGMOUNT" --info --json "${SECRET[@]}" image | jq -e '.format == "luks" and .probed'
}

@test "crypt: every cache mode and engine" {
  needs_differ
  local seed=60 options
  make_plain
  for options in --cache=none '--cache=none --aio=native' '--cache=directsync --aio=io_uring' --aio=io_uring; do
    for kind in luks raw; do
      make image "$kind" 9M
      # shellcheck disable=SC2086
      OPERATIONS=60 differ image "$kind" $((seed++)) $options
    done
  done
}

@test "crypt: --verify counts the encryption header, and overlays say that they are plain" {
  make_plain
  for kind in raw luks aes; do
    make_full image "$kind"
    "$IMGMOUNT" --verify "${SECRET[@]}" image
    md5sum image >sum
    rm -f over.qcow2
    serve --overlay over.qcow2 "${SECRET[@]}" image 2>said
    grep -q 'the image is encrypted, the overlay is not' said
    qemu-io -f raw -c 'write -P 9 1000k 1k' "$(uri)" >/dev/null
    nbdcopy "$(uri)" got.raw
    stop
    md5sum -c --quiet sum
    cp plain.raw want.raw
    head -c 1024 /dev/zero | tr '\0' '\011' | dd of=want.raw bs=1024 seek=1000 conv=notrunc status=none
    cmp want.raw got.raw
  done
}
