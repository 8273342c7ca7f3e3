#!/bin/sh
# The demo with two Celery workers, redis, PostgreSQL and an S3 server: install what is missing, then run the test.
set -eu
BIN="$1"
shift

if ! "$BIN/python" -c 'import dagster_celery, dagster_postgres, psycopg2, redis, obstore' 2>/dev/null; then
    echo "Installing the extras s3, postgres and celery (once) ..."
    "$BIN/python" -m pip install --quiet --disable-pip-version-check --constraint requirements.lock \
        --editable '.[dev,s3,postgres,celery]'
fi

missing=""
command -v redis-server >/dev/null 2>&1 || missing="redis-server"
command -v initdb >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "Installing with apt-get (once): $missing ..."
        apt-get update -qq
        # Its own servers are what the test starts; the packages need not start any.
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing >/dev/null
    else
        echo "Missing on this machine: $missing. Install them (Debian, Ubuntu: apt install $missing) and run again." >&2
        exit 2
    fi
fi

exec "$BIN/pytest" -q -n 0 -m "slow or not slow" isync_dagster_tests/distributed isync_dagster_tests/deploy "$@"
