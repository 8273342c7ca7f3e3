"""`python -m isync_dagster.local_org …`: the same as `isync local-org …`, without the rest of the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from isync_dagster.errors import ConfigError, IsyncError
from isync_dagster.local_org.command import app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; exit status 2 for a wrong argument or path, 1 for anything else that fails."""
    try:
        app(args=list(sys.argv[1:] if arguments is None else arguments), prog_name="isync local-org")
    except IsyncError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
