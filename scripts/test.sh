# ./dev test, lint and fuzz. A step is a function step_NAME; it reports its tests by `count` and the
# command that repeats a failure by `replay`, through files beside its log.

STEPS_SMOKE="style build unit schema e2e systemd"
STEPS_DEFAULT="style build unit schema e2e asan tsan systemd"
STEPS_LONG="style build unit schema seeds e2e asan tsan systemd fuzz"

PROFILE=default
ONLY_TEXT=''

verb_test() {
  local steps='' step ran=''
  while (($#)); do
    case "$1" in
      --smoke) PROFILE=smoke ;;
      --long) PROFILE=long ;;
      -k) ONLY_TEXT=${2:?-k needs a text} && shift ;;
      --only) steps="$steps ${2:?--only needs a step}" && shift ;;
      *)
        fail "./dev test knows no '$1'; see ./dev help"
        exit 64
        ;;
    esac
    shift
  done
  if [ -z "$steps" ]; then
    case "$PROFILE" in
      smoke) steps=$STEPS_SMOKE ;;
      long) steps=$STEPS_LONG ;;
      *) steps=$STEPS_DEFAULT ;;
    esac
    [ -n "$ONLY_TEXT" ] && steps="build unit e2e"
  fi
  need_packages build test
  case " $steps " in *" fuzz "*) need_packages fuzz ;; esac
  if [ "$PROFILE" = long ] && ! command -v go >/dev/null; then need_packages conformance; fi
  if [ "$PROFILE" = long ]; then need_packages browser; fi
  need_venv
  mkdir -p "$LOGS"
  rm -f "$LOGS"/test-*
  export PROFILE ONLY_TEXT PYTHONUNBUFFERED=1
  for step in $steps; do
    if ! declare -F "step_$step" >/dev/null; then
      fail "there is no step '$step'; there are: $STEPS_LONG"
      exit 64
    fi
    ran="$ran $step"
    run_step "$step" && continue
    [ "$step" = build ] && break # nothing to test
  done
  summary "$steps" "$ran"
}

# Counts what passed and failed within the current step.
count() { echo "$1 $2" >>"$LOGS/test-$STEP.count"; }
# Names the command that runs a failed test again.
replay() { echo "$*" >>"$LOGS/test-$STEP.replay"; }
# check COMMAND…: one test made of one command, which is its own replay.
check() {
  if "$@"; then count 1 0; else count 0 1 && replay "$*" && return 1; fi
}

run_step() {
  local began=$SECONDS code=0
  export STEP=$1
  say "test: $STEP"
  { "step_$STEP" 2>&1 </dev/null; } | tee "$LOGS/test-$STEP.log" || code=1
  if ((code != 0)) && [ "$(sum_of "$STEP" 2)" = 0 ]; then
    count 0 1
    replay "./dev test --only $STEP"
  fi
  echo "$((SECONDS - began)) $code" >"$LOGS/test-$STEP.result"
  return "$code"
}

# sum_of STEP COLUMN: tests that passed (1) or failed (2).
sum_of() {
  awk -v c="$2" '{n += $c} END {print n + 0}' "$LOGS/test-$1.count" 2>/dev/null || echo 0
}

# The lines of a step that say what failed and why: a log may keep only its end.
failures_of() {
  [ -e "$LOGS/test-$1.replay" ] || return 0
  local of_python='^FAIL |^  (test_[a-z0-9_]+\.py:[0-9]+:|did not end)'
  local of_others='Failure$|^\[  FAILED|\*\*\*Failed|ERROR: '
  grep -hE "$of_python|$of_others" "$LOGS/test-$1.log" | cut -c-300 | head -40 |
    sed 's/^/  /' || true
}

summary() {
  local step seconds code passed=0 failed=0 bad=0
  printf '\n%-10s %8s %8s %8s  %s\n' step seconds passed failed ''
  for step in $1; do
    if [ ! -e "$LOGS/test-$step.result" ]; then
      printf '%-10s %8s %8s %8s  not run\n' "$step" - - -
      bad=1
      continue
    fi
    read -r seconds code <"$LOGS/test-$step.result"
    printf '%-10s %8s %8s %8s  %s\n' "$step" "$seconds" "$(sum_of "$step" 1)" \
      "$(sum_of "$step" 2)" "$( ((code == 0)) && echo ok || echo FAILED)"
    passed=$((passed + $(sum_of "$step" 1)))
    failed=$((failed + $(sum_of "$step" 2)))
    ((code == 0)) || bad=1
  done
  if compgen -G "$LOGS/test-*.replay" >/dev/null; then
    printf '\nwhat failed:\n'
    for step in $1; do failures_of "$step"; done
    printf '\nto run what failed again:\n'
    cat "$LOGS"/test-*.replay | sed 's/^/  /'
  fi
  printf '\n%s passed, %s failed\n' "$passed" "$failed"
  return "$bad"
}

# --- steps ---

# Style of the whole tree, in seconds: no build is needed for it.
step_style() {
  local code=0
  build_tidy_test || return 1
  run_gtest build/tidy_test || code=1
  check_format || code=1
  return "$code"
}

build_tidy_test() {
  local binary=build/tidy_test
  mkdir -p build
  [ -e "$binary" ] && [ -z "$(find tests/tidy -newer "$binary")" ] && return 0
  g++ -std=c++20 -O1 -Wall -Wextra -I. -DLBD_SOURCE_DIR="\"$ROOT\"" tests/tidy/*.cc -o "$binary" \
    -lgtest -lgtest_main -pthread
}

sources() {
  find . \( -name build -o -name .venv -o -name .deps -o -name .git \) -prune -o \
    \( -name '*.cc' -o -name '*.h' \) -print
}

# Formatting is defined by clang-format 14, Debian 12's; other versions differ in details.
check_format() {
  local tool=clang-format
  command -v clang-format-14 >/dev/null && tool=clang-format-14
  if ! "$tool" --version | grep 'version 14\.' >/dev/null; then
    echo "format not checked: this is not clang-format 14 but $("$tool" --version)"
    return 0
  fi
  if sources | xargs "$tool" --dry-run -Werror; then
    echo "format: all files are as clang-format 14 writes them"
    count 1 0
  else
    count 0 1
    replay "clang-format -i \$(git ls-files '*.cc' '*.h')"
    return 1
  fi
}

run_gtest() {
  local code=0 log="$LOGS/test-$STEP-gtest.txt"
  "$@" | tee "$log" || code=$?
  count "$(grep -c '^\[       OK' "$log")" "$(grep -c '^\[  FAILED  \] .* ([0-9]* ms)' "$log")"
  ((code == 0)) || replay "$@"
  return "$code"
}

step_build() { build dev; }

step_unit() { run_ctest dev; }

# run_ctest PRESET [CTEST ARGUMENTS…]
run_ctest() {
  local preset=$1 log="$LOGS/test-$STEP-ctest.txt" code=0 total failed skipped name
  local list="build/$preset/Testing/Temporary/LastTestsFailed.log"
  shift
  rm -f "$list"
  [ -n "$ONLY_TEXT" ] && set -- "$@" -R "$(sed 's/[^[:alnum:]_ ]/\\&/g' <<<"$ONLY_TEXT")"
  ctest --test-dir "build/$preset" -j "$(jobs_count)" --output-on-failure "$@" | tee "$log" ||
    code=1
  read -r failed total < <(sed -nE 's/.*, ([0-9]+) tests failed out of ([0-9]+).*/\1 \2/p' "$log")
  skipped=$(grep -c '\*\*\*Skipped' "$log")
  count "$((${total:-0} - ${failed:-0} - skipped))" "${failed:-0}"
  if [ -e "$list" ]; then
    while IFS=: read -r _ name; do
      replay "ctest --test-dir build/$preset --output-on-failure -R '^$name\$'"
    done <"$list"
  fi
  return "$code"
}

step_schema() {
  local code=0 log="$LOGS/test-schema.txt"
  "$(python)" tests/e2e/schema_check.py "$ROOT" | tee "$log" || code=1
  count "$(sed -nE '$s/^([0-9]+) passed, .*/\1/p' "$log")" \
    "$(sed -nE '$s/.*, ([0-9]+) failed$/\1/p' "$log")"
  check "$(python)" scripts/config_reference.py --check || code=1
  return "$code"
}

step_e2e() { run_e2e dev "$PROFILE" "$ONLY_TEXT"; }

# run_e2e PRESET PROFILE [TEXT]: the end-to-end tests whose titles contain TEXT.
run_e2e() {
  local preset=$1 profile=$2 text=${3:-} log code=0 title
  local binary="build/$preset/lbd/lbd" arguments=(--profile "$2")
  local jobs=${LBD_E2E_JOBS:-3} # they wait more than they work
  log=$(mktemp "$LOGS/test-$STEP-e2e-XXXXXX.txt")
  [ -n "$text" ] && arguments+=(-k "$text")
  if [ -z "$("$(python)" tests/e2e/run.py --list "${arguments[@]}")" ]; then
    echo "no end-to-end test of profile $profile has '$text' in its name"
    [ -n "$ONLY_TEXT" ] && return 0
    return 1
  fi
  LBD_BIN="$ROOT/$binary" "$(python)" tests/e2e/run.py --jobs "$jobs" "${arguments[@]}" |
    tee "$log" || code=1
  count "$(grep -c '^ok ' "$log")" "$(grep -c '^FAIL ' "$log")"
  while read -r title; do
    replay "LBD_BIN=$binary${LBD_SLOW:+ LBD_SLOW=$LBD_SLOW} python3 tests/e2e/run.py" \
      "--profile $profile -k '$title'"
  done < <(sed -nE 's/^FAIL (.*) [0-9.]+$/\1/p' "$log")
  return "$code"
}

# The hot half of the end-to-end tests; under a sanitizer the rest would take too long. The rig
# reads what each daemon wrote to stderr, so a sanitizer's report fails the test it happened in.
E2E_UNDER_SANITIZERS=(
  "proxy:" "health:" "logs:" "reloads" "a reload" "bad reload" "http2" "websocket:" "rules:"
  "tls" "stickiness:" "compression:" "access_log" "proxy_protocol:" "unix_targets:" "names:"
  "mirror:"
)

run_e2e_sanitized() {
  local preset=$1 text code=0
  export LBD_SLOW=3
  for text in "${E2E_UNDER_SANITIZERS[@]}"; do run_e2e "$preset" smoke "$text" || code=1; done
  return "$code"
}

step_asan() {
  local code=0 leaks=1
  if ! leaks_are_seen; then
    echo "LeakSanitizer cannot run here (a debugger or container forbids ptrace): leaks not checked"
    leaks=0
  fi
  export ASAN_OPTIONS="detect_leaks=$leaks:detect_stack_use_after_return=1:strict_string_checks=1"
  export UBSAN_OPTIONS="print_stacktrace=1"
  configure asan || return 1
  # shellcheck disable=SC2046 # one word per target
  build asan lbd $(targets asan 'unit_[a-z_]+|fuzz_[a-z_0-9]+') || return 1
  run_ctest asan -E 'NOT_BUILT$|^Tidy' || code=1
  run_e2e_sanitized asan || code=1
  return "$code"
}

# Whether LeakSanitizer finds a leak on this machine.
leaks_are_seen() {
  local probe=build/probe-asan
  mkdir -p build
  echo 'int main() { *new int = 1; return 0; }' |
    g++ -x c++ -O0 -fsanitize=address - -o "$probe" || return 1
  [[ "$("$probe" 2>&1)" == *"detected memory leaks"* ]]
}

# ThreadSanitizer of g++ 12 cannot map its shadow where kernels randomise addresses with more than
# 28 bits: the whole step, the discovery of tests while building included, runs without that.
step_tsan() {
  local plain=(setarch "$(uname -m)" -R)
  if [ -z "${LBD_TSAN_INNER:-}" ] && "${plain[@]}" true 2>/dev/null; then
    LBD_TSAN_INNER=1 "${plain[@]}" "$ROOT/dev" _step tsan
    return
  fi
  local code=0
  export TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1"
  configure tsan || return 1
  # shellcheck disable=SC2046 # one word per target
  build tsan lbd $(targets tsan 'unit_(base|net|data_plane|control)') || return 1
  run_ctest tsan -E 'NOT_BUILT$|^Tidy|^fuzz_' || code=1
  run_e2e_sanitized tsan || code=1
  return "$code"
}

step_systemd() {
  local code=0 log="$LOGS/test-systemd.txt"
  bash tests/systemd/verify.sh build/dev/lbd/lbd | tee "$log" || code=1
  count "$(grep -c '^ok ' "$log")" "$(grep -c '^FAIL ' "$log")"
  ((code == 0)) || replay "bash tests/systemd/verify.sh build/dev/lbd/lbd"
  if [ "$PROFILE" = long ] && [ -e tests/systemd/boot.py ]; then
    run_boot || code=1
  fi
  return "$code"
}

# A real systemd starts, reloads, kills and stops the unit; needs root for its namespaces.
run_boot() {
  local code=0 log="$LOGS/test-systemd-boot.txt"
  if [ "$(id -u)" -ne 0 ]; then
    echo "systemd: the boot test needs root and was left out"
    return 0
  fi
  need_packages boot
  "$(system_python)" tests/systemd/boot.py build/dev/lbd/lbd | tee "$log" || code=1
  count "$(grep -c '^ok ' "$log")" "$(grep -c '^FAIL ' "$log")"
  ((code == 0)) || replay "python3 tests/systemd/boot.py build/dev/lbd/lbd"
  return "$code"
}

# Five times the schedules of the unit step; each failure names its seed.
step_seeds() {
  build dev sim || return 1
  LBD_SIM_SEEDS=50000 run_gtest build/dev/tests/sim --gtest_filter='Sim.NoSchedule*'
}

step_fuzz() {
  local name code=0
  configure fuzz || return 1
  for name in $(targets fuzz 'fuzz_[a-z_0-9]+'); do
    check "$ROOT/dev" fuzz "${name#fuzz_}" 60 || code=1
  done
  return "$code"
}

# --- lint and fuzz ---

verb_lint() {
  local code=0 files
  need_packages build test lint
  mkdir -p "$LOGS"
  rm -f "$LOGS"/test-lint*
  export STEP=lint
  step_style || code=1
  configure dev
  files=$(lint_files "${1:-}")
  if [ -n "$files" ]; then
    say "clang-tidy: $(wc -w <<<"$files") files"
    # shellcheck disable=SC2086 # one word per file; no name here has a space
    run-clang-tidy -quiet -p build/dev -j "$(jobs_count)" \
      -extra-arg=-Wno-unknown-warning-option $files || code=1
  fi
  ((code == 0)) && good "lint: clean" || fail "lint: see above"
  return "$code"
}

# What clang-tidy reads: every .cc with --all, else those that differ from main.
lint_files() {
  local base
  if [ "$1" != --all ] && base=$(git merge-base HEAD main 2>/dev/null); then
    { git diff --name-only --diff-filter=d "$base" -- '*.cc' && git ls-files -o \
      --exclude-standard -- '*.cc'; } | sort -u
  else
    sources | grep '\.cc$' | sed 's,^\./,,' | grep -v '^fuzz/.*_fuzz\.cc$'
  fi
}

verb_fuzz() {
  local wanted=${1:-} seconds=${2:-60} name binary corpus wanted_seen=''
  need_packages build fuzz
  configure fuzz
  for name in $(targets fuzz 'fuzz_[a-z_0-9]+'); do
    name=${name#fuzz_}
    [ -z "$wanted" ] || [ "$name" = "$wanted" ] || continue
    binary="build/fuzz/fuzz/fuzz_$name" corpus="build/fuzz/corpus/$name"
    build fuzz "fuzz_$name"
    mkdir -p "$corpus" build/fuzz/crashes
    wanted_seen=yes
    say "fuzzing $name for $seconds s; what it finds is kept in $corpus"
    if "$binary" -max_total_time="$seconds" -print_final_stats=1 -timeout=10 \
      -artifact_prefix="build/fuzz/crashes/$name-" "$corpus" "fuzz/corpus/$name"; then
      [ "$name" = canary ] || continue
      fail "the canary, which fails on purpose, was not caught: the rig is broken"
      return 1
    fi
    [ "$name" != canary ] || continue
    fail "fuzzer $name failed; replay: $binary build/fuzz/crashes/$name-…"
    return 1
  done
  if [ -z "$wanted_seen" ]; then
    fail "there is no fuzzer '$wanted'; there are: $(targets fuzz 'fuzz_[a-z_0-9]+' | tr '\n' ' ')"
    return 64
  fi
}
