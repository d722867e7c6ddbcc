# Configure and build a preset of CMakePresets.json into build/PRESET.

# A clone elsewhere finds what this one has compiled.
export CCACHE_BASEDIR="$ROOT" CCACHE_NOHASHDIR=1

# Configures; quick when nothing changed.
configure() {
  local preset=$1 log="$LOGS/configure-$1.log"
  mkdir -p "$LOGS"
  if ! cmake --preset "$preset" >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    fail "cannot configure the $preset build"
    return 1
  fi
}

# build PRESET [TARGET…]
build() {
  local preset=$1
  shift
  configure "$preset" || return 1
  say "building $preset${*:+: $*} with $(jobs_count) compilers at once"
  ninja -C "build/$preset" -j "$(jobs_count)" "$@"
}

# targets PRESET REGEX: names of the targets that match, after configure.
targets() {
  ninja -C "build/$1" -t targets all | sed -nE "s/^($2): phony\$/\\1/p" | sort -u
}
