# Sourced by ./run and ./test, from the root of the checkout: installs what is missing, and
# configures and builds a preset. Everything here does nothing, quickly, when there is nothing
# to do.

# One line a package of Debian 12: name, then a program or a header that it brings. A machine
# where the program or header is there needs no package, so other distributions work too.
braid_packages_build="
g++               program g++
cmake             program cmake
ninja-build       program ninja
python3           program python3
libcli11-dev      header  CLI/CLI.hpp
libfmt-dev        header  fmt/format.h
libspdlog-dev     header  spdlog/spdlog.h
nlohmann-json3-dev header nlohmann/json.hpp
libdnnl-dev       header  dnnl.hpp
libssl-dev        header  openssl/evp.h
libgtest-dev      header  gtest/gtest.h
libbenchmark-dev  header  benchmark/benchmark.h
"
# Wished for, not needed: a faster rebuild; the benchmark beside MPI.
braid_packages_wished="
ccache            program ccache
libopenmpi-dev    program mpicxx
openmpi-bin       program mpirun
"
braid_packages_check="
clang-format      program clang-format
"

braid_say() { printf '%s\n' "$*"; }

braid_has() {  # braid_has program|header NAME
  case $1 in
    program) command -v "$2" >/dev/null 2>&1 ;;
    header)
      local folder
      for folder in /usr/include /usr/local/include ${CPATH:+${CPATH//:/ }}; do
        [ -e "$folder/$2" ] && return 0
      done
      return 1
      ;;
  esac
}

# Prints the packages of a table (as above) that are not there, one a line.
braid_missing() {
  local package kind name
  while read -r package kind name; do
    [ -z "$package" ] || braid_has "$kind" "$name" || printf '%s\n' "$package"
  done <<<"$1"
}

# braid_install NEEDED WISHED: two tables. Ends the script when something needed is missing and
# may not be installed.
braid_install() {
  local needed wished
  mapfile -t needed < <(braid_missing "$1")
  mapfile -t wished < <(braid_missing "$2")
  local all=("${needed[@]}" "${wished[@]}")
  [ ${#all[@]} -gt 0 ] || return 0
  local by_hand="apt-get update && apt-get install -y --no-install-recommends ${all[*]}"
  local apt=()
  if command -v apt-get >/dev/null 2>&1; then
    if [ "$(id -u)" -eq 0 ]; then
      apt=(env DEBIAN_FRONTEND=noninteractive apt-get)
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
      apt=(sudo -n env DEBIAN_FRONTEND=noninteractive apt-get)
    fi
  fi
  if [ ${#apt[@]} -gt 0 ]; then
    braid_say "installing: ${all[*]}"
    if "${apt[@]}" update -q && "${apt[@]}" install -q -y --no-install-recommends "${all[@]}"; then
      return 0
    fi
    [ ${#needed[@]} -gt 0 ] || { braid_say "not installed, going on without: ${wished[*]}"; return 0; }
    braid_say "could not install what is missing; after fixing what apt-get says above, run:" >&2
  else
    if [ ${#needed[@]} -eq 0 ]; then
      braid_say "going on without (wished for, not needed): ${wished[*]}"
      return 0
    fi
    braid_say "missing: ${needed[*]}. Installing needs root on a Debian 12 machine; run:" >&2
  fi
  braid_say "  $by_hand" >&2
  exit 1
}

# braid_configure PRESET: once, and again when the presets or the set of folders have changed;
# CMake itself sees to changes of its own files at the next build.
braid_configure() {
  local stamp=build/$1/.configured log=build/$1/configure.log state
  state=$(cat CMakePresets.json; find . -path ./build -prune -o -name CMakeLists.txt -print | sort)
  if [ -e "build/$1/build.ninja" ] && [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$state" ]; then
    return 0
  fi
  mkdir -p "build/$1"
  braid_say "configuring build/$1"
  if cmake --preset "$1" >"$log" 2>&1; then
    printf '%s\n' "$state" >"$stamp"
  else
    cat "$log" >&2
    return 1
  fi
}

# braid_build PRESET JOBS [TARGET...]: on a terminal ninja's own one-line progress, else every
# 25th step, and all that is not a step.
braid_build() {
  local preset=$1 jobs=$2
  shift 2
  local command=(cmake --build --preset "$preset" --parallel "$jobs")
  [ $# -eq 0 ] || command+=(--target "$@")
  if [ -t 1 ]; then
    "${command[@]}"
  else
    "${command[@]}" 2>&1 | awk '/^\[0\/[0-9]+\] Re-checking/ { next }
      !/^\[[0-9]+\/[0-9]+\] / || ++n % 25 == 1 { print; fflush() }'
    return "${PIPESTATUS[0]}"
  fi
}
