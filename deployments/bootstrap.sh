#!/usr/bin/env bash
# Makes the virtual environment in $1 and installs what requirements.txt pins. Needs Python >= 3.11, nothing else.
set -euo pipefail
venv=$1

find_python() {
  local name
  for name in python3.13 python3.12 python3.11 python3; do
    command -v "$name" >/dev/null || continue
    "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && { echo "$name"; return; }
  done
  echo "error: Python 3.11, 3.12 or 3.13 is needed and none was found. Debian and Ubuntu: apt-get install python3 python3-venv" >&2
  exit 1
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

make_venv() {
  "$python" -m venv "$venv" 2>/dev/null && return
  rm -rf "$venv"
  echo "setup: this Python has no venv module with pip, trying to install it"
  local version
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  if command -v apt-get >/dev/null; then
    as_root apt-get update -qq && as_root apt-get install -y -qq "python$version-venv" || true
  fi
  "$python" -m venv "$venv" && return
  echo "error: could not make a virtual environment. Debian and Ubuntu: apt-get install python$version-venv" >&2
  exit 1
}

python=$(find_python)
if [ ! -x "$venv/bin/python" ]; then
  echo "setup: making $venv with $("$python" --version)"
  make_venv
fi
echo "setup: installing the pinned packages (the first time takes a minute or two)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
