# SPDX-License-Identifier: GPL-2.0-or-later
# Run in the guest by nbd-device.bats: attaches and detaches, and prints what happens, in
# sections that the tests look at.
mount -t ext4 /dev/vda /mnt || exit 1
cd /mnt || exit 1
mkdir /part

section() {
  echo "=== $1"
}

# Runs a command and prints its status; numbers of processes become N.
st() {
  "$@" >/tmp/said 2>&1
  status=$?
  sed 's/process [0-9][0-9]*/process N/; s/gone, [0-9]*/gone, N/' /tmp/said
  echo "status $status"
}

# Waits until "$@" succeeds, ten seconds at most.
until_true() {
  tries=0
  until "$@" 2>/dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || { echo "in vain: $*"; return 1; }
    usleep 100000
  done
}

gone() {
  ! kill -0 "$1" 2>/dev/null
}

# The nodes in /dev of device N and its partitions, with their sizes.
nodes() {
  for node in /dev/nbd"$1" /dev/nbd"$1"p*; do
    [ ! -b "$node" ] || echo "$node $(cat "/sys/class/block/${node#/dev/}/size")"
  done
}

# Nothing of device N is left, nor of its server, whose pid is in /tmp/pidN.
free() {
  [ ! -e "/sys/block/nbd$1/pid" ] || echo "still attached"
  [ "$(nodes "$1" | wc -l)" -eq 1 ] || nodes "$1"
  [ ! -e "/tmp/pid$1" ] || echo "the pid file is still there"
  ! pidof imgmount >/dev/null || echo "the server is still there"
}

# Attaches IMAGE to /dev/nbdN: attach N [OPTION…] IMAGE
attach() {
  local number=$1
  shift
  imgmount --nbd $way --pid-file "/tmp/pid$number" -c "/dev/nbd$number" "$@" >/tmp/said 2>&1 || cat /tmp/said
  pid=$(cat "/tmp/pid$number")
}

detach() {
  imgmount --nbd $way -d "/dev/nbd$1" >/tmp/said 2>&1 || cat /tmp/said
}

without_module() {
  section missing-module
  st imgmount --nbd -c /dev/nbd0 gpt.qcow2
  st imgmount --nbd -c auto gpt.qcow2
  st imgmount --nbd -d /dev/nbd0
  section wrong-device
  modprobe nbd max_part=0 nbds_max=2
  st imgmount --nbd -c /dev/vda gpt.qcow2
  st imgmount --nbd -c /mnt/raw gpt.qcow2
  st imgmount --nbd -c /dev/absent gpt.qcow2
  st imgmount --nbd -d /dev/nbd9
  st imgmount --nbd --ioctl -c /dev/nbd9 gpt.qcow2
  section max-part
  st imgmount --nbd -c /dev/nbd0 gpt.qcow2
  nodes 0
  st imgmount --nbd -d /dev/nbd0
  nodes 0
  rmmod nbd
  modprobe nbd max_part=16 nbds_max=4
}

attaching() {
  section "attach-$name"
  way=$way st imgmount --nbd $way --pid-file /tmp/pid1 -c /dev/nbd1 gpt.qcow2
  nodes 1
  echo "read-only $(cat /sys/block/nbd1/ro)"
  echo "connections $(ls /sys/block/nbd1/mq | wc -l)"
  awk '/VmLck/ { print "locked", ($2 > 0) }' "/proc/$(cat /tmp/pid1)/status"
  section "busy-$name"
  st imgmount --nbd $way -c /dev/nbd1 mbr.raw
  section "auto-$name"
  st imgmount --nbd $way -c auto mbr.raw
  nodes 0
  st imgmount --nbd $way -d /dev/nbd0
  nodes 0
}

# Expects gpt.qcow2 at /dev/nbd1.
writing() {
  section "mounted-$name"
  mount -t ext4 /dev/nbd1p1 /part
  seq 100000 >"/part/$name"
  sync
  st imgmount --nbd $way -d /dev/nbd1
  umount /part
  section "swap-$name"
  mkswap /dev/nbd1p2 >/dev/null
  swapon /dev/nbd1p2
  st imgmount --nbd $way -d /dev/nbd1
  swapoff /dev/nbd1p2
  section "claimed-$name"
  # A mount that only its own namespace shows.
  unshare -m sh -c 'mount -t ext4 /dev/nbd1p1 /part; touch /tmp/mounted; sleep 1000' &
  until_true test -e /tmp/mounted
  st imgmount --nbd $way -d /dev/nbd1
  kill $(pidof sleep)
  wait $! 2>/dev/null
  section "holder-$name"
  dmsetup create --noudevsync above --table '0 8192 linear /dev/nbd1p2 0'
  st imgmount --nbd $way -d /dev/nbd1
  dd if=/dev/urandom of=/tmp/noise bs=64k count=4 2>/dev/null
  dd if=/tmp/noise of=/dev/dm-0 bs=64k seek=3 conv=fsync 2>/dev/null
  dmsetup remove --noudevsync above
  dd if=/dev/nbd1p2 bs=64k skip=3 count=4 2>/dev/null | cmp - /tmp/noise
  section "detach-$name"
  st imgmount --nbd $way -d /dev/nbd1
  free 1
  st imgmount --nbd $way -d /dev/nbd1
  rm -f /tmp/mounted
}

settings() {
  section "read-only-$name"
  attach 0 -r gpt.qcow2
  cat /sys/block/nbd0/ro
  mount -t ext4 -o ro /dev/nbd0p1 /part && ls /part | grep lost
  umount /part
  dd if=/dev/zero of=/dev/nbd0p2 count=1 2>/dev/null && echo "written"
  detach 0
  section "slices-$name"
  attach 0 -P 2 gpt.qcow2
  nodes 0
  detach 0
  attach 0 -o 1M -f raw mbr.raw
  nodes 0
  detach 0
  section "blocks-$name"
  st imgmount --nbd $way -c /dev/nbd0 odd.raw
  cat /sys/block/nbd0/size /sys/block/nbd0/queue/logical_block_size
  detach 0
  st imgmount --nbd $way -c /dev/nbd0 --block-size 4096 odd.raw
  cat /sys/block/nbd0/size /sys/block/nbd0/queue/logical_block_size
  detach 0
  st imgmount --nbd $way -c /dev/nbd0 --block-size 4096 gpt.qcow2
  detach 0
  st imgmount --nbd $way -c /dev/nbd0 --block-size 4096 tiny.raw
}

# The whole disk with direct I/O, there and back, two at once.
whole_disks() {
  section "direct-$name"
  attach 0 blank.raw
  attach 2 blank.qcow2
  dd if=pattern of=/dev/nbd0 bs=1M oflag=direct conv=fsync 2>/dev/null &
  dd if=pattern of=/dev/nbd2 bs=64k oflag=direct conv=fsync 2>/dev/null
  wait $!
  dd if=/dev/nbd0 bs=4M iflag=direct 2>/dev/null | cmp - pattern && echo "raw same"
  dd if=/dev/nbd2 bs=16k iflag=direct 2>/dev/null | cmp - pattern && echo "qcow2 same"
  detach 0
  detach 2
  free 0
}

# What the page cache of the device holds is flushed by detaching.
buffered() {
  section "buffered-$name"
  attach 0 blank.raw
  dd if=/dev/urandom of=/dev/nbd0 bs=1M count=4 2>/dev/null
  md5sum </dev/nbd0
  detach 0
  md5sum <blank.raw
}

# What --status says of the devices, blanks squeezed and the process by name.
status() {
  imgmount --status "$@" 2>&1 | tr -s ' ' | sed "s/ $pid / PID /"
}

listed() {
  section "status-$name"
  attach 2 -r mbr.raw
  status
  detach 2
  attach 1 gpt.qcow2
  status
  status --json | grep -A 20 devices | tr -d ' \n' | sed "s/:$pid,/:PID,/"
  echo
  kill -9 "$pid"
  until_true gone "$pid"
  rm -f /tmp/pid1
  status
  imgmount --nbd $way -d /dev/nbd1 >/dev/null 2>&1
  status
  free 1
}

trimmed() {
  section "trim-$name"
  attach 0 --discard=unmap blank.raw
  blkdiscard -o 1048576 -l 6291456 /dev/nbd0
  detach 0
  # In MiB: the file system may count a block of its own about the file.
  echo $(($(stat -c %b blank.raw) / 2048))
  dd if=pattern of=blank.raw bs=1M conv=notrunc 2>/dev/null
}

killed() {
  section "killed-$name"
  attach 1 gpt.qcow2
  mount -t ext4 /dev/nbd1p1 /part
  kill -9 "$pid"
  until_true gone "$pid"
  dd if=/dev/nbd1 of=/dev/null bs=4k count=1 iflag=direct 2>&1 | grep -o 'Input/output error' | head -n 1
  umount /part
  rm -f /tmp/pid1
  st imgmount --nbd $way -d /dev/nbd1
  free 1
  attach 1 gpt.qcow2
  nodes 1
  detach 1
}

signalled() {
  section "signal-$name"
  attach 1 gpt.qcow2
  kill "$pid"
  until_true gone "$pid"
  free 1
  section "signal-mounted-$name"
  attach 1 --log /tmp/log gpt.qcow2
  mount -t ext4 /dev/nbd1p1 /part
  kill "$pid"
  until_true test -s /tmp/log
  cat /tmp/log
  seq 50000 >"/part/late-$name" && sync && kill -0 "$pid" && echo "still served"
  umount /part
  until_true gone "$pid"
  free 1
  rm /tmp/log
  section "signal-twice-$name"
  attach 1 --log /tmp/log gpt.qcow2
  mount -t ext4 -o ro /dev/nbd1p1 /part
  kill "$pid"
  until_true test -s /tmp/log
  kill "$pid"
  until_true gone "$pid"
  umount /part
  imgmount --nbd $way -d /dev/nbd1
  free 1
  rm /tmp/log
}

forced() {
  section "forced-$name"
  attach 1 gpt.qcow2
  mount -t ext4 -o ro /dev/nbd1p1 /part
  st imgmount --nbd $way -d --force /dev/nbd1
  gone "$pid" && echo "the server has ended"
  st imgmount --nbd $way -c /dev/nbd1 mbr.raw
  umount /part
  st imgmount --nbd $way -d /dev/nbd1
  free 1
}

# Clients on a socket beside the device.
with_socket() {
  section "socket-$name"
  attach 0 -k /tmp/socket gpt.qcow2
  nbdinfo --size 'nbd+unix:///?socket=/tmp/socket'
  nbdinfo --size 'nbd+unix:///p2?socket=/tmp/socket'
  nodes 0
  detach 0
  free 0
  [ ! -e /tmp/socket ] || echo "the socket is still there"
}

in_foreground() {
  section "foreground-$name"
  rm -f /tmp/said
  imgmount --nbd $way -v -c /dev/nbd0 gpt.qcow2 >/tmp/said 2>/tmp/verbose &
  until_true grep -q nbd0 /tmp/said
  cat /tmp/said
  grep -o "attached by.*" /tmp/verbose
  kill $!
  wait $!
  echo "status $?"
  free 0
}

timeouts() {
  section "timeout-$name"
  attach 0 --timeout 1 gpt.qcow2
  kill -STOP "$pid"
  dd if=/dev/nbd0 of=/dev/null bs=4k count=1 skip=100 iflag=direct 2>&1 |
    grep -o 'Input/output error' | head -n 1
  kill -CONT "$pid"
  until_true gone "$pid"
  free 0
  section "hung-$name"
  attach 0 gpt.qcow2
  kill -STOP "$pid"
  st imgmount --nbd $way -d --force /dev/nbd0
  kill -CONT "$pid"
  until_true gone "$pid"
  free 0
  section "held-$name"
  attach 0 gpt.qcow2
  sleep 1000 </dev/nbd0 &
  st imgmount --nbd $way -d /dev/nbd0
  kill $!
  wait $! 2>/dev/null
  st imgmount --nbd $way -d /dev/nbd0
  free 0
}

# The kernel offers netlink in the first network namespace alone.
other_ways() {
  section namespace
  st unshare -n imgmount --nbd -c /dev/nbd0 gpt.qcow2
  nodes 0
  st unshare -n imgmount --nbd -d /dev/nbd0
  nodes 0
  section crossed
  for way in '' --ioctl; do
    attach 0 gpt.qcow2
    [ -n "$way" ] && other= || other=--ioctl
    st imgmount --nbd $other -d /dev/nbd0
    free 0
  done
}

failures() {
  section "failures-$name"
  st imgmount --nbd $way -c /dev/nbd0 absent
  st imgmount --nbd $way -c /dev/nbd0 -f qcow2 mbr.raw
  st sh -c "imgmount --nbd $way -c auto mbr.raw >/dev/full"
  free 0
}

without_module
for name in netlink ioctl; do
  way=
  [ $name = netlink ] || way=--ioctl
  attaching
  writing
  settings
  whole_disks
  buffered
  trimmed
  killed
  listed
  signalled
  forced
  with_socket
  in_foreground
  failures
done
other_ways
name=netlink way=
timeouts
section all-busy
for i in 0 1 2 3; do attach $i -r mbr.raw; done
st imgmount --nbd --ioctl -c auto -r mbr.raw
st imgmount --nbd -c auto -r mbr.raw
for i in 0 1 2 3 4; do detach $i; done
free 4
section end
cd /
umount /mnt
