# Debian packages and the Python environment: installed only when absent, so that with everything
# in place no verb needs root or the network.

# packages_of GROUP: one package a line; a|b means any of them.
packages_of() {
  local debian=13
  [ "$(. /etc/os-release && echo "${VERSION_ID:-}")" = 12 ] && debian=12
  case "$1" in
    build)
      echo "g++ cmake ninja-build ccache pkg-config git ca-certificates"
      echo "libssl-dev libyaml-cpp-dev prometheus-cpp-dev libgtest-dev libgmock-dev"
      echo "libcurl4-openssl-dev|libcurl4-gnutls-dev libpugixml-dev libsqlite3-dev libcli11-dev"
      echo "libfmt-dev libnghttp2-dev libc-ares-dev libre2-dev libxxhash-dev libbenchmark-dev"
      echo "zlib1g-dev libbrotli-dev libzstd-dev"
      if [ "$debian" = 12 ]; then
        echo "libboost1.81-dev libboost-json1.81-dev libboost-url1.81-dev node-llhttp"
      else
        echo "libboost-dev libboost-json-dev libboost-url-dev libllhttp-dev"
      fi
      ;;
    demo) echo "python3 procps" ;;
    test)
      echo "python3 python3-venv procps iproute2 util-linux curl openssl"
      echo "prometheus systemd clang-format nghttp2-client"
      ;;
    lint) echo "clang clang-tidy clang-format python3" ;;
    fuzz)
      echo "clang llvm"
      if [ "$debian" = 12 ]; then echo "libclang-rt-14-dev"; else echo "libclang-rt-dev"; fi
      ;;
    bench) echo "wrk nghttp2-client curl nginx-light|nginx|nginx-core|nginx-full haproxy" ;;
    conformance) echo "golang-go" ;;
    browser) echo "chromium" ;;
    boot) echo "debootstrap util-linux iproute2" ;;
    package) echo "dpkg-dev file" ;;
  esac | tr ' ' '\n' | sort -u
}

installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# missing GROUP…: the packages to install, the first known one of each a|b.
missing() {
  local choice name found
  for choice in $(for group in "$@"; do packages_of "$group"; done | sort -u); do
    found=''
    for name in ${choice//|/ }; do
      installed "$name" && found=yes && break
    done
    [ -n "$found" ] || echo "$choice"
  done
}

# The first package of a|b that apt can install, else the first.
candidate_of() {
  local name
  for name in ${1//|/ }; do
    if apt-cache policy "$name" 2>/dev/null | grep 'Candidate: [0-9]' >/dev/null; then
      echo "$name"
      return
    fi
  done
  echo "${1%%|*}"
}

need_packages() {
  local choices names=() choice
  if ! command -v dpkg-query >/dev/null; then
    say "this is no Debian: ./dev installs nothing; see scripts/packages.sh for what it takes"
    return 0
  fi
  choices=$(missing "$@")
  [ -n "$choices" ] || return 0
  say "these packages are missing and will be installed by apt: ${choices//$'\n'/ }"
  need_root "install packages"
  run_logged "apt-get update" apt-update root apt-get update
  for choice in $choices; do names+=("$(candidate_of "$choice")"); done
  install_quietly "${names[@]}"
}

POLICY=/usr/sbin/policy-rc.d
POLICY_SAVED=/usr/sbin/policy-rc.d.saved-by-lbd-dev

# While packages are installed, a policy-rc.d keeps nginx, HAProxy and Prometheus from starting on
# the user's machine; for all other services the policy that was there decides.
hold_services() {
  restore_policy # of a run that was killed
  if [ -e "$POLICY" ] || [ -L "$POLICY" ]; then root mv "$POLICY" "$POLICY_SAVED"; fi
  root tee "$POLICY" >/dev/null <<TEXT
#!/bin/sh
# lbd ./dev setup: temporary, removed when it ends
case "\$1" in nginx* | haproxy* | prometheus*) exit 101 ;; esac
[ -x $POLICY_SAVED ] && exec $POLICY_SAVED "\$@"
exit 0
TEXT
  root chmod 755 "$POLICY"
}

restore_policy() {
  if [ -f "$POLICY" ] && grep -q 'lbd ./dev setup' "$POLICY"; then root rm -f "$POLICY"; fi
  if [ -e "$POLICY_SAVED" ] || [ -L "$POLICY_SAVED" ]; then root mv "$POLICY_SAVED" "$POLICY"; fi
}

install_quietly() {
  local code=0 fresh=() name
  for name in nginx haproxy prometheus; do
    command -v "$name" >/dev/null || [ -x "/usr/sbin/$name" ] || fresh+=("$name")
  done
  trap restore_policy EXIT
  hold_services
  run_logged "apt-get install ($# packages)" apt-install \
    root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" ||
    code=$?
  restore_policy
  trap - EXIT
  if [ -d /run/systemd/system ]; then
    for name in "${fresh[@]}"; do
      if systemctl cat "$name.service" >/dev/null 2>&1; then
        root systemctl disable --now "$name.service" >/dev/null 2>&1 || true
      fi
    done
  fi
  return "$code"
}

# moto, boto3 and the rest of tests/requirements.txt, in a virtual environment; made again when that
# file changes.
need_venv() {
  local stamp="$VENV/.requirements" wanted
  wanted=$(sha256sum <tests/requirements.txt)
  [ -x "$VENV/bin/python3" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return 0
  say "Python packages for the tests go into ${VENV#"$ROOT"/}"
  run_logged "python3 -m venv" venv "$(system_python)" -m venv --clear "$VENV"
  run_logged "pip install" pip "$VENV/bin/python3" -m pip install --disable-pip-version-check \
    --no-input -r tests/requirements.txt
  echo "$wanted" >"$stamp"
}
