# SPDX-License-Identifier: GPL-2.0-or-later
# Servers that go to the background once they serve: on the socket `s`, with the file `pid`.

load process-helpers

serve() { # [OPTION...] IMAGE
  "$IMGMOUNT" --nbd --fork -t -e 0 --pid-file "$PWD/pid" -k "$PWD/s" "$@" 3>&-
}

stop() {
  local server
  server=$(cat pid)
  kill "$server"
  await_end "$server"
  [ ! -e pid ]
}
