#!/bin/sh
# Run the clients that nobody here wrote against the local org and print the table; it is kept in docs/conformance.md.
set -eu
BIN="$1"
shift
CLIENTS=.conformance/node

if command -v npm >/dev/null 2>&1; then
    mkdir -p "$CLIENTS"
    if ! cmp -s isync_dagster_tests/conformance/node/package.json "$CLIENTS/package.json" || [ ! -x "$CLIENTS/node_modules/.bin/sf" ]; then
        echo "Installing jsforce and the sf CLI from npm into $CLIENTS (once; some minutes) ..."
        cp isync_dagster_tests/conformance/node/package.json "$CLIENTS/package.json"
        npm install --prefix "$CLIENTS" --no-audit --no-fund --loglevel=error
    fi
else
    echo "npm is not on this machine: jsforce and the sf CLI are skipped."
fi
ISYNC_CONFORMANCE_PAGE="${ISYNC_CONFORMANCE_PAGE:-docs/conformance.md}" \
    "$BIN/pytest" -q -n 0 isync_dagster_tests/conformance "$@"
