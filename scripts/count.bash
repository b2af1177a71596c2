# SPDX-License-Identifier: GPL-2.0-or-later
# Running tests and keeping count, over several runners; sourced by the other scripts.

passed=0 failed=0 skipped=0
remarks=() # "failed: NAME" and "skipped: NAME # REASON"
details=() # "failed| " and a line of what a failed test said

# add_counts PASSED FAILED SKIPPED
add_counts() {
  passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

# add_remarks FILE: those that are in it, and what TAP has to say of the same.
add_remarks() {
  local line
  while read -r line; do remarks+=("$line"); done < <(sed -nE \
    -e 's/^(failed|skipped): /&/p' -e 's/^not ok [0-9]+ /failed: /p' \
    -e 's/^ok [0-9]+ (.*) # skip/skipped: \1 #/p' "$1")
  while IFS= read -r line; do details+=("$line"); done < <(awk '
    /^failed\| / { print }
    /^(not )?ok / { said = /^not/ ? 40 : 0; if (said) print "failed| " $0; next }
    /^# tests\// { said = 0 }
    said-- > 0 { print "failed| " $0 }' "$1")
}

# seconds_for MOST: how long something may take, with IMGMOUNT_TEST_DEADLINE (seconds since the
# epoch) as the end of all.
seconds_for() {
  local left=$((${IMGMOUNT_TEST_DEADLINE:-$(($(date +%s) + $1))} - $(date +%s)))
  ((left < $1)) || left=$1
  echo $((left > 5 ? left : 5))
}

# junit_names LOG ELEMENT: of the test cases that have it.
junit_names() {
  grep -oE "<testcase name=\"[^\"]*\"[^>]*>[[:space:]]*<$2" "$1" | cut -d'"' -f2 | tr '\n' ' '
}

# run_meson_tests BUILD [ARG...]: each subtest counts.
run_meson_tests() {
  local build=$1 log=$1/meson-logs/testlog.junit.xml status=0
  shift
  rm -f "$log"
  # A busy machine, and sanitizers, take their time.
  timeout --kill-after=30 "$(seconds_for 1500)" \
    meson test -C "$build" --print-errorlogs --timeout-multiplier 5 "$@" || status=1
  local all bad not
  all=$(grep -o '<testcase ' "$log" 2>/dev/null | wc -l)
  bad=$(grep -oE '<(failure|error)[ />]' "$log" 2>/dev/null | wc -l)
  not=$(grep -o '<skipped' "$log" 2>/dev/null | wc -l)
  # A runner that failed without saying where is a failure all the same.
  ((status == 0 || bad > 0)) || bad=1 all=$((all + 1))
  if ((bad)); then
    remarks+=("failed: $bad in $build: $(junit_names "$log" '(failure|error)')")
    local line
    while IFS= read -r line; do details+=("failed| $line"); done < <(
      grep -E -B3 -A12 '^not ok|^Bail out|ERROR: |WARNING: ThreadSanitizer|runtime error:' "$build/meson-logs/testlog.txt" | head -80)
  fi
  ((not == 0)) || remarks+=("skipped: $not in $build: $(junit_names "$log" skipped)")
  add_counts $((all - bad - not)) "$bad" "$not"
}

# All of tests/bats; those that take longest begin first.
bats_files=(tests/bats/{fsx,qemu-nbd,qcow2-write,faults,hostile,nbd-clients,evidence}.bats)
for file in tests/bats/*.bats; do
  [[ " ${bats_files[*]} " == *" $file "* ]] || bats_files+=("$file")
done
unset file

# say_what_hangs PLACE: who waits for what, as TAP's remarks; then takes what is mounted in
# PLACE away by force, so that those who wait for it go on.
say_what_hangs() {
  local pid mountpoint
  ps -N --ppid 2 -o pid=,stat=,wchan:30=,args= | cut -c1-150 | sed 's/^/# /'
  for pid in $(ps -eo pid=,stat= | awk '$2 ~ /^D/ { print $1 }'); do
    sed "s/^/# $pid: /" "/proc/$pid/stack" 2>/dev/null
  done
  while read -r _ mountpoint _; do
    [[ $mountpoint != "$1"/* ]] || umount -f -l "$mountpoint"
  done <<<"$(tac /proc/mounts)"
}

# bats_limit: so many seconds are ten times what a file should take, the long suite's included.
bats_limit() {
  echo $(((1200 + 10 * ${IMGMOUNT_TEST_SECONDS:-0}) * ${IMGMOUNT_TEST_CLIENTS:-1}))
}

# bats_file FILE FOLDER: runs one, and prints it in one piece.
bats_file() {
  local log=$2/${1##*/} place=$2/$$ started=$SECONDS status
  timeout --kill-after=30 "$(seconds_for "$(bats_limit)")" bats --tempdir "$place" --tap "$1" >"$log" 2>&1
  status=$?
  if ((status == 124 || status == 137)); then
    {
      printf '\nnot ok 0 %s: not over after %d s\n' "$1" $((SECONDS - started))
      say_what_hangs "$place"
    } >>"$log"
  fi
  echo $status >"$log.status"
  {
    flock 9
    printf '# %s (%d s)\n' "$1" $((SECONDS - started))
    cat "$log"
  } 9>"$2/lock"
}
export -f bats_file bats_limit seconds_for say_what_hangs

# In a mount namespace of their own, and shared: where a test makes a namespace below it, what
# other tests unmount is unmounted there too, and does not stay busy.
own_mounts=(unshare --mount --propagation shared)
"${own_mounts[@]}" true 2>/dev/null || own_mounts=(env)

# run_bats FILE...: prints TAP, one more file at a time than there are processors, since tests
# wait a good deal; a file that bats cannot run is a failure.
run_bats() {
  local logs log bad not good
  # Short: sockets are made in it.
  logs=$(mktemp -d /tmp/im.XXXX)
  printf '%s\0' "$@" | "${own_mounts[@]}" xargs -0 -P $(($(nproc) + 1)) -I FILE bash -c 'bats_file "$@"' _ FILE "$logs"
  for log in "$logs"/*.bats; do
    [[ -e $log ]] || continue
    bad=$(grep -cE '^not ok ' "$log")
    not=$(grep -cE '^ok .*# skip' "$log")
    good=$(($(grep -cE '^ok ' "$log") - not))
    [[ $(<"$log.status") == 0 ]] || ((bad > 0)) || bad=1
    add_counts "$good" "$bad" "$not"
    add_remarks "$log"
  done
  rm -rf "$logs"
}

# What was skipped, what failed and what it said, and the closing line; the status is whether
# nothing failed.
print_counts() {
  ((${#remarks[@]} == 0)) || { echo; printf '%s\n' "${remarks[@]}" | sort -s -r -t: -k1,1; }
  ((${#details[@]} == 0)) || printf '%s\n' "${details[@]}"
  printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
  ((failed == 0))
}
