#!/usr/bin/env bash
# The unit is one that systemd accepts without a word, and as closed as it promises.
#   verify.sh [LBD]   the binary that stands in for /usr/sbin/lbd while it is checked
set -u
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
binary="$(realpath "${1:-$root/build/dev/lbd/lbd}")"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
failed=0

verdict() { # CODE TITLE OUTPUT
  if [ "$1" -eq 0 ]; then
    echo "ok systemd: $2"
  else
    printf 'FAIL systemd: %s\n%s\n' "$2" "$3"
    failed=1
  fi
}

if [ ! -x "$binary" ]; then
  verdict 1 "there is a binary to check with" "$binary does not exist: ./dev build"
  exit 1
fi

# man: pages and users of this machine are none of the unit's business.
sed "s#/usr/sbin/lbd#$binary#" "$root/systemd/lbd.service" >"$folder/lbd.service"
said="$(systemd-analyze verify --man=no "$folder/lbd.service" 2>&1)"
code=$?
# A verdict about other units of this machine is not about ours.
ours="$(grep -F lbd <<<"$said")"
[ -z "$ours" ] || code=1
[ -n "$ours" ] || code=0
verdict "$code" "the unit verifies without a complaint" "$said"

mkdir -p "$folder/drop/lbd.service.d"
cp "$folder/lbd.service" "$folder/drop/"
cp "$root/systemd/process-provider.conf" "$folder/drop/lbd.service.d/"
said="$(systemd-analyze verify --man=no "$folder/drop/lbd.service" 2>&1 | grep -F lbd)"
[ -z "$said" ]
verdict $? "so it does with the drop-in of the process provider" "$said"

# A canary: were verify to accept anything, the first check would prove nothing.
{
  cat "$folder/lbd.service"
  echo "[Service]"
  echo "NoSuchDirective=yes"
} >"$folder/canary-lbd.service"
said="$(systemd-analyze verify --man=no "$folder/canary-lbd.service" 2>&1)"
grep -q NoSuchDirective <<<"$said"
verdict $? "a wrong directive would have been noticed" "$said"

said="$(systemd-analyze security --offline=true --threshold=20 "$root/systemd/lbd.service" 2>&1)"
verdict $? "exposure is at most 2.0 of 10" "$said"
tail -n 1 <<<"$said"

systemd-analyze security --offline=true --threshold=5 "$root/systemd/lbd.service" >/dev/null 2>&1
[ $? -ne 0 ]
verdict $? "the threshold can fail" "it passed at 0.5"

"$binary" check -c "$root/systemd/lbd.yaml" >"$folder/check" 2>&1
verdict $? "the packaged configuration checks" "$(cat "$folder/check")"

mkdir -p "$folder/etc"
said="$(systemd-sysusers --root="$folder" --inline "$(cat "$root/systemd/lbd.sysusers")" 2>&1)"
grep -q '^lbd:' "$folder/etc/passwd" 2>/dev/null
verdict $? "sysusers makes the user" "$said"
exit "$failed"
