"""The store: one folder tree at one root URL that holds all state and every row.

>>> store = Store.open("memory://example")
>>> store.layout.format.name
'format.json'
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from upath import UPath

from isync_dagster.errors import StoreError, StoreFormatError
from isync_dagster.store import files, objects, scratch
from isync_dagster.store.clock import Clock, utc_now
from isync_dagster.store.idmap import IdMap
from isync_dagster.store.layout import JobKey, Layout, decode
from isync_dagster.store.lease import TTL, LeaseDesk
from isync_dagster.store.medium import is_local, medium_of
from isync_dagster.store.pending import Pending
from isync_dagster.store.runs import Runs
from isync_dagster.store.scans import Scans

FORMAT = 1
"""The layout that this version of the tool reads and writes."""


@dataclass(frozen=True)
class Store:
    """Everything below one root. It holds no state of its own: open it anywhere, any number of times."""

    layout: Layout
    clock: Clock = utc_now
    beneath: Layout | None = None
    """The store whose id map a rehearsal reads below its own, and never writes to."""

    @classmethod
    def open(cls, url: str, *, clock: Clock = utc_now) -> Store:
        """The store at a path or URL (`s3://…`, `gs://…`, `az://…`), made where there is none.

        What a URL needs besides is read from the environment (`store.objects`). Raises `StoreFormatError` where a newer version of the tool
        made the store, `StoreError` where it cannot be read, or cannot be made.
        """
        store = cls(Layout(_root(url)), clock)
        found = files.read_json(store.layout.format)
        if found is None:
            store.check_writable()
            new = {"format": FORMAT, "made_by": "isync-dagster", "at": clock()}
            files.create_if_absent(store.layout.format, new)
            found = files.read_json(store.layout.format) or new
        _check_format(found, store.layout)
        return store

    @property
    def root(self) -> UPath:
        """The root folder."""
        return self.layout.root

    def check_writable(self) -> None:
        """Prove that files can be made here, each once, before anything is sent. Raises `StoreError`."""
        medium_of(self.root).prove(self.root)

    def sweep(self, older_than: timedelta = timedelta(days=1)) -> int:
        """Remove temporaries that killed processes left behind; how many there were."""
        return medium_of(self.root).sweep(self.root, older_than) + scratch.sweep(older_than)

    def jobs(self) -> list[JobKey]:
        """Every sync job that has runs."""
        found = []
        for pair in files.names(self.layout.runs):
            source, _, target = pair.partition("--")
            for template in files.names(self.layout.runs / pair):
                for phase in files.names(self.layout.runs / pair / template):
                    found.append(JobKey(source, target, decode(template), decode(phase)))
        return found

    def runs(self, job: JobKey) -> Runs:
        """The runs of a sync job."""
        below = Runs(self.beneath, job).latest() if self.beneath is not None else None
        return Runs(self.layout, job, self.clock, first=below.number + 1 if below is not None else 1)

    def idmap(self, source_org_id: str, target_org_id: str) -> IdMap:
        """The id map of an org pair."""
        below = self.beneath.idmap(source_org_id, target_org_id) if self.beneath is not None else None
        return IdMap(self.layout.idmap(source_org_id, target_org_id), self.clock, below)

    def scans(self, source_org_id: str, target_org_id: str, template: str) -> Scans:
        """The scans of a template between an org pair."""
        return Scans(self.layout.scans(source_org_id, target_org_id, template), self.clock)

    def rehearsal(self, folder: UPath) -> Store:
        """A store of its own in `folder` that knows this one's id map: what is done there leaves no trace here."""
        return Store(Layout(folder), self.clock, self.layout)

    def pending(self, source_org_id: str, target_org_id: str) -> Pending:
        """The pending links of an org pair."""
        return Pending(self.layout.pending(source_org_id, target_org_id), self.clock)

    def lease(self, target_org_id: str, ttl: timedelta = TTL) -> LeaseDesk:
        """Where the lease of a target org is taken."""
        folder = self.layout.lease(target_org_id)
        copy = folder.parent / f"{target_org_id}.json"
        return LeaseDesk(folder, f"Target org {target_org_id}", ttl, self.clock, copy=copy)


def _root(url: str) -> UPath:
    if not url.strip():
        raise StoreError("The store has no place: set ISYNC_STORE to a folder or a URL.")
    try:
        root: UPath = UPath(url)
    except ValueError as error:
        raise StoreError(
            f"The store {url!r} cannot be reached: {error}. Set ISYNC_STORE to a folder or to s3://…, gs://… or az://….",
            url=url,
        ) from error
    if is_local(root):
        return UPath(Path(root.path).expanduser().absolute())
    objects.require(root.protocol, url)
    return root


def _check_format(found: dict[str, Any], layout: Layout) -> None:
    version = found.get("format")
    if not isinstance(version, int) or version < 1:
        raise StoreFormatError(f"{layout.format} does not say which format the store has. Is this folder a store?")
    if version > FORMAT:
        raise StoreFormatError(
            f"The store {layout.root} has format {version}, this version of the tool knows up to {FORMAT}. Update the "
            "tool, or set ISYNC_STORE to another folder.",
            format=version,
        )
