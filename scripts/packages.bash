# SPDX-License-Identifier: GPL-2.0-or-later
# Debian's packages for each purpose, and how to have them; sourced by the other scripts.

packages_build=(
  gcc libc6-dev meson ninja-build pkg-config
  libfuse3-dev libglib2.0-dev zlib1g-dev libdeflate-dev libzstd-dev libgcrypt20-dev liburing-dev libaio-dev
  libselinux1-dev libjansson-dev libnl-genl-3-dev libgnutls28-dev
)
packages_run=(fuse3)
packages_quickstart=(fdisk e2fsprogs)
packages_test=(
  bats clang-format qemu-utils qemu-system-common nbdkit libnbd-bin python3 python3-libnbd python3-jsonschema nbd-client gnutls-bin
  fio fdisk gdisk parted kpartx sleuthkit e2fsprogs dosfstools socat strace jq attr
  cryptsetup-bin dmsetup util-linux xz-utils mandoc shellcheck git
  qemu-system-x86 busybox-static cpio kmod tcpdump tshark
)
packages_ci=(clang clang-tidy libclang-rt-14-dev llvm)

# have_packages NAME...: installs those that are missing; says what to do where it cannot.
have_packages() {
  local missing=() name
  for name in "$@"; do
    [[ $(dpkg-query -W -f '${Status}' "$name" 2>/dev/null) == 'install ok installed' ]] || missing+=("$name")
  done
  ((${#missing[@]})) || return 0
  if ((EUID != 0)); then
    printf 'These packages are missing; as root: apt-get install %s\n' "${missing[*]}" >&2
    return 1
  fi
  printf 'installing: %s\n' "${missing[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  # The lists may be there already; if they are old or absent they are fetched.
  apt-get install -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1 || {
    apt-get update >&2 &&
      apt-get install -y --no-install-recommends "${missing[@]}" >&2
  }
}
