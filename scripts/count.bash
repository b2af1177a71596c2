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
  meson test -C "$build" --print-errorlogs "$@" || status=1
  local all bad not
  all=$(grep -o '<testcase ' "$log" 2>/dev/null | wc -l)
  bad=$(grep -oE '<(failure|error)[ />]' "$log" 2>/dev/null | wc -l)
  not=$(grep -o '<skipped' "$log" 2>/dev/null | wc -l)
  # A runner that failed without saying where is a failure all the same.
  ((status == 0 || bad > 0)) || bad=1 all=$((all + 1))
  add_counts $((all - bad - not)) "$bad" "$not"
}

# run_bats FILE...: prints TAP; a file that bats cannot run is a failure.
run_bats() {
  local file log status
  log=$(mktemp)
  for file in "$@"; do
    [[ -e $file ]] || continue
    printf '# %s\n' "$file"
    status=0
    bats --tap "$file" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    local bad not good
    bad=$(grep -cE '^not ok ' "$log")
    not=$(grep -cE '^ok .*# skip' "$log")
    good=$(($(grep -cE '^ok ' "$log") - not))
    ((status == 0 || bad > 0)) || bad=1
    add_counts "$good" "$bad" "$not"
  done
  rm -f "$log"
}

# The closing line; the status is whether nothing failed.
print_counts() {
  printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
  ((failed == 0))
}
