"""`python -m isync_dagster.cli` is `isync`."""

from isync_dagster.cli.app import main

if __name__ == "__main__":
    main()
