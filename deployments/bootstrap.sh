#!/usr/bin/env bash
# Makes the virtual environment in $1 and installs what requirements.txt pins, and this project. `make setup` runs it.
# Needs Python 3.11, 3.12 or 3.13 (or the one that PYTHON names) and a package index.
set -euo pipefail
venv=$1

say() { echo "setup: $*"; }
fail() { printf '%s\n' "error: $1" "${@:2}" >&2; exit 1; }

find_python() {
  local name
  # A name may be there and not work, such as a shim of a version manager.
  for name in ${PYTHON:-python3.11 python3.12 python3.13 python3 python}; do
    "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && { echo "$name"; return; }
  done
  local problem="none was found"
  [ -z "${PYTHON:-}" ] || problem="$PYTHON does not run as one"
  fail "Python 3.11, 3.12 or 3.13 is needed and $problem." \
    "  Debian, Ubuntu: apt-get install python3 python3-venv     Fedora: dnf install python3.12" \
    "  macOS: brew install python@3.12                          or name it: make setup PYTHON=/path/to/python3.11"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif [ -t 0 ]; then sudo "$@"
  else sudo -n "$@"
  fi
}

# Debian leaves the part of `venv` that brings pip to a package of its own.
install_venv_module() {
  command -v apt-get >/dev/null || return 0
  local package="python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
  say "this Python cannot make environments with pip: installing $package"
  { as_root apt-get update -qq && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package"; } \
    >/dev/null || say "could not install $package"
}

# Each way ends with a pip inside the environment, or it does not count.
make_venv() {
  rm -rf "$venv"
  "$python" -c 'import ensurepip, venv' 2>/dev/null || install_venv_module
  "$python" -m venv "$venv" >/dev/null 2>&1 && return
  rm -rf "$venv"
  "$python" -m virtualenv --quiet "$venv" >/dev/null 2>&1 && return
  "$python" -m venv --without-pip "$venv" >/dev/null 2>&1 \
    && "$python" -m pip --python "$venv/bin/python" install --quiet --disable-pip-version-check pip >/dev/null 2>&1 && return
  rm -rf "$venv"
  fail "$("$python" --version) could not make a virtual environment with pip." \
    "  Debian, Ubuntu: apt-get install python3-venv             others: python3 -m pip install virtualenv"
}

install() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input "$@"; }

python=$(find_python)
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  say "making $venv with $("$python" --version)"
  make_venv
fi
say "installing $(grep -c '^[a-zA-Z0-9]' requirements.txt) pinned packages (a minute or two the first time)"
# The file names every package with its hash, so nothing is left to resolve (and older pips resolve extras wrongly).
install --no-deps --require-hashes -r requirements.txt
say "installing the project itself"
# setuptools warns that folders of the working directory come first on the path, which is what is wanted here.
PYTHONWARNINGS=ignore install --no-deps --no-build-isolation -e .
say "done"
