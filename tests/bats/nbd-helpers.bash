# SPDX-License-Identifier: GPL-2.0-or-later
# What the tests of the NBD form share: a server on $SOCKET, ours or another, and its end.

load socket-helpers

nbd_setup() {
  IMGMOUNT=$(realpath "${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}")
  # ThreadSanitizer cannot see into GLib's own slices.
  export G_SLICE=always-malloc
  cd "$BATS_TEST_TMPDIR"
  SOCKET=$BATS_TEST_TMPDIR/s
  URI="nbd+unix:///?socket=$SOCKET"
  SERVER=
}

nbd_teardown() {
  [[ -z $SERVER ]] || kill -KILL "$SERVER" 2>/dev/null || true
}

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
  done
}

# Runs COMMAND in the background until it listens on $SOCKET.
start_server() { # COMMAND...
  "$@" >server.out 2>server.log 3>&- &
  SERVER=$!
  await_listening "$SOCKET" "$SERVER" || { cat server.log; return 1; }
}

# Asks the server to end; its status is ours.
end_server() {
  local status=0
  kill -TERM "$SERVER"
  wait "$SERVER" || status=$?
  SERVER=
  rm -f "$SOCKET"
  return "$status"
}
