#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# The units for systemd, as systemd itself reads them.

bats_require_minimum_version 1.5.0

setup() {
  IMGMOUNT=$(realpath "${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}")
  cd "$BATS_TEST_TMPDIR"
  sed "s,@bindir@,$(dirname "$IMGMOUNT")," "$BATS_TEST_DIRNAME/../../systemd/imgmount-nbd@.service.in" \
    >imgmount-nbd@.service
}

# The words of ExecStart, as systemd would run it for nbd3.
command_line() {
  sed -n 's/^ExecStart=//p' imgmount-nbd@.service | sed 's/%i/nbd3/g'
}

@test "systemd: the device's unit is one that systemd accepts" {
  command -v systemd-analyze >/dev/null || skip "systemd-analyze is not installed"
  cp imgmount-nbd@.service imgmount-nbd@nbd0.service
  # It also looks at what the unit pulls in; that is not ours.
  run systemd-analyze verify --man=no "$PWD/imgmount-nbd@nbd0.service"
  [[ $output != *imgmount-nbd* ]]
  # And does it complain at all?
  sed -i 's/^Type=.*/Type=nonsense/' imgmount-nbd@nbd0.service
  run systemd-analyze verify --man=no "$PWD/imgmount-nbd@nbd0.service"
  [[ $output == *imgmount-nbd* ]]
}

@test "systemd: the export's units are such too" {
  command -v systemd-analyze >/dev/null || skip "systemd-analyze is not installed"
  local units=$BATS_TEST_DIRNAME/../../systemd
  sed "s,@bindir@,$(dirname "$IMGMOUNT")," "$units/imgmount-nbd-export@.service.in" >imgmount-nbd-export@data.service
  cp "$units/imgmount-nbd-export@.socket" imgmount-nbd-export@data.socket
  run systemd-analyze verify --man=no "$PWD/imgmount-nbd-export@data.service" "$PWD/imgmount-nbd-export@data.socket"
  [[ $output != *imgmount-nbd-export* ]]
  sed -i 's/^SocketMode=.*/SocketMode=nonsense/' imgmount-nbd-export@data.socket
  run systemd-analyze verify --man=no "$PWD/imgmount-nbd-export@data.socket"
  [[ $output == *imgmount-nbd-export* ]]
}

@test "systemd: the unit's command is one that this program understands" {
  local IMAGE=$PWD/absent OPTIONS='-r -f raw'
  run bash -c "IMAGE='$IMAGE'; OPTIONS='$OPTIONS'; $(command_line)"
  [ "$status" -eq 1 ]
  [[ $output == "imgmount: $IMAGE: cannot open: No such file or directory" ]]
}
