"""`python -m isync_dagster.local_org make|fill|serve FOLDER`: a local org on the command line."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path

from isync_dagster.errors import ConfigError, IsyncError
from isync_dagster.local_org.local_org import LocalOrg

DATA_HELP = "an SFDX plan or tree (.json), a CumulusCI dump (.sql), an SFDMU project, or a folder of CSV or Parquet"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make, fill or serve a local org; exit status 2 for a wrong argument or path, 1 for anything else that fails."""
    options = _parser().parse_args(arguments)
    try:
        match options.verb:
            case "make":
                make(options)
            case "fill":
                with LocalOrg.open(options.folder) as org:
                    _fill(org, options.data, options.mapping)
            case _:
                serve(options)
    except IsyncError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="isync local-org", description="A Salesforce org on this machine.")
    verbs = parser.add_subparsers(dest="verb", required=True)

    one = verbs.add_parser("make", help="make an org from describes or source metadata, and load data into it")
    one.add_argument("folder", type=Path, help="a new folder")
    one.add_argument(
        "--schema",
        type=Path,
        action="append",
        default=[],
        help="describe JSON (a file or a folder), an SFDX source folder or an overlay (.yml); may be repeated, later ones win. Without it "
        "the org has the standard objects",
    )
    one.add_argument("--namespace", help="of a package whose source has none in its names")
    one.add_argument("--data", type=Path, action="append", default=[], help=DATA_HELP)
    one.add_argument("--mapping", type=Path, help="the mapping.yml of a dump; found where it is the only one beside it")
    one.add_argument("--name", help="of the organization; by default the folder's")
    one.add_argument(
        "--seed",
        type=int,
        help="decides org id, record ids and key prefixes; by default the folder does, so that two differ",
    )
    one.add_argument("--sandbox", action="store_true")

    more = verbs.add_parser("fill", help="load more data into an org")
    more.add_argument("folder", type=Path)
    more.add_argument("--data", type=Path, action="append", required=True, help=DATA_HELP)
    more.add_argument("--mapping", type=Path)

    up = verbs.add_parser("serve", help="answer HTTP on loopback until SIGTERM or Ctrl-C; prints URL and credentials")
    up.add_argument("folder", type=Path)
    up.add_argument("--port", type=int, default=0, help="0 takes a free one")
    up.add_argument("--host", default="127.0.0.1", help="a loopback address")
    up.add_argument("--https", action="store_true", help="answer https too, with a certificate made at start")
    up.add_argument("--ready-file", type=Path, help="write the JSON line there as well")
    up.add_argument(
        "--with-parent", action="store_true", help="stop when standard input ends, as a parent's death does"
    )
    return parser


def make(options: argparse.Namespace) -> None:
    """A new org with its data, whole or not at all: a folder that could not be filled is taken away again."""
    from isync_dagster.local_org.automation.model import Automation
    from isync_dagster.local_org.seeds.sources import Source, source_from
    from isync_dagster.local_org.seeds.standard import standard, standard_objects

    folder: Path = options.folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty; name a new folder, or `isync local-org fill` the org in it.")
    seed = zlib.crc32(str(folder.resolve()).encode()) if options.seed is None else options.seed
    source = (
        source_from(options.schema, namespace=options.namespace)
        if options.schema
        else Source(standard(standard_objects()), Automation())
    )
    schema = source.objects
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"The folder {folder} cannot be made: {error.strerror}. Name another one.") from error
    try:
        with LocalOrg.create(
            folder,
            schema,
            name=options.name or folder.name,
            seed=seed,
            is_sandbox=options.sandbox,
            automation=source.automation,
        ) as org:
            print(f"made {folder}: org {org.org_id}, {len(schema)} objects")
            for item, problem in org.schema.problems.items():
                print(f"does not work: {item}: {problem}", file=sys.stderr)
            _fill(org, options.data, options.mapping)
    except IsyncError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _fill(org: LocalOrg, paths: Sequence[Path], mapping: Path | None) -> None:
    from isync_dagster.local_org.seeds.dataset import apply
    from isync_dagster.local_org.seeds.sources import data_from

    for path in paths:
        made = apply(org, data_from(path, org.schema, mapping=mapping))
        rows = ", ".join(f"{name} {frame.height:,}" for name, frame in made.items())
        print(f"loaded {path}: {rows or 'no rows'}")


def serve(options: argparse.Namespace) -> None:
    """Serve an org until SIGTERM or SIGINT; prints one JSON line with URL and credentials when it answers."""
    stop = threading.Event()
    if options.with_parent:
        threading.Thread(target=_until_input_ends, args=(stop,), name="parent", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
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


def _until_input_ends(stop: threading.Event) -> None:
    """A pipe from the parent closes whatever way the parent ends, a kill included."""
    while sys.stdin.buffer.read(1):
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
