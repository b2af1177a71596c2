#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Command lines written for qemu-nbd, run with it and with imgmount under both of its names:
# exit statuses, and what clients see.  What differs on purpose is in the tables as such,
# and in the man page under DIFFERENCES.

bats_require_minimum_version 1.5.0
load nbd-helpers

setup() {
  need qemu-nbd qemu-img qemu-io nbdinfo python3
  nbd_setup
  truncate -s 4M disk.raw
  qemu-io -f raw -c 'write -P 1 0 64k' -c 'write -P 2 1M 64k' disk.raw
  qemu-img create -q -f qcow2 disk.qcow2 4M
  qemu-io -f qcow2 -c 'write -P 3 0 64k' disk.qcow2
  qemu-img snapshot -c first disk.qcow2
  qemu-img bitmap --add disk.qcow2 b0
  mkdir bin
  ln -s "$IMGMOUNT" bin/qemu-nbd
}

teardown() {
  nbd_teardown
}

# The program WHO with ARGS, a line of shell words.
words_for() { # WHO ARGS
  case $1 in
    theirs) WORDS=(qemu-nbd) ;;
    ours) WORDS=("$IMGMOUNT" --nbd) ;;
    named) WORDS=("$PWD/bin/qemu-nbd") ;;
  esac
  eval "WORDS+=($2)"
}

# How the program ends that does not get as far as serving; 124 where it does after all.
status_of() { # WHO ARGS
  words_for "$@"
  local status=0
  timeout "${LIMIT:-20}" "${WORDS[@]}" </dev/null >"$1.out" 2>"$1.err" 3>&- || status=$?
  echo "$status"
}

# Of the export that a client finds: what an application asks for first.
seen_by_client() { # WHO URI ARGS
  words_for "$1" "-k $SOCKET $3"
  start_server "${WORDS[@]}" || return 1
  nbdinfo --json "$2" >"$1.json"
  python3 - "$1.json" <<'END' >"$1.seen"
import json, sys
export = json.load(open(sys.argv[1]))["exports"][0]
for key in ("export-name", "description", "export-size", "is_read_only", "can_flush", "can_fua",
            "can_df", "can_trim", "can_zero", "can_fast_zero", "can_cache", "can_multi_conn",
            "block_size_minimum", "block_size_maximum", "contexts"):
    print(key, export.get(key))
END
  # Without -t it ends with its client.
  local i
  for ((i = 0; i < 100; i++)); do
    kill -0 "$SERVER" 2>/dev/null || break
    sleep 0.01
  done
  if kill -0 "$SERVER" 2>/dev/null; then
    end_server
    echo "stayed until asked to end"
  else
    wait "$SERVER"
    SERVER=
    echo "ended with its client"
  fi >>"$1.seen"
  rm -f "$SOCKET"
}

@test "qemu-nbd: command lines that are refused are refused by both" {
  local line who theirs
  while read -r line; do
    [[ -n $line ]] || continue
    theirs=$(status_of theirs "$line")
    for who in ours named; do
      [ "$(status_of $who "$line")" = "$theirs" ] || {
        echo "$line: $theirs, $who $(status_of $who "$line")"
        cat theirs.err $who.err
        return 1
      }
      # And ours says why, in a line or two.
      [ "$theirs" -eq 0 ] || [ "$(wc -l <$who.err)" -le 2 ]
    done
    [ "$theirs" -eq 1 ] || { echo "$line: qemu-nbd says $theirs"; return 1; }
  done <<'END'
disk.raw disk.raw
-f raw absent.raw
-f nonsense disk.raw
-p nonsense disk.raw
-p 0x disk.raw
-k relative disk.raw
-k $PWD/no/such/folder -f raw disk.raw
-b 256.1.1.1 -f raw disk.raw
-o nonsense disk.raw
-o 8388608 -f raw disk.raw
-e -1 disk.raw
-e nonsense disk.raw
-l absent -f qcow2 disk.qcow2
-l snapshot.nonsense=1 disk.qcow2
-l first -f raw disk.raw
-B absent -f qcow2 disk.qcow2
--cache nonsense disk.raw
--cache none --cache none disk.raw
-n --cache writeback disk.raw
-n -n disk.raw
--aio nonsense disk.raw
--aio threads --aio threads disk.raw
--discard nonsense disk.raw
--discard unmap --discard unmap disk.raw
--detect-zeroes nonsense disk.raw
--detect-zeroes unmap -f raw disk.raw
--detect-zeroes unmap --discard ignore -f raw disk.raw
--nonsense disk.raw
-z disk.raw
-k
-d /dev/absent
-c /dev/absent -f raw disk.raw
-L disk.raw
-L -x name
-L -f raw
-L -k $PWD/absent
-L --fork
-L -k $PWD/absent -c /dev/nbd0
-L -o 1
-L -l first
-L -B b0
-L -A
-L -D text
-L -n
-L --cache none
-L --aio threads
-L --discard on
-L -k $PWD/absent --tls-hostname x
-L -k $PWD/absent --tls-creds absent
-L -k $PWD/absent --object tls-creds-psk,id=t,endpoint=server,dir=$PWD --tls-creds t
-L -k $PWD/absent --object authz-simple,id=a,identity=x --tls-authz a
--tls-creds absent -f raw disk.raw
--tls-authz absent -f raw disk.raw
--tls-hostname x -f raw disk.raw
--object secret,id=s,data=x --tls-creds s -f raw disk.raw
--object tls-creds-x509,id=t,endpoint=server,dir=$PWD/absent --tls-creds t -f raw disk.raw
--object tls-creds-psk,id=t,endpoint=client,dir=$PWD --tls-creds t -f raw disk.raw
-c /dev/absent --tls-creds t -f raw disk.raw
--object nonsense,id=x -f raw disk.raw
--object secret,data=x -f raw disk.raw
--object secret,id=s,data=x --object secret,id=s,data=x -f raw disk.raw
--aio native -f raw disk.raw
--image-opts -f raw driver=raw,file.filename=disk.raw
--image-opts driver=nonsense,file.filename=disk.raw
--image-opts driver=raw,file.filename=absent
--image-opts driver=raw
--image-opts disk.raw
--image-opts driver=raw,file.filename=disk.raw,nonsense=1
--image-opts driver=raw,offset=nonsense,file.filename=disk.raw
--image-opts driver=raw,offset=1G,file.filename=disk.raw
--fork=1 -f raw disk.raw
--persistent=1 -f raw disk.raw
--s -f raw disk.raw
--pid-file $PWD/no/such/pid -k $SOCKET -f raw disk.raw
END
}

@test "qemu-nbd: help and version are status 0 for both" {
  local line
  for line in -h --help -V --version '-h disk.raw'; do
    [ "$(status_of theirs "$line")" = 0 ]
    [ "$(status_of ours "$line")" = 0 ]
    [ "$(status_of named "$line")" = 0 ]
  done
}

@test "qemu-nbd: what clients see is the same" {
  local line who name
  while IFS='|' read -r name line; do
    [[ -n $line ]] || continue
    for who in theirs ours named; do
      seen_by_client $who "nbd+unix:///$name?socket=$SOCKET" "$line" || { echo "$who: $line"; return 1; }
    done
    diff theirs.seen ours.seen || { echo "$line"; return 1; }
    diff ours.seen named.seen
  done <<'END'
|-f raw disk.raw
|-r -f raw disk.raw
|-t -f raw disk.raw
|-r -t -e 0 -f raw disk.raw
|-t -e 5 -f raw disk.raw
|-s -f qcow2 disk.qcow2
|-r -l first -f qcow2 disk.qcow2
|-l snapshot.name=first -f qcow2 disk.qcow2
|-o 1048576 -f raw disk.raw
|-o 0x100000 -r -f raw disk.raw
a%20name|-x 'a name' -f raw disk.raw
|-t -D 'a text' -f raw disk.raw
|--export-name= --description=text -f raw disk.raw
|-r -A -f qcow2 disk.qcow2
|-r -A -B b0 -f qcow2 disk.qcow2
|--cache writethrough -f raw disk.raw
|--cache=unsafe --discard=on --detect-zeroes=unmap -f raw disk.raw
|--discard=unmap --aio=threads --format=qcow2 disk.qcow2
|-p 10811 -f raw disk.raw
|-rtv -fraw disk.raw
|disk.raw -r -f raw --persistent
|--sha=3 --persist --read -f raw disk.raw
END
}

@test "qemu-nbd: --fork returns when clients can connect, and the pid file is the server's" {
  local who
  for who in theirs ours named; do
    words_for $who "--fork --pid-file $PWD/pid -t -f raw -k $SOCKET disk.raw"
    "${WORDS[@]}" 3>&-
    SERVER=$(<pid)
    [ "$(nbdinfo --size "$URI")" = 4194304 ]
    kill "$SERVER"
    while kill -0 "$SERVER" 2>/dev/null; do sleep 0.02; done
    SERVER=
    [ ! -e "$SOCKET" ]
    rm -f pid
  done
}

# Decided: qemu-nbd's status, then ours.
@test "qemu-nbd: the differences that the man page lists" {
  local line theirs ours LIMIT=5
  while IFS='|' read -r theirs ours line; do
    [ "$(status_of theirs "$line")" = "$theirs" ] || { echo "$line: theirs"; cat theirs.err; return 1; }
    [ "$(status_of ours "$line")" = "$ours" ] || { echo "$line: ours"; cat ours.err; return 1; }
  done <<'END'
1|124|-o 1k -k $SOCKET -f raw disk.raw
124|1|-r -l first -B b0 -k $SOCKET -f qcow2 disk.qcow2
END
}
