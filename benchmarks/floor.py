"""The floor: the same rows through the calls that any correct tool must make, and no work besides.

A query job an object and its pages to files; ingest jobs with the same rows, their results to files; the second
pass for lookups to the object itself; the read of the target that verifies them. The clock runs only while a call is
under way: what a tool has to compute between the calls (here by Polars, on all rows in memory) is left out, so
that the floor is what the two orgs and the wire need.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.orgs import Served
from benchmarks.world import API_VERSION, SELF, World
from isync_dagster.plan.model import ObjectPlan, Plan

DATA = f"/services/data/v{API_VERSION}"
POLL = 0.05
PARALLEL = 4
UPLOAD_BYTES = 90_000_000


@dataclass
class Floor:
    """Seconds spent in calls, by what they were for; calls and bytes."""

    seconds: dict[str, float] = field(default_factory=dict)
    calls: int = 0
    bytes: int = 0

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Count the block's time towards `what`."""
        started = time.perf_counter()
        yield
        self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - started

    @property
    def move(self) -> float:
        """Query, ingest, results, second pass: what moving the rows takes."""
        return sum(value for key, value in self.seconds.items() if key != "verify")


def run(source: Served, target: Served, plan: Plan, world: World, scratch: Path) -> Floor:
    """Move the world and verify it; the target must be empty."""
    floor = Floor()
    scratch.mkdir(parents=True, exist_ok=True)
    extracted: dict[str, pl.LazyFrame] = {}
    for item in plan.objects:
        names = list(dict.fromkeys(["Id", *item.source_fields]))
        pages = _query(floor, source, f"SELECT {', '.join(names)} FROM {item.object}", scratch / item.object, "extract")
        extracted[item.object] = pl.scan_csv(pages, infer_schema=False, null_values="")
    maps: dict[str, pl.DataFrame] = {"User": _users(floor, source, target)}
    for item in plan.objects:
        rows = _mapped(extracted[item.object], item, maps)
        sent = rows.drop("Id")
        made = _ingest(floor, target, item, sent, "insert", "load")
        # The results come in any order and are paired by row equality; the floor takes the time of the calls only.
        maps[item.object] = _paired(rows, made)
        own = SELF.get(item.object)
        if own is not None:
            links = extracted[item.object].select(source="Id", parent=own).drop_nulls().collect()
            update = (
                links.join(maps[item.object], on="source")
                .join(maps[item.object].select(parent="source", up="target"), on="parent")
                .select(Id="target", **{own: pl.col("up")})
            )
            _ingest(floor, target, item, update, "update", "second pass")
    for item in plan.objects:
        names = ["Id", *(lookup.target.name for lookup in item.lookups)]
        _query(floor, target, f"SELECT {', '.join(names)} FROM {item.object}", scratch / f"v-{item.object}", "verify")
    return floor


def _mapped(frame: pl.LazyFrame, item: ObjectPlan, maps: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """The rows as they are sent: lookups replaced, self references left out, columns that are not writeable gone."""
    names = {mapping.source.name for mapping in item.fields} | {lookup.source.name for lookup in item.lookups}
    rows = frame.select("Id", *[name for name in frame.collect_schema().names() if name in names]).collect()
    for lookup in item.lookups:
        name = lookup.source.name
        if name == SELF.get(item.object):
            rows = rows.drop(name)
            continue
        known = pl.concat([maps[parent] for parent in lookup.parents if parent in maps] or [maps["User"]])
        rows = (
            rows.join(known, left_on=name, right_on="source", how="left", maintain_order="left")
            .with_columns(pl.col("target").alias(name))
            .drop("target")
        )
    return rows


def _paired(rows: pl.DataFrame, made: pl.DataFrame) -> pl.DataFrame:
    columns = [name for name in rows.columns if name != "Id"]
    nth = pl.int_range(pl.len()).over(columns).alias("_n")
    left = rows.with_columns(nth)
    right = made.select("sf__Id", *columns).with_columns(nth)
    pairs = left.join(right, on=[*columns, "_n"], nulls_equal=True)
    if pairs.height != rows.height:
        raise RuntimeError(f"the floor paired {pairs.height} of {rows.height} rows")
    return pairs.select(source="Id", target="sf__Id")


def _users(floor: Floor, source: Served, target: Served) -> pl.DataFrame:
    found = []
    for org in (source, target):
        with floor.timed("extract"):
            answer = org.session.get(f"{org.url}{DATA}/query", params={"q": "SELECT Id, Username FROM User"}).json()
        floor.calls += 1
        found.append(pl.DataFrame([{"Id": row["Id"], "Username": row["Username"]} for row in answer["records"]]))
    pairs = found[0].join(found[1], on="Username").select(source="Id", target="Id_right")
    admins = [frame.filter(pl.col("Username").str.starts_with("admin@"))["Id"][0] for frame in found]
    return pl.concat([pairs, pl.DataFrame({"source": [admins[0]], "target": [admins[1]]})]).unique("source")


# ── calls ────────────────────────────────────────────────────────────────────────────────────────────────


def _query(floor: Floor, org: Served, soql: str, folder: Path, what: str) -> Sequence[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    with floor.timed(what):
        job = org.session.post(f"{org.url}{DATA}/jobs/query", json={"operation": "query", "query": soql}).json()
        floor.calls += 1
        _poll(floor, org, f"{DATA}/jobs/query/{job['id']}")
        urls: list[str] = []
        path: str | None = f"{DATA}/jobs/query/{job['id']}/resultPages"
        while path:
            answer = org.session.get(f"{org.url}{path}").json()
            floor.calls += 1
            urls += [str(page.get("resultUrl") or page.get("resultLink")) for page in answer["resultPages"]]
            path = None if answer.get("done") else answer.get("nextRecordsUrl") or answer.get("nextRecordUrl")

        def fetch(number_url: tuple[int, str]) -> Path:
            to = folder / f"{number_url[0]:05d}.csv"
            floor.bytes += _save(org, number_url[1], to)
            return to

        with ThreadPoolExecutor(PARALLEL) as pool:
            pages = list(pool.map(fetch, enumerate(urls)))
        floor.calls += len(pages)
    return pages


def _ingest(floor: Floor, org: Served, item: ObjectPlan, rows: pl.DataFrame, operation: str, what: str) -> pl.DataFrame:
    body = io.BytesIO()
    rows.write_csv(body, null_value="")
    pieces = max(1, -(-body.tell() // UPLOAD_BYTES))
    size = -(-rows.height // pieces)
    made: list[pl.DataFrame] = []
    for start in range(0, rows.height, size):
        text = rows.slice(start, size).write_csv(null_value="").encode()
        described: dict[str, Any] = {
            "object": item.target_object,
            "operation": operation,
            "contentType": "CSV",
            "lineEnding": "LF",
        }
        with floor.timed(what):
            job = org.session.post(f"{org.url}{DATA}/jobs/ingest", json=described).json()
            at = f"{org.url}{DATA}/jobs/ingest/{job['id']}"
            org.session.put(f"{at}/batches", data=text, headers={"Content-Type": "text/csv"}).raise_for_status()
            org.session.patch(at, json={"state": "UploadComplete"}).raise_for_status()
            floor.calls += 3
            state = _poll(floor, org, f"{DATA}/jobs/ingest/{job['id']}")
            results = org.session.get(f"{at}/successfulResults/")
            failed = org.session.get(f"{at}/failedResults/")
            floor.calls += 2
        if state.get("numberRecordsFailed"):
            raise RuntimeError(f"{item.object}: {failed.text[:500]}")
        floor.bytes += len(text) + len(results.content)
        made.append(pl.read_csv(results.content, infer_schema=False, null_values=""))
    return pl.concat(made) if made else pl.DataFrame(schema={"sf__Id": pl.String})


def _poll(floor: Floor, org: Served, path: str) -> dict[str, Any]:
    while True:
        state: dict[str, Any] = org.session.get(f"{org.url}{path}").json()
        if state["state"] in ("JobComplete", "Failed", "Aborted"):
            floor.calls += 1  # one poll a job is what a tool cannot do without
            if state["state"] != "JobComplete":
                raise RuntimeError(f"{path}: {state}")
            return state
        time.sleep(POLL)


def _save(org: Served, path: str, to: Path) -> int:
    with (
        org.session.get(f"{org.url}{path}", headers={"Accept": "text/csv"}, stream=True) as answer,
        to.open("wb") as file,
    ):
        answer.raise_for_status()
        for piece in answer.iter_content(1 << 20):
            file.write(piece)
        return file.tell()
