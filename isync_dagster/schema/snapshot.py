"""Describe snapshots: what an org's schema was when it was last looked at, kept beside the templates.

A snapshot is a folder, `<folder>/<alias>/`: `_org.json` names the org, `<Object>.json` holds one describe,
trimmed to what planning needs, with its content hash. The files are made for review: one field a line, keys
in a fixed order, nothing rewritten that did not change. They are read one object at a time and only when asked
for, so that a code location loads offline and in milliseconds however many objects the folder holds.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from isync_dagster.errors import SnapshotError
from isync_dagster.schema.model import SObject

ORG_FILE = "_org.json"

_FIELD_ATTRIBUTES_NOT_KEPT = frozenset(
    {
        "aggregatable",
        "aiPredictionField",
        "byteLength",
        "displayLocationInDecimal",
        "groupable",
        "inlineHelpText",
        "mask",
        "maskType",
        "permissionable",
        "queryByDistance",
        "searchPrefilterable",
        "soapType",
        "sortable",
    }
)
"""Attributes that no plan depends on; a snapshot without them stays short enough to be reviewed."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like `name` (case does not count), or None where none is near.

    >>> nearest("acount", ["Contact", "Account"])
    'Account'
    """
    by_lower = {item.lower(): item for item in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: a question where a known name is near, else a full stop.

    >>> did_you_mean("acount", ["Account"])
    "; did you mean 'Account'?"
    """
    guess = nearest(name, known)
    return f"; did you mean {guess!r}?" if guess else "."


@dataclass(frozen=True)
class OrgIdentity:
    """Which org a snapshot, a plan or a run is about; `org_id` has 18 characters."""

    alias: str
    org_id: str
    name: str = ""
    api_version: str = ""
    instance_url: str = ""
    is_sandbox: bool = False
    organization_type: str = ""
    is_production: bool = False


class Snapshot:
    """The schema of one org at one time: its identity and the describes of the objects looked at."""

    def __init__(self, identity: OrgIdentity, fetched_at: datetime, objects: Mapping[str, SObject]) -> None:
        self.identity = identity
        self.fetched_at = fetched_at
        self.objects = objects
        self._lower = {name.lower(): name for name in objects}
        self._hashes: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Snapshot({self.identity.alias!r}, {self.identity.org_id!r}, {len(self.objects)} objects)"

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._lower

    def find(self, name: str) -> SObject | None:
        """The object of that API name in any case, or None where the snapshot does not hold it."""
        spelled = self._lower.get(name.lower())
        return None if spelled is None else self.objects[spelled]

    def object(self, name: str) -> SObject:
        """The object of that API name in any case; raises `SnapshotError` with the nearest name and a way out."""
        found = self.find(name)
        if found is None:
            raise SnapshotError(
                f"The describe snapshot of org {self.identity.alias!r} has no object {name!r}"
                f"{did_you_mean(name, self.objects)} If the org has it, add it to the snapshot: "
                f"`isync orgs snapshot {self.identity.alias} --objects {name}`.",
                alias=self.identity.alias,
                object=name,
            )
        return found

    def content_hash(self, name: str) -> str:
        """SHA-256 (hexadecimal) of what the snapshot keeps of an object: equal hashes, equal schemas."""
        sobject = self.object(name)
        known = self._hashes.get(sobject.name)
        if known is None:
            known = self._hashes[sobject.name] = _hash(_kept(sobject))
        return known


def save_snapshot(folder: Path, snapshot: Snapshot) -> Path:
    """Write a snapshot under `<folder>/<alias>/` and give that folder back.

    Each file is written whole or not at all, and only where its content differs. Objects that an earlier snapshot
    of the same org holds and this one does not are kept; those of another org under the same alias are removed.
    """
    home = folder / snapshot.identity.alias
    home.mkdir(parents=True, exist_ok=True)
    org_file = home / ORG_FILE
    if org_file.exists() and _read(org_file, snapshot.identity.alias).get("org_id") != snapshot.identity.org_id:
        org_file.unlink()
        for old in _object_files(home).values():
            old.unlink()
    for name in sorted(snapshot.objects):
        kept = _kept(snapshot.objects[name])
        _write(home / f"{name}.json", _reviewable({"contentHash": _hash(kept), **kept}))
    # The identity comes last: a folder without it is an interrupted first snapshot, not a usable one.
    head = {**asdict(snapshot.identity), "fetched_at": snapshot.fetched_at.astimezone(UTC).isoformat()}
    _write(org_file, json.dumps(head, indent=2) + "\n")
    return home


def load_snapshot(folder: Path, alias: str) -> Snapshot:
    """The snapshot under `<folder>/<alias>/`; describes are read when first asked for.

    Raises `SnapshotError` where there is none or a file is damaged.
    """
    home = folder / alias
    org_file = home / ORG_FILE
    if not org_file.is_file():
        known = [item.parent.name for item in folder.glob(f"*/{ORG_FILE}")] if folder.is_dir() else []
        raise SnapshotError(
            f"There is no describe snapshot of org {alias!r} in {folder}{did_you_mean(alias, known)} "
            f"Make one with `isync orgs snapshot {alias}`.",
            alias=alias,
        )
    head = _read(org_file, alias)
    try:
        fetched_at = datetime.fromisoformat(head["fetched_at"])
        identity = OrgIdentity(
            **{item.name: head[item.name] for item in dataclass_fields(OrgIdentity)} | {"alias": alias}
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(org_file, alias, f"{error!r} is missing or wrong") from error
    return Snapshot(identity, fetched_at, _Describes(home, alias))


class _Describes(Mapping[str, SObject]):
    """The describes of a snapshot folder by object name, each read once, when first asked for."""

    def __init__(self, home: Path, alias: str) -> None:
        self._files = _object_files(home)
        self._alias = alias
        self._read: dict[str, SObject] = {}

    def __getitem__(self, name: str) -> SObject:
        found = self._read.get(name)
        if found is None:
            found = self._read[name] = self._load(self._files[name])
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def _load(self, file: Path) -> SObject:
        answer = _read(file, self._alias)
        recorded = answer.pop("contentHash", None)
        if recorded != _hash(answer):
            raise _damaged(file, self._alias, "its content does not match its content hash: it was edited or cut")
        return SObject.from_json(answer)


def _object_files(home: Path) -> dict[str, Path]:
    return {file.stem: file for file in sorted(home.glob("*.json")) if not file.name.startswith("_")}


def _kept(sobject: SObject) -> dict[str, Any]:
    """What a snapshot keeps of a describe, as JSON."""
    answer = sobject.to_json(trimmed=True)
    for field in answer.get("fields", ()):
        for attribute in _FIELD_ATTRIBUTES_NOT_KEPT & field.keys():
            del field[attribute]
    return answer


def _hash(kept: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _reviewable(answer: Mapping[str, Any]) -> str:
    """JSON with one line for every scalar, field, child relationship and record type."""
    entries = []
    for key, value in answer.items():
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            lines = ",\n".join(f"    {json.dumps(item, ensure_ascii=False)}" for item in value)
            entries.append(f"  {json.dumps(key)}: [\n{lines}\n  ]")
        else:
            entries.append(f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(entries) + "\n}\n"


def _read(file: Path, alias: str) -> dict[str, Any]:
    try:
        answer = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(file, alias, str(error)) from error
    if not isinstance(answer, dict):
        raise _damaged(file, alias, "it holds no JSON object")
    return answer


def _write(file: Path, text: str) -> None:
    data = text.encode()
    if file.exists() and file.read_bytes() == data:
        return
    temporary = file.with_name(f".{file.name}.{uuid4().hex}")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _damaged(file: Path, alias: str, why: str) -> SnapshotError:
    return SnapshotError(
        f"The describe snapshot {file} cannot be used: {why}. Take it anew with `isync orgs snapshot {alias}`.",
        alias=alias,
        file=str(file),
    )
