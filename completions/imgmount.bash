# SPDX-License-Identifier: GPL-2.0-or-later
# bash completion for imgmount
_imgmount() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  COMPREPLY=()
  case $previous in
    -f | --format)
      mapfile -t COMPREPLY < <(compgen -W "$(imgmount -f help 2>/dev/null | cut -d ' ' -f 1) help" -- "$current")
      return
      ;;
    --cache)
      mapfile -t COMPREPLY < <(compgen -W 'none writeback writethrough directsync unsafe' -- "$current")
      return
      ;;
    --aio)
      mapfile -t COMPREPLY < <(compgen -W 'threads io_uring native' -- "$current")
      return
      ;;
    --discard)
      mapfile -t COMPREPLY < <(compgen -W 'ignore unmap' -- "$current")
      return
      ;;
    --detect-zeroes)
      mapfile -t COMPREPLY < <(compgen -W 'off on unmap' -- "$current")
      return
      ;;
    --damage)
      mapfile -t COMPREPLY < <(compgen -W 'eio zero' -- "$current")
      return
      ;;
    --sector-size)
      mapfile -t COMPREPLY < <(compgen -W '512 1024 2048 4096' -- "$current")
      return
      ;;
    --digest)
      mapfile -t COMPREPLY < <(compgen -W 'md5,sha1,sha256 sha256 none' -- "$current")
      return
      ;;
    --extract)
      mapfile -t COMPREPLY < <(compgen -W 'disk p1 p2 p3 gaps/' -- "$current")
      return
      ;;
    --backing)
      mapfile -t COMPREPLY < <(compgen -W 'follow none' -- "$current"; compgen -d -- "$current")
      return
      ;;
    --object)
      mapfile -t COMPREPLY < <(compgen -W 'secret,id= tls-creds-x509,id= tls-creds-psk,id= authz-simple,id= authz-list,id= authz-list-file,id=' -- "$current")
      return
      ;;
    -c | --connect)
      mapfile -t COMPREPLY < <(compgen -W "auto $(compgen -G '/dev/nbd[0-9]*')" -- "$current")
      return
      ;;
    --block-size)
      mapfile -t COMPREPLY < <(compgen -W '512 1024 2048 4096' -- "$current")
      return
      ;;
    --timeout | -P | --partition | --offset | --size | --metadata-cache | --chunk-cache | -p | --port | -b | --bind | \
      -e | --shared | -x | --export-name | -D | --description | -B | --bitmap | --run | --selinux-label | -T | --trace | --handshake-limit | --tls-creds | --tls-authz | --tls-hostname | -l | --load-snapshot | -o)
      return
      ;;
  esac
  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W '
      --nbd --list --info --extract --verify --status --unmount --help --version
      --format --read-only --partition --offset --size --sector-size --snapshot --overlay --load-snapshot --backing
      --force-share --damage --object --image-opts --cache --nocache --aio --discard --detect-zeroes --metadata-cache
      --chunk-cache --gaps --output --digest --force --json --log --foreground --verbose
      --port --bind --socket --shared --persistent --connect --disconnect --ioctl --timeout --block-size
      --export-name --description --allocation-depth --bitmap --run --exit-with-parent --selinux-label --trace --fork --pid-file
      --handshake-limit --tls-creds --tls-authz --tls-psk --tls-hostname' -- "$current")
    return
  fi
  mapfile -t COMPREPLY < <(compgen -f -- "$current")
}
complete -o filenames -F _imgmount imgmount
