# SPDX-License-Identifier: GPL-2.0-or-later
# Running tests and keeping count, over several runners; sourced by the other scripts.

passed=0 failed=0 skipped=0

# add_counts PASSED FAILED SKIPPED
add_counts() {
  passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

# run_meson_tests BUILD [ARG...]: each subtest counts.
run_meson_tests() {
  local build=$1 log=$1/meson-logs/testlog.junit.xml status=0
  shift
  rm -f "$log"
  # A busy machine, and sanitizers, take their time.
  meson test -C "$build" --print-errorlogs --timeout-multiplier 5 "$@" || status=1
  local all bad not
  all=$(grep -o '<testcase ' "$log" 2>/dev/null | wc -l)
  bad=$(grep -oE '<(failure|error)[ />]' "$log" 2>/dev/null | wc -l)
  not=$(grep -o '<skipped' "$log" 2>/dev/null | wc -l)
  # A runner that failed without saying where is a failure all the same.
  ((status == 0 || bad > 0)) || bad=1 all=$((all + 1))
  add_counts $((all - bad - not)) "$bad" "$not"
}

# bats_file FILE FOLDER: runs one, and prints it in one piece.
bats_file() {
  local log=$2/${1##*/}
  bats --tap "$1" >"$log" 2>&1
  echo $? >"$log.status"
  {
    flock 9
    printf '# %s\n' "$1"
    cat "$log"
  } 9>"$2/lock"
}
export -f bats_file

# run_bats FILE...: prints TAP, as many files at a time as there are processors; a file that
# bats cannot run is a failure.
run_bats() {
  local logs log bad not good
  logs=$(mktemp -d)
  printf '%s\0' "$@" | xargs -0 -P "$(nproc)" -I FILE bash -c 'bats_file "$@"' _ FILE "$logs"
  for log in "$logs"/*.bats; do
    [[ -e $log ]] || continue
    bad=$(grep -cE '^not ok ' "$log")
    not=$(grep -cE '^ok .*# skip' "$log")
    good=$(($(grep -cE '^ok ' "$log") - not))
    [[ $(<"$log.status") == 0 ]] || ((bad > 0)) || bad=1
    add_counts "$good" "$bad" "$not"
  done
  rm -rf "$logs"
}

# The closing line; the status is whether nothing failed.
print_counts() {
  printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
  ((failed == 0))
}
