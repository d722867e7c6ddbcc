# What every verb uses: words to the user, logged commands, root's rights.

LOGS="$ROOT/build/log"

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
  BOLD=$'\e[1m' RED=$'\e[31m' GREEN=$'\e[32m' PLAIN=$'\e[0m'
else
  BOLD='' RED='' GREEN='' PLAIN=''
fi

say() { printf '%s==> %s%s\n' "$BOLD" "$*" "$PLAIN"; }
good() { printf '%s==> %s%s\n' "$GREEN" "$*" "$PLAIN"; }
fail() { printf '%serror: %s%s\n' "$RED" "$*" "$PLAIN" >&2; }

# run_logged LABEL LOG COMMAND…: output goes to build/log/LOG.log; a line now and then says that it
# still runs; on failure the end of the log is shown.
run_logged() {
  local label=$1 log="$LOGS/$2.log" began=$SECONDS every=15 code=0 last=0 child
  shift 2
  mkdir -p "$LOGS"
  printf '    %s … (log: %s)\n' "$label" "${log#"$ROOT"/}"
  "$@" >"$log" 2>&1 </dev/null &
  child=$!
  trap 'kill "$child" 2>/dev/null; exit 130' INT TERM
  while kill -0 "$child" 2>/dev/null; do
    sleep 0.2
    if ((SECONDS - began >= last + every)); then
      last=$((SECONDS - began))
      printf '    %s: %s s: %s\n' "$label" "$last" "$(tail -n1 "$log" | tr -d '\r' | cut -c1-90)"
    fi
  done
  wait "$child" || code=$?
  trap - INT TERM
  if ((code != 0)); then
    tail -n 60 "$log" >&2
    fail "$label failed with code $code; all of it: ${log#"$ROOT"/}"
  fi
  return "$code"
}

# root COMMAND…: as root, by sudo where needed.
root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# Asks for sudo's password now, in the foreground; explains itself when there is no way to root.
need_root() {
  [ "$(id -u)" -eq 0 ] && return 0
  if command -v sudo >/dev/null && sudo -v; then return 0; fi
  fail "root or sudo is needed to: $*"
  exit 77
}

# The distribution's Python: what python3-venv belongs to.
system_python() {
  if [ -x /usr/bin/python3 ]; then echo /usr/bin/python3; else command -v python3; fi
}

VENV="${LBD_VENV:-$ROOT/.venv}"

# The virtual environment's Python if there is one, else the distribution's.
python() {
  if [ -x "$VENV/bin/python3" ]; then echo "$VENV/bin/python3"; else system_python; fi
}

# How many compilers at once: one per core, and 1.5 GB of memory for each.
jobs_count() {
  local cores memory
  [ -n "${LBD_JOBS:-}" ] && echo "$LBD_JOBS" && return
  cores=$(nproc)
  memory=$(awk '/MemAvailable/ {print int($2 / 1500000)}' /proc/meminfo)
  ((memory < 1)) && memory=1
  echo $((cores < memory ? cores : memory))
}
