"""A real S3 server on loopback: moto's, in a process of its own that takes one request after the other.

One after the other, since moto looks for a name and then makes it: answering in threads it would let two creates of
one name both succeed. `python -m isync_dagster_tests.store.s3` serves until its standard input is closed.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import requests

BUCKET = "isync"


@contextmanager
def serving_s3(bucket: str = BUCKET) -> Iterator[dict[str, str]]:
    """A server with an empty bucket while the block runs; gives the environment in which clients find it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "isync_dagster_tests.store.s3"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        assert port, "the S3 server did not start"
        url = f"http://127.0.0.1:{port}"
        requests.put(f"{url}/{bucket}", timeout=60).raise_for_status()
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """The variables are set while the block runs."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def main() -> None:
    """Serve, and say on which port."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, app, threaded=False)
    print(server.port, flush=True)

    def end_with_parent() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
