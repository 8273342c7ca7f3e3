"""What makes a local org itself: its id, name, credentials and limits, kept in `org.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from random import Random
from typing import Any, Final

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.ids import pod, to18
from isync_dagster.local_org.org_schema import BASE62

SETTINGS: Final = "org.json"
FORMAT: Final = 1


@dataclass(frozen=True)
class OrgSettings:
    """The identity of a local org and the switches that its creator chose.

    `data_storage_mb` bounds the rows that may be stored, at Salesforce's two kilobytes a row; 0 is no bound.
    `results_links` and `results_next` are the two key spellings of a Bulk query's result pages; sources of the
    real API disagree on them, so both are settable.
    """

    name: str
    org_id: str
    seed: int
    organization_type: str = "Developer Edition"
    is_sandbox: bool = False
    audit_fields: bool = False
    hard_delete: bool = False
    username: str = ""
    password: str = ""
    security_token: str = ""
    consumer_key: str = ""
    consumer_secret: str = ""
    refresh_token: str = ""
    jwt_public_key: str = ""
    user_id: str = ""
    daily_requests: int = 5_000_000
    data_storage_mb: int = 0
    session_seconds: int = 7200
    query_page_rows: int = 50_000
    batch_rows: int = 10_000
    batches_per_commit: int = 13
    results_links: str = "resultUrl"
    results_next: str = "nextRecordsUrl"
    created: str = ""
    format: int = FORMAT

    def save(self, folder: Path) -> None:
        """Write the settings into the org's folder, readable by its owner only."""
        path = folder / SETTINGS
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self), indent=2) + "\n")
        temporary.chmod(0o600)
        temporary.replace(path)

    @classmethod
    def load(cls, folder: Path) -> OrgSettings:
        """Read them back; ConfigError where the folder holds no local org or one of a newer version."""
        path = folder / SETTINGS
        if not path.is_file():
            raise ConfigError(f"{folder} holds no local org: create one with LocalOrg.create or `isync local-org`.")
        values: dict[str, Any] = json.loads(path.read_text())
        if values.get("format", FORMAT) > FORMAT:
            raise ConfigError(f"The local org in {folder} was made by a newer version of this tool.")
        known = {item.name for item in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})


def new_settings(name: str, seed: int, **switches: Any) -> OrgSettings:
    """Settings of a new org: id and credentials follow from name and seed, so a test finds them again."""
    random = Random(f"org {seed}")

    def text(length: int) -> str:
        return "".join(random.choice(BASE62) for _ in range(length))

    org_id = to18(f"00D{pod(seed)}0" + "00" + text(6))
    return OrgSettings(
        name=name,
        org_id=org_id,
        seed=seed,
        username=switches.pop("username", None) or f"admin@{name.lower().replace(' ', '-').replace('_', '-')}.example",
        password=text(12),
        security_token=text(24),
        consumer_key="3MVG9" + text(80),
        consumer_secret="".join(random.choice("0123456789ABCDEF") for _ in range(64)),
        refresh_token="5Aep861" + text(60),
        **switches,
    )
