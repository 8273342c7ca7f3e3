"""Running the clients from npm, with a home of their own and nothing sent anywhere but to the local org."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from isync_dagster.local_org.server import Served

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / ".conformance" / "node"
SCRIPTS = Path(__file__).parent / "node"
BIN = CLIENTS / "node_modules" / ".bin"

needs_clients = pytest.mark.skipif(
    not (BIN / "node").exists(), reason="the clients from npm are not installed: `make conformance` does it"
)


def run_jsforce(served: Served, feature: str, **more: Any) -> Any:
    """What one feature of the jsforce script saw; `more` is given to it beside the credentials."""
    found = subprocess.run(
        [BIN / "node", SCRIPTS / "jsforce.mjs", feature],
        env={**os.environ, "CLIENTS": str(CLIENTS), "ORG": json.dumps({**served.credentials(), **more})},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


class Cli:
    """The sf CLI with its state in a folder of its own."""

    def __init__(self, served: Served, home: Path) -> None:
        self.home = home
        self.served = served
        quiet = dict.fromkeys(
            ("SF_DISABLE_TELEMETRY", "SF_AUTOUPDATE_DISABLE", "SF_DISABLE_AUTOUPDATE", "SF_SKIP_NEW_VERSION_CHECK",
             "SF_DISABLE_LOG_FILE", "SF_USE_GENERIC_UNIX_KEYCHAIN", "SF_HIDE_RELEASE_NOTES"), "true"
        )  # fmt: skip
        self.environment = {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_STATE_HOME": str(home / "state"),
            "NODE_EXTRA_CA_CERTS": served.ca_file,
            "SF_ORG_API_VERSION": "62.0",
            "NO_COLOR": "1",
            **quiet,
        }

    def log_in(self, token: str) -> Any:
        """`sf org login access-token`."""
        self.environment["SF_ACCESS_TOKEN"] = token
        url = self.served.https_url
        return self("org", "login", "access-token", "--instance-url", url, "--no-prompt", "--alias", "local", org=False)

    def __call__(self, *arguments: str, org: bool = True, fails: bool = False, folder: Path | None = None) -> Any:
        """A command's JSON result, run in a folder; its whole answer where it is to fail."""
        command = [str(BIN / "sf"), *arguments, "--json", *(["--target-org", "local"] if org else [])]
        found = subprocess.run(
            command,
            env=self.environment,
            cwd=folder or self.home,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        answer = json.loads(found.stdout)
        if fails:
            assert found.returncode != 0, answer
            return answer
        assert found.returncode == 0, answer.get("message") or answer
        return answer["result"]
