#!/bin/sh
# Make the virtual environment with the pinned dependencies, or say what is missing.
set -eu
PYTHON="${PYTHON:-python3}"
VENV="${VENV:-.venv}"

command -v "$PYTHON" >/dev/null 2>&1 || {
    echo "No '$PYTHON' on this machine. Install Python 3.11 or newer (Debian, Ubuntu: apt install python3 python3-venv)," >&2
    echo "or name another one: make PYTHON=/path/to/python3.11 demo" >&2
    exit 2
}
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "$("$PYTHON" --version) is too old: Python 3.11 or newer is needed. Name another one: make PYTHON=python3.11 demo" >&2
    exit 2
}
"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || {
    version="$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    echo "This Python cannot make a virtual environment: its 'ensurepip' or 'venv' module is missing." >&2
    echo "Install it (Debian, Ubuntu: apt install python${version}-venv) and run the command again." >&2
    exit 2
}
if [ ! -x "$VENV/bin/python" ]; then
    echo "Making the virtual environment $VENV ..."
    "$PYTHON" -m venv "$VENV"
fi
echo "Installing the pinned dependencies (once; a minute or two) ..."
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
