"""`python -m isync_dagster.local_org serve FOLDER`: a local org as a process of its own."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from isync_dagster.errors import IsyncError
from isync_dagster.local_org.local_org import LocalOrg


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve an org until SIGTERM or SIGINT; prints one JSON line with URL and credentials when it answers."""
    parser = argparse.ArgumentParser(prog="python -m isync_dagster.local_org")
    verbs = parser.add_subparsers(dest="verb", required=True)
    serve = verbs.add_parser("serve", help="answer HTTP on loopback")
    serve.add_argument("folder", type=Path)
    serve.add_argument("--port", type=int, default=0, help="0 takes a free one")
    serve.add_argument("--host", default="127.0.0.1", help="a loopback address")
    serve.add_argument("--https", action="store_true", help="answer https too, with a certificate made at start")
    serve.add_argument("--ready-file", type=Path, help="write the JSON line there as well")
    serve.add_argument(
        "--with-parent", action="store_true", help="stop when standard input ends, as a parent's death ends it"
    )
    options = parser.parse_args(arguments)
    stop = threading.Event()
    if options.with_parent:
        threading.Thread(target=_until_input_ends, args=(stop,), name="parent", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        with (
            LocalOrg.open(options.folder) as org,
            org.serve(options.port, https=options.https, host=options.host) as served,
        ):
            line = json.dumps(served.credentials())
            if options.ready_file is not None:
                temporary = options.ready_file.with_suffix(".tmp")
                temporary.write_text(line + "\n")
                temporary.chmod(0o600)
                temporary.replace(options.ready_file)
            print(line, flush=True)
            stop.wait()
    except IsyncError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _until_input_ends(stop: threading.Event) -> None:
    """A pipe from the parent closes whatever way the parent ends, a kill included."""
    while sys.stdin.buffer.read(1):
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
