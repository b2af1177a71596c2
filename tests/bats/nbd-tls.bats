#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# The NBD server with TLS, as libnbd's and QEMU's clients see it, and as liars do.

bats_require_minimum_version 1.5.0

load socket-helpers

# new_key FILE
new_key() {
  certtool --generate-privkey --key-type ecdsa --outfile "$1" 2>/dev/null
}

# authority NAME: NAME.pem and its key.
authority() {
  new_key "$1-key.pem"
  printf 'cn = %s\nca\ncert_signing_key\ncrl_signing_key\nexpiration_days = 10\n' "$1" >info
  certtool --generate-self-signed --load-privkey "$1-key.pem" --template info --outfile "$1.pem" 2>/dev/null
}

# certificate AUTHORITY FILE LINE...: FILE-cert.pem and FILE-key.pem.
certificate() {
  local authority=$1 file=$2
  shift 2
  new_key "$file-key.pem"
  printf '%s\n' signing_key "$@" >info
  certtool --generate-certificate --load-ca-certificate "$authority.pem" --load-ca-privkey "$authority-key.pem" \
    --load-privkey "$file-key.pem" --template info --outfile "$file-cert.pem" 2>/dev/null
}

# What clients and servers of all kinds need, each in a folder as QEMU wants it.
setup_file() {
  cd "$BATS_FILE_TMPDIR"
  truncate -s 40M disk.raw
  head -c 9000000 /dev/urandom | dd of=disk.raw bs=64k seek=20 conv=notrunc status=none
  command -v certtool >/dev/null || return 0
  local dir server=('cn = localhost' 'dns_name = localhost' 'ip_address = 127.0.0.1' tls_www_server)
  mkdir server expired-server client stranger expired nobody revoking keys
  authority ca
  authority other
  for dir in server expired-server client stranger expired nobody; do
    cp ca.pem "$dir/ca-cert.pem"
  done
  certificate ca server/server 'expiration_days = 10' "${server[@]}"
  certificate ca expired-server/server 'activation_date = 2001-01-01' 'expiration_date = 2002-01-01' "${server[@]}"
  certificate ca client/client 'expiration_days = 10' 'country = GB' 'organization = Some People' 'cn = one' \
    tls_www_client
  certificate other stranger/client 'expiration_days = 10' 'cn = one' tls_www_client
  certificate ca expired/client 'activation_date = 2001-01-01' 'expiration_date = 2002-01-01' 'cn = one' tls_www_client
  cp server/*.pem revoking
  certtool --generate-crl --load-ca-certificate ca.pem --load-ca-privkey ca-key.pem \
    --load-certificate client/client-cert.pem --template <(printf 'crl_next_update = 10\n') \
    --outfile revoking/ca-crl.pem 2>/dev/null
  psktool -u alice -p keys/keys.psk 2>/dev/null
  psktool -u bob -p keys/keys.psk 2>/dev/null
  psktool -u alice -p wrong.psk 2>/dev/null
}

setup() {
  IMGMOUNT=${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}
  IMGMOUNT=$(realpath "$IMGMOUNT")
  # ThreadSanitizer cannot see into GLib's own slices.
  export G_SLICE=always-malloc
  cd "$BATS_TEST_TMPDIR"
  PKI=$BATS_FILE_TMPDIR
  SOCKET=$BATS_TEST_TMPDIR/s
  SERVER=
  CREDS=(--tls-psk "$PKI/keys/keys.psk")
  cp "$PKI/disk.raw" disk.raw
  command -v certtool >/dev/null || skip "certtool is not installed"
  "$IMGMOUNT" --version | grep -qF 'gnutls yes' || skip "this build has no TLS"
}

teardown() {
  [[ -z $SERVER ]] || kill -KILL "$SERVER" 2>/dev/null || true
}

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
  done
}

# Debian's own Python, which has the module; another may come first in PATH.
python_with_nbd() {
  local python
  for python in /usr/bin/python3 python3; do
    if "$python" -c 'import nbd' 2>/dev/null; then
      PYTHON=$python
      return
    fi
  done
  skip "Python has no nbd module"
}

# Waits until COMMAND... succeeds while the server lives.
await() {
  local i
  for ((i = 0; i < 500; i++)); do
    ! "$@" || return 0
    kill -0 "$SERVER" || return 1
    sleep 0.02
  done
  return 1
}

# Serves disk.raw on $SOCKET until it is ended; with pre-shared keys unless CREDS says otherwise.
serve() {
  "$IMGMOUNT" --nbd -v -t -e 0 -f raw -k "$SOCKET" "${CREDS[@]}" "$@" disk.raw \
    >server.out 2>server.log 3>&- &
  SERVER=$!
  await_listening "$SOCKET" "$SERVER"
}

# Serves disk.raw on $PORT of localhost with the certificates in $PKI/FOLDER.
serve_certificates() { # FOLDER[,PROPERTY...] ARGUMENT...
  local object=tls-creds-x509,id=tls0,endpoint=server,dir=$PKI/$1
  shift
  for ((PORT = 20000 + RANDOM % 20000; ; PORT++)); do
    "$IMGMOUNT" --nbd -v -t -e 0 -f raw -b 127.0.0.1 -p "$PORT" --object "$object" --tls-creds tls0 "$@" disk.raw \
      >server.out 2>server.log 3>&- &
    SERVER=$!
    # Listening, as the kernel has it.
    ! await grep -q ":$(printf %04X "$PORT") 00000000:0000 0A" /proc/net/tcp || return 0
    grep -qF 'Address already in use' server.log || return 1
  done
}

end_server() {
  local status=0
  kill -TERM "$SERVER"
  wait "$SERVER" || status=$?
  SERVER=
  [[ $status == 0 ]] || { cat server.log; return 1; }
}

# The URI of the server for a user of pre-shared keys, or for the certificates in a folder.
psk_uri() {
  printf 'nbds+unix://%s@/?socket=%s&tls-psk-file=%s' "$1" "$SOCKET" "${2:-$PKI/keys/keys.psk}"
}
uri() {
  printf 'nbds://localhost:%d/?tls-certificates=%s' "$PORT" "$PKI/$1"
}

# said TEXT: the server's log has it, soon.
said() {
  local i
  for ((i = 0; i < 100; i++)); do
    ! grep -qF -- "$1" server.log || return 0
    sleep 0.05
  done
  cat server.log
  return 1
}

@test "nbd-tls: certificates: nbdinfo, nbdcopy both ways, several connections" {
  need nbdinfo nbdcopy
  serve_certificates server
  run -0 timeout 30 nbdinfo "$(uri client)"
  [[ $output == *'protocol: newstyle-fixed with TLS'* ]]
  timeout 60 nbdcopy --connections=4 "$(uri client)" copy
  cmp disk.raw copy
  head -c 41943040 /dev/urandom >new
  timeout 60 nbdcopy --connections=4 new "$(uri client)"
  end_server
  cmp disk.raw new
}

@test "nbd-tls: certificates: QEMU's own client" {
  need qemu-img
  serve_certificates server
  local node=driver=nbd,host=localhost,port=$PORT,tls-creds=t
  timeout 60 qemu-img convert --object "tls-creds-x509,id=t,endpoint=client,dir=$PKI/client" --image-opts "$node" \
    -O raw copy
  cmp disk.raw copy
  run -1 timeout 60 qemu-img info --image-opts "driver=nbd,host=localhost,port=$PORT"
  [[ $output == *TLS* ]]
  end_server
}

@test "nbd-tls: certificates: whoever has no good one is not let in" {
  need nbdinfo
  local folder
  serve_certificates server
  for folder in nobody stranger expired; do
    run ! timeout 30 nbdinfo "$(uri "$folder")"
  done
  said "client dropped: TLS"
  said expired
  # The others do not mind.
  timeout 30 nbdinfo --size "$(uri client)"
  end_server
  serve_certificates revoking
  run ! timeout 30 nbdinfo "$(uri client)"
  said revoked
  end_server
}

@test "nbd-tls: verify-peer=off asks for no certificate" {
  need nbdinfo
  serve_certificates server,verify-peer=off
  [ "$(timeout 30 nbdinfo --size "$(uri nobody)")" -eq 41943040 ]
  [ "$(timeout 30 nbdinfo --size "$(uri stranger)")" -eq 41943040 ]
  end_server
}

@test "nbd-tls: a client that expects another authority leaves" {
  need nbdinfo
  mkdir mistrust
  cp "$PKI/client/"client* mistrust
  cp "$PKI/other.pem" mistrust/ca-cert.pem
  serve_certificates server
  run ! timeout 30 nbdinfo "nbds://localhost:$PORT/?tls-certificates=$PWD/mistrust"
  timeout 30 nbdinfo --size "$(uri client)"
  end_server
}

@test "nbd-tls: names in certificates are authorised one by one, and by list" {
  need nbdinfo
  local name=C=GB,,O=Some\ People,,CN=one
  serve_certificates server --object "authz-simple,id=a,identity=$name" --tls-authz a
  timeout 30 nbdinfo --size "$(uri client)"
  end_server
  serve_certificates server --object 'authz-simple,id=a,identity=CN=two' --tls-authz a
  run ! timeout 30 nbdinfo "$(uri client)"
  said "C=GB,O=Some People,CN=one: --tls-authz denies it"
  end_server
  serve_certificates server --object "authz-list,id=a,rules.0.match=CN=two,rules.0.policy=allow,rules.1.match=C=GB,,*,rules.1.format=glob,rules.1.policy=allow" \
    --tls-authz a
  timeout 30 nbdinfo --size "$(uri client)"
  end_server
  serve_certificates server --object "authz-list,id=a,policy=allow,rules.0.match=$name,rules.0.policy=deny" --tls-authz a
  run ! timeout 30 nbdinfo "$(uri client)"
  end_server
  "$IMGMOUNT" --version | grep -qF 'json yes' || return 0
  local policy
  for policy in allow deny; do
    serve_certificates server --tls-authz a --object \
      '{"qom-type": "authz-list", "id": "a", "rules": [{"match": "CN=x", "policy": "deny"}, {"match": "C=GB,*", "format": "glob", "policy": "'$policy'"}]}'
    run timeout 30 nbdinfo --size "$(uri client)"
    [ "$status" -eq "$([[ $policy == allow ]] && echo 0 || echo 1)" ]
    end_server
  done
}

@test "nbd-tls: a list of names in a file counts as it is when a client comes" {
  need nbdinfo
  local name='C=GB,O=Some People,CN=one'
  local list="authz-list-file,id=a,filename=list.json"
  printf '{"policy": "deny", "rules": [{"match": "%s", "policy": "allow"}]}' "$name" >list.json
  serve_certificates server --object "$list" --tls-authz a
  timeout 30 nbdinfo --size "$(uri client)"
  # Written anew, replaced, spoilt, gone, and back again.
  printf '{"policy": "allow", "rules": [{"match": "C=GB*", "format": "glob", "policy": "deny"}]}' >list.json
  run ! timeout 30 nbdinfo "$(uri client)"
  said "$name: --tls-authz denies it"
  echo '{"policy": "allow"}' >next.json
  mv next.json list.json
  timeout 30 nbdinfo --size "$(uri client)"
  echo '{"policy": "allow"' >list.json
  run ! timeout 30 nbdinfo "$(uri client)"
  said '--tls-authz lets nobody in: list.json: '
  rm list.json
  run ! timeout 30 nbdinfo "$(uri client)"
  said 'list.json: No such file or directory'
  echo '{"policy": "allow"}' >list.json
  timeout 30 nbdinfo --size "$(uri client)"
  end_server
  serve_certificates server --object "$list,refresh=off" --tls-authz a
  echo '{"policy": "deny"}' >list.json
  timeout 30 nbdinfo --size "$(uri client)"
  end_server
}

@test "nbd-tls: a file that is no list of names is refused, and why is said" {
  refused_list() { # TEXT REASON
    printf '%s' "$1" >list.json
    run -1 timeout 30 "$IMGMOUNT" --nbd -k "$SOCKET" --object "tls-creds-x509,id=t,endpoint=server,dir=$PKI/server" \
      --tls-creds t --object authz-list-file,id=a,filename=list.json --tls-authz a disk.raw
    [[ ${#lines[@]} == 1 && $output == "imgmount: "*"--object authz-list-file,id=a: list.json: $2"* ]] ||
      { echo "said: $output"; return 1; }
  }
  refused_list '' "line 1, column 0: '[' or '{' expected near end of file"
  refused_list '[]' 'no JSON object'
  refused_list $'{"policy": "allow",\n "rules": [],\n "policy": "deny"}' 'line 3, column 9: duplicate object key'
  refused_list '{"rules": [{"match": "x", "policy": "allow", "match": "y"}]}' 'line 1, column 52: duplicate object key'
  refused_list '{"policy": "perhaps"}' 'policy is neither'
  refused_list '{"policy": 1}' 'policy is neither'
  refused_list '{"other": "allow"}' 'a list has rules and policy'
  refused_list '{"rules": {}}' 'rules is no array'
  refused_list '{"rules": ["x"]}' 'rules[0]: no object'
  refused_list '{"rules": [{"match": "x"}]}' 'rules[0]: match or policy is missing'
  refused_list '{"rules": [{"match": "x", "policy": "allow"}, {"policy": "allow"}]}' 'rules[1]: match or policy is missing'
  refused_list '{"rules": [{"match": null, "policy": "allow"}]}' 'rules[0]: what a rule says is text'
  refused_list '{"rules": [{"match": "x", "policy": "allow", "format": "regex"}]}' 'rules[0]: format is neither'
  refused_list '{"rules": [{"match": "x", "policy": "allow", "colour": "red"}]}' 'rules[0]: a rule has match'
  refused_list "$(printf '{"rules": ['; printf '{"match": "x", "policy": "deny"},%.0s' {1..4096}
    printf '{"match": "x", "policy": "deny"}]}')" '4097 rules, more than 4096'
  refused_list "$(head -c 1100000 /dev/zero | tr '\0' ' ')" 'not a file, or one of over'
  rm list.json
  mkfifo list.json
  run -1 timeout 30 "$IMGMOUNT" --nbd -k "$SOCKET" --object "tls-creds-x509,id=t,endpoint=server,dir=$PKI/server" \
    --tls-creds t --object authz-list-file,id=a,filename=list.json --tls-authz a disk.raw
  [[ $output == *'list.json: not a file'* ]]
}

@test "nbd-tls: the same names as qemu-nbd's are authorised" {
  need nbdinfo qemu-nbd
  local name=C=GB,,O=Some\ People,,CN=one
  for ((PORT = 20000 + RANDOM % 20000; ; PORT++)); do
    qemu-nbd -r -t -f raw -b 127.0.0.1 -p "$PORT" --object "tls-creds-x509,id=t,endpoint=server,dir=$PKI/server" \
      --tls-creds t --object "authz-simple,id=a,identity=$name" --tls-authz a disk.raw 2>server.log 3>&- &
    SERVER=$!
    ! await grep -q ":$(printf %04X "$PORT") 00000000:0000 0A" /proc/net/tcp || break
    grep -qF 'in use' server.log
  done
  timeout 30 nbdinfo --size "$(uri client)"
}

@test "nbd-tls: pre-shared keys: the right one, a wrong one, an unknown user" {
  need nbdinfo nbdcopy
  serve
  [ "$(timeout 30 nbdinfo --size "$(psk_uri alice)")" -eq 41943040 ]
  timeout 60 nbdcopy --connections=3 "$(psk_uri bob)" copy
  cmp disk.raw copy
  run ! timeout 30 nbdinfo "$(psk_uri alice "$PKI/wrong.psk")"
  sed 's/^alice/carol/' "$PKI/wrong.psk" >unknown.psk
  run ! timeout 30 nbdinfo "$(psk_uri carol "$PWD/unknown.psk")"
  said "client dropped: TLS"
  run ! timeout 30 nbdinfo "nbd+unix:///?socket=$SOCKET"
  end_server
}

@test "nbd-tls: pre-shared keys as QEMU names them" {
  need qemu-img
  CREDS=(--object "tls-creds-psk,id=t,endpoint=server,dir=$PKI/keys" --tls-creds t)
  serve
  timeout 60 qemu-img convert --object "tls-creds-psk,id=t,endpoint=client,username=bob,dir=$PKI/keys" \
    --image-opts "driver=nbd,path=$SOCKET,tls-creds=t" -O raw copy
  cmp disk.raw copy
  end_server
}

@test "nbd-tls: older versions of TLS are not spoken; a second STARTTLS is refused" {
  need python3
  local version
  serve_certificates server,verify-peer=off,priority=NORMAL:+VERS-ALL
  cat >try.py <<'PY'
import socket, ssl, struct, sys, warnings
warnings.simplefilter("ignore")
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.recv(18, socket.MSG_WAITALL)
s.sendall(struct.pack(">IQII", 3, 0x49484156454F5054, 5, 0))
assert struct.unpack(">QIII", s.recv(20, socket.MSG_WAITALL))[2] == 1
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.set_ciphers("ALL:@SECLEVEL=0")
context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, sys.argv[2])
s = context.wrap_socket(s)
s.sendall(struct.pack(">QII", 0x49484156454F5054, 5, 0))
assert struct.unpack(">QIII", s.recv(20))[2] == 0x80000003 # once is enough
print(s.version())
PY
  for version in TLSv1 TLSv1_1; do
    run ! timeout 30 python3 try.py "$PORT" "$version"
  done
  [ "$(timeout 30 python3 try.py "$PORT" TLSv1_2)" = TLSv1.2 ]
  [ "$(timeout 30 python3 try.py "$PORT" TLSv1_3)" = TLSv1.3 ]
  end_server
}

@test "nbd-tls: nothing but STARTTLS and ABORT is answered in the clear, and nothing injected counts" {
  need python3
  local case
  serve
  for case in oldstyle required injected injected-later rubbish cut; do
    timeout 60 python3 "$BATS_TEST_DIRNAME/nbd-tls-raw.py" "$SOCKET" "$case" || { echo "$case"; return 1; }
  done
  said "plain text after its request for TLS"
  end_server
}

@test "nbd-tls: a server without it says so, and goes on" {
  need python3 nbdinfo
  CREDS=()
  serve
  timeout 60 python3 "$BATS_TEST_DIRNAME/nbd-tls-raw.py" "$SOCKET" off
  run ! timeout 30 nbdinfo "$(psk_uri alice)"
  timeout 30 nbdinfo --size "nbd+unix:///?socket=$SOCKET"
  end_server
}

@test "nbd-tls: a handshake that does not come to its end is ended" {
  need python3 nbdinfo
  serve --handshake-limit 2
  timeout 60 python3 "$BATS_TEST_DIRNAME/nbd-tls-raw.py" "$SOCKET" slow
  timeout 60 python3 "$BATS_TEST_DIRNAME/nbd-tls-raw.py" "$SOCKET" dribbled
  timeout 30 nbdinfo --size "$(psk_uri alice)"
  end_server
}

@test "nbd-tls: wrong requests with payloads, and requests of 32 MiB" {
  python_with_nbd
  serve
  cat >requests.py <<'PY'
import errno, sys
import nbd
h = nbd.NBD()
h.set_strict_mode(0)
h.set_uri_allow_local_file(True)
h.connect_uri(sys.argv[1])
assert h.get_tls_negotiated()
size = h.get_size()

def fails(number, call, *args):
    try:
        call(*args)
    except nbd.Error as error:
        assert error.errnum == number, error
    else:
        raise AssertionError("it succeeded")

big = bytes(range(256)) * (32 << 12)
assert len(big) == 32 << 20
# Past the end: the payload has to be drained, and the connection goes on.
for length in (1, 512, 70000, 1 << 20, 32 << 20):
    fails(errno.ENOSPC, h.pwrite, big[:length], size - length + 1)
    fails(errno.EINVAL, h.pread, length, size - length + 1)
    assert len(h.pread(512, 0)) == 512
h.pwrite(big, 12345)
assert h.pread(32 << 20, 12345) == big
h.flush()
# Many at once, so that both directions are busy.
bufs = [nbd.Buffer.from_bytearray(bytearray(big[:1 << 20])) for _ in range(16)]
cookies = [h.aio_pwrite(buf, (i % 8) << 20) for i, buf in enumerate(bufs)]
reads = [nbd.Buffer(1 << 20) for _ in range(16)]
cookies += [h.aio_pread(buf, 33 << 20) for buf in reads]
for cookie in cookies:
    while not h.aio_command_completed(cookie):
        h.poll(-1)
assert h.pread(8 << 20, 0) == big[:8 << 20]
h.shutdown()
PY
  timeout 100 "$PYTHON" requests.py "$(psk_uri alice)"
  end_server
}

@test "nbd-tls: every wrong request has its error, and the connection goes on" {
  need python3
  truncate -s 8G disk.raw
  serve_certificates server,verify-peer=off
  timeout 200 python3 "$BATS_TEST_DIRNAME/nbd-wrong.py" "$PORT" writable
  end_server
  serve_certificates server,verify-peer=off -r
  timeout 200 python3 "$BATS_TEST_DIRNAME/nbd-wrong.py" "$PORT" read-only
  end_server
}

@test "nbd-tls: a random mix of changes reads back" {
  python_with_nbd
  serve --discard unmap
  timeout 200 "$PYTHON" "$BATS_TEST_DIRNAME/differ.py" "$(psk_uri alice)" reference 7 300
  end_server
  cmp disk.raw reference
}

@test "nbd-tls: ends in order while clients are connected, and one that reads nothing holds it not" {
  python_with_nbd
  serve
  cat >sleeper.py <<'PY'
import sys, time
import nbd
h = nbd.NBD()
h.set_uri_allow_local_file(True)
h.connect_uri(sys.argv[1])
bufs = [nbd.Buffer(1 << 20) for _ in range(64)]
for buf in bufs:
    h.aio_pread(buf, 0)
print("asked", flush=True)
time.sleep(60)
PY
  "$PYTHON" sleeper.py "$(psk_uri alice)" >asked 3>&- &
  local sleeper=$!
  await grep -q asked asked
  local started=$SECONDS
  end_server
  kill "$sleeper"
  ((SECONDS - started < 20))
}

# Lists what is served, as a client with the certificates in $PKI/FOLDER.
lists_as() { # FOLDER[,PROPERTY...] OPTION...
  local object=tls-creds-x509,id=t,endpoint=client,dir=$PKI/$1
  shift
  run --separate-stderr timeout 30 "$IMGMOUNT" --nbd -L --object "$object" --tls-creds t "$@"
}

not_listed() { # PART FOLDER[,PROPERTY...] OPTION...
  local part=$1
  shift
  lists_as "$@"
  [[ $status == 1 && -z $output && ${stderr_lines[0]} == "imgmount: "*"$part"* ]] || {
    echo "said: $stderr"
    return 1
  }
}

# The same whoever serves with the certificates in $PKI/server on $PORT.
check_lists() {
  local at=(-b localhost -p "$PORT")
  lists_as client "${at[@]}"
  [[ $status == 0 && -z $stderr ]]
  grep -qx '  size:  41943040' <<<"$output"
  timeout 30 qemu-nbd -L --object "tls-creds-x509,id=t,endpoint=client,dir=$PKI/client" --tls-creds t "${at[@]}" >theirs
  grep -q transaction theirs || output=$(sed '/^  transaction size: /d' <<<"$output")
  diff theirs <(printf '%s\n' "$output")
  lists_as client -b 127.0.0.1 -p "$PORT" # a name of the certificate's, too
  [ "$status" -eq 0 ]
  lists_as client -p "$PORT" --tls-hostname localhost
  [ "$status" -eq 0 ]
  not_listed "CN=localhost: its certificate is not for 'example.org'" client "${at[@]}" --tls-hostname example.org
  not_listed "its certificate is not for '127.0.0.2'" client -b 127.0.0.1 -p "$PORT" --tls-hostname 127.0.0.2
  lists_as client,verify-peer=off "${at[@]}" --tls-hostname example.org
  [ "$status" -eq 0 ]
  not_listed "issuer is unknown" mistrust "${at[@]}"
  # Refused by the server, whose reason may come too late.
  not_listed "" nobody "${at[@]}"
  not_listed "" stranger,sanity-check=off "${at[@]}"
  # And without TLS there is a hint.
  run --separate-stderr timeout 30 "$IMGMOUNT" --nbd -L "${at[@]}"
  [[ $status == 1 && ${stderr_lines[0]} == "imgmount: the server wants TLS"* ]]
  [[ ${stderr_lines[1]} == "imgmount: hint: --object tls-creds-"* && ${#stderr_lines[@]} == 2 ]]
}

@test "nbd-tls: -L: certificates: ours and QEMU's servers, and only who they are meant to be" {
  need qemu-nbd
  mkdir -p "$PKI/mistrust"
  cp "$PKI/other.pem" "$PKI/mistrust/ca-cert.pem"
  serve_certificates server
  check_lists
  end_server
  for ((PORT = 20000 + RANDOM % 20000; ; PORT++)); do
    qemu-nbd -r -t -f raw -b 127.0.0.1 -p "$PORT" --object "tls-creds-x509,id=t,endpoint=server,dir=$PKI/server" \
      --tls-creds t disk.raw 2>server.log 3>&- &
    SERVER=$!
    ! await grep -q ":$(printf %04X "$PORT") 00000000:0000 0A" /proc/net/tcp || break
    grep -qF 'in use' server.log
  done
  check_lists
  end_server
}

@test "nbd-tls: -L: a certificate that is none for a server is not taken for one" {
  mkdir -p "$PKI/impostor"
  cp "$PKI/ca.pem" "$PKI/impostor/ca-cert.pem"
  certificate "$PKI/ca" "$PKI/impostor/server" 'expiration_days = 10' 'cn = localhost' 'dns_name = localhost' tls_www_client
  serve_certificates impostor
  not_listed "purpose" client -b localhost -p "$PORT"
  end_server
  serve_certificates expired-server,sanity-check=off
  not_listed "expired" client -b localhost -p "$PORT"
  end_server
}

@test "nbd-tls: -L: pre-shared keys, over a unix socket; and a server without TLS" {
  local object=(--object "tls-creds-psk,id=t,endpoint=client,dir=$PKI/keys,username=bob" --tls-creds t)
  serve
  run -0 timeout 30 "$IMGMOUNT" --nbd -L -k "$SOCKET" "${object[@]}"
  grep -qx '  size:  41943040' <<<"$output"
  mkdir -p "$PKI/wrong"
  cp "$PKI/wrong.psk" "$PKI/wrong/keys.psk"
  run -1 timeout 30 "$IMGMOUNT" --nbd -L -k "$SOCKET" --object "tls-creds-psk,id=t,dir=$PKI/wrong,username=alice" --tls-creds t
  [[ $output == "imgmount: TLS: the other side refuses: "* ]]
  run -1 timeout 30 "$IMGMOUNT" --nbd -L -k "$SOCKET" --object "tls-creds-psk,id=t,dir=$PKI/wrong" --tls-creds t
  [[ $output == *"there is no user 'qemu' in it" ]]
  not_listed "the other side refuses: " client -k "$SOCKET" --tls-hostname localhost
  not_listed "--bind or --tls-hostname has to name it" client -k "$SOCKET"
  not_listed "--bind or --tls-hostname has to name it" client
  end_server
  CREDS=()
  serve
  run -1 timeout 30 "$IMGMOUNT" --nbd -L -k "$SOCKET" "${object[@]}"
  [ "$output" = "imgmount: the server refuses TLS with 0x80000002: this server does without TLS" ]
  end_server
  not_listed "-L needs endpoint=client, not server" server,endpoint=server -k "$SOCKET"
  not_listed "--tls-authz has no meaning with -L" client -k "$SOCKET" --tls-authz a
  run -1 timeout 30 "$IMGMOUNT" --nbd -L -k "$SOCKET" --tls-hostname localhost
  [[ ${lines[0]} == "imgmount: --tls-hostname has no meaning without --tls-creds" ]]
}

@test "nbd-tls: holes are sent as holes, with TLS as without it" {
  python_with_nbd
  need qemu-img
  local image uri
  truncate -s 96M disk.raw
  # What is there, and what a few hundred chunks and records add to it.
  local most=$(($(du --block-size=1 disk.raw | cut -f 1) + 300000))
  cp disk.raw reference
  qemu-img convert -f raw -O qcow2 disk.raw disk.qcow2
  for image in raw qcow2; do
    mv "disk.$image" served
    for CREDS in '' "--tls-psk=$PKI/keys/keys.psk"; do
      uri="nbd+unix:///?socket=%s"
      [[ -z $CREDS ]] || uri="nbds+unix://alice@/?socket=%s&tls-psk-file=$PKI/keys/keys.psk"
      # shellcheck disable=SC2086 # none, or one
      "$IMGMOUNT" --nbd -t -f $image -k "$SOCKET" $CREDS served >server.out 2>server.log 3>&- &
      SERVER=$!
      await_listening "$SOCKET" "$SERVER"
      run -0 timeout 100 "$PYTHON" "$BATS_TEST_DIRNAME/nbd-wire.py" "$SOCKET" $((96 << 20)) "$uri" copy
      end_server
      cmp copy reference
      echo "$image $CREDS: $output bytes, at most $most"
      ((output < most))
    done
  done
}

@test "nbd-tls: contradictions, and what is missing, are said by name" {
  refused() { # PART ARGUMENT...
    local part=$1
    shift
    run -1 timeout 30 "$IMGMOUNT" "$@" disk.raw
    [[ ${lines[0]} == "imgmount: "*"$part"* ]] || { echo "said: $output"; return 1; }
  }
  local server=(--object "tls-creds-x509,id=t,endpoint=server,dir=$PKI/server") nbd=(--nbd -k "$SOCKET")
  local psk=(--object "tls-creds-psk,id=p,endpoint=server,dir=$PKI/keys")
  refused "--connect and --tls-creds exclude each other" --nbd -c /dev/nbd0 "${server[@]}" --tls-creds t
  refused "--connect and --tls-psk exclude each other" --nbd -c /dev/nbd0 --tls-psk x
  refused "--tls-creds and --tls-psk exclude each other" "${nbd[@]}" --tls-psk x --tls-creds t
  refused "--tls-authz has no meaning without --tls-creds" "${nbd[@]}" --tls-authz a
  refused "--tls-hostname has no meaning without -L" "${nbd[@]}" --tls-hostname h
  refused "--tls-hostname has no meaning without -L" "${nbd[@]}" "${server[@]}" --tls-creds t --tls-hostname h
  refused "--tls-creds: there is no --object with id=u" "${nbd[@]}" "${server[@]}" --tls-creds u
  refused "--tls-authz: there is no --object with id=a" "${nbd[@]}" "${server[@]}" --tls-creds t --tls-authz a
  refused "--tls-creds needs" "${nbd[@]}" --object authz-simple,id=a,identity=x --tls-creds a
  refused "--tls-authz needs" "${nbd[@]}" "${server[@]}" "${psk[@]}" --tls-creds t --tls-authz p
  refused "verify-peer=on" "${nbd[@]}" "${psk[@]}" --tls-creds p --object authz-simple,id=a,identity=x --tls-authz a
  refused "verify-peer=on" "${nbd[@]}" --object "tls-creds-x509,id=t,endpoint=server,verify-peer=off,dir=$PKI/server" \
    --tls-creds t --object authz-simple,id=a,identity=x --tls-authz a
  refused "identity= is needed" "${nbd[@]}" "${server[@]}" --tls-creds t --object authz-simple,id=a --tls-authz a
  refused "rules.0.match= is missing" "${nbd[@]}" "${server[@]}" --tls-creds t \
    --object authz-list,id=a,rules.0.policy=allow --tls-authz a
  refused "rules.1.match' is not the next" "${nbd[@]}" "${server[@]}" --tls-creds t \
    --object authz-list,id=a,rules.1.match=x --tls-authz a
  refused "neither allow nor deny" "${nbd[@]}" "${server[@]}" --tls-creds t --object authz-list,id=a,policy=x --tls-authz a
  refused "filename= is missing" "${nbd[@]}" "${server[@]}" --tls-creds t --object authz-list-file,id=a --tls-authz a
  refused "refresh=x is neither" "${nbd[@]}" "${server[@]}" --tls-creds t \
    --object authz-list-file,id=a,filename=x,refresh=x --tls-authz a
  refused "authz-list-file,id=a: absent: No such file" "${nbd[@]}" "${server[@]}" --tls-creds t \
    --object authz-list-file,id=a,filename=absent/x --tls-authz a
  refused "endpoint=server" "${nbd[@]}" --object "tls-creds-x509,id=t,dir=$PKI/server" --tls-creds t
  refused "dir= is missing" "${nbd[@]}" --object "tls-creds-x509,id=t,endpoint=server" --tls-creds t
  refused "verify-peer=maybe is neither on nor off" "${nbd[@]}" \
    --object "tls-creds-x509,id=t,endpoint=server,dir=$PKI/server,verify-peer=maybe" --tls-creds t
  refused "'colour' is not known" "${nbd[@]}" --object "tls-creds-x509,id=t,colour=red" --tls-creds t
  refused "username= is for endpoint=client" "${nbd[@]}" \
    --object "tls-creds-psk,id=t,endpoint=server,dir=$PKI/keys,username=x" --tls-creds t
  refused "priority 'NONSENSE'" "${nbd[@]}" \
    --object "tls-creds-x509,id=t,endpoint=server,dir=$PKI/server,priority=NONSENSE" --tls-creds t
  refused "nowhere/ca-cert.pem" "${nbd[@]}" --object "tls-creds-x509,id=t,endpoint=server,dir=nowhere" --tls-creds t
  refused "client/server-cert.pem" "${nbd[@]}" --object "tls-creds-x509,id=t,endpoint=server,dir=$PKI/client" --tls-creds t
  refused "server/keys.psk" "${nbd[@]}" --object "tls-creds-psk,id=t,endpoint=server,dir=$PKI/server" --tls-creds t
  refused "--tls-psk: " "${nbd[@]}" --tls-psk nowhere
  printf 'alice:xyz\n' >bad.psk
  refused "bad.psk: line 1: the key" "${nbd[@]}" --tls-psk bad.psk
  refused "expired" "${nbd[@]}" --object "tls-creds-x509,id=t,endpoint=server,dir=$PKI/expired-server" --tls-creds t
  refused "--tls-creds has no meaning with --info" --info --tls-creds t
  refused "tls-creds-x509,id=t: it has no meaning with --info" --info "${server[@]}"
  mkdir mixed
  cp "$PKI/server/"*.pem mixed
  cp "$PKI/other.pem" mixed/ca-cert.pem
  refused "mixed/server-cert.pem" "${nbd[@]}" --object tls-creds-x509,id=t,endpoint=server,dir=mixed --tls-creds t
  cp "$PKI/ca.pem" mixed/ca-cert.pem
  cp "$PKI/client/client-key.pem" mixed/server-key.pem
  refused "mixed/server-key.pem" "${nbd[@]}" --object tls-creds-x509,id=t,endpoint=server,dir=mixed --tls-creds t
  [[ ! -e $SOCKET ]]
}

@test "nbd-tls: sanity-check=off takes what is odd; a key may have a password" {
  need nbdinfo
  serve_certificates expired-server,sanity-check=off
  run ! timeout 30 nbdinfo "$(uri client)" # it is the client who minds
  end_server
  mkdir locked
  cp "$PKI/server/"*.pem locked
  certtool --to-p8 --load-privkey "$PKI/server/server-key.pem" --password 'open sesame' --outfile locked/server-key.pem \
    2>/dev/null
  local -a object=(--object "tls-creds-x509,id=u,endpoint=server,dir=locked,passwordid=s")
  run -1 "$IMGMOUNT" --nbd "${object[@]}" --tls-creds u disk.raw
  [[ $output == *"there is no --object secret,id=s"* ]]
  run -1 "$IMGMOUNT" --nbd --object secret,id=s,data=wrong "${object[@]}" --tls-creds u disk.raw
  [[ $output == *locked/server-key.pem* ]]
  "$IMGMOUNT" --nbd -f raw -k "$SOCKET" --object 'secret,id=s,data=open sesame' "${object[@]}" --tls-creds u disk.raw \
    2>server.log 3>&- &
  SERVER=$!
  await_listening "$SOCKET" "$SERVER"
  end_server
}

@test "nbd-tls: beyond loopback there is a warning only without it" {
  local port=$((20000 + RANDOM % 20000))
  "$IMGMOUNT" --nbd -f raw -p "$port" --tls-psk "$PKI/keys/keys.psk" disk.raw 2>server.log 3>&- &
  SERVER=$!
  await grep -q ":$(printf %04X "$port") 00000000:0000 0A" /proc/net/tcp
  end_server
  run ! grep 'without TLS' server.log
  # Who forgets --tls-creds hears of it.
  CREDS=()
  serve --object "tls-creds-psk,id=t,endpoint=server,dir=$PKI/keys"
  end_server
  said "warning: --object tls-creds-psk,id=t: no option uses it"
}
