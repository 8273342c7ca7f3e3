"""A random walk: schemas, hostile data, edits in either org, faults, kills and repeated runs; the promise holds."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from isync_dagster.errors import IsyncError, OrgError
from isync_dagster.local_org import faults as org_faults
from isync_dagster.migration import reading
from isync_dagster.migration.extract import extracted
from isync_dagster.migration.finish import finish
from isync_dagster.migration.rollback import rollback
from isync_dagster.store.ledger import Ledger
from isync_dagster_tests.faults.board import ARRIVED, WENT_ON, Board
from isync_dagster_tests.faults.schemas import Schema, Shape, schemas, values
from isync_dagster_tests.faults.test_wire import HOW_TO_GO_ON
from isync_dagster_tests.faults.twins import STRANGER, Twins, serving_twins
from isync_dagster_tests.faults.wire import OWN_PROCESS, SHAPES
from isync_dagster_tests.migration.world import Migration, migrate

KINDS = [
    {"kind": kind, **shape} for kind in org_faults.KINDS if kind not in OWN_PROCESS for shape in SHAPES.get(kind, ({},))
]
PATHS = (".*", "POST .*", "jobs/ingest", "composite", "jobs/query", "Results", "GET .*")
TRIES = 8


class Cut(BaseException):
    """The process is gone."""


class Walk(RuleBasedStateMachine):
    """Two orgs and one store, from an empty target on."""

    runs = 0
    undone = 0
    board: Board | None = None

    def __init__(self) -> None:
        super().__init__()
        self._stack = contextlib.ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="isync-walk-")))
        self._number = 0
        self._cut_at = 0
        self._dirty = True

    @initialize(
        schema=schemas(),
        chunk_bytes=st.sampled_from((400, 5_000, 90_000_000)),
        collections_rows=st.sampled_from((0, 2, 200)),
        rest_rows=st.sampled_from((-1, 2_000)),
        pause=st.sampled_from((0.0, 0.0, 2.5)),
        data=st.data(),
    )
    def begin(
        self,
        schema: Schema,
        data: st.DataObject,
        chunk_bytes: int,
        collections_rows: int,
        rest_rows: int,
        pause: float,
    ) -> None:
        """Make the orgs, with some records of every object; runs end a `pause` after their checks: only then the next one can
        rest on the stamps that they left."""
        note(repr(schema))
        self._pause = pause
        patch = self._stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(reading, "REST_ROWS", rest_rows)
        twins = serving_twins(self._folder, schema, chunk_bytes=chunk_bytes, collections_rows=collections_rows)
        self.twins: Twins = self._stack.enter_context(twins)
        self.schema = schema
        for shape in schema.shapes:
            self._insert(data, shape)

    def teardown(self) -> None:
        """Every walk that held ends with a run, so that none proves nothing; then the orgs are closed."""
        try:
            if hasattr(self, "twins") and self._dirty and sys.exc_info()[0] is None:
                self._arrive()
        finally:
            self._stack.close()

    # ── what people do ───────────────────────────────────────────────────────────────────────────────

    @rule(data=st.data())
    def records_appear_in_the_source(self, data: st.DataObject) -> None:
        """Records of some object, parents first where they must have one; some equal in everything."""
        self._insert(data, data.draw(st.sampled_from(self.schema.shapes)))

    def _insert(self, data: st.DataObject, shape: Shape) -> None:
        rows: list[dict[str, str | None]] = []
        for _ in range(data.draw(st.integers(1, 4))):
            row = dict(data.draw(values()))
            for look in shape.looks:
                found = [value for parent in look.to for value in self.twins.ids("source", parent)]
                if look.must and not found:
                    return
                choices = st.sampled_from(found) if found else st.none()
                row[look.name] = data.draw(choices if look.must else st.one_of(st.none(), choices))
            self._number += 1
            rows.append({"_ref": f"r{self._number}", "Key__c": f"k{self._number}", **row})
            for _ in range(data.draw(st.sampled_from((0, 0, 0, 2)))):
                # Rows that nobody can tell apart, for which no key leads anywhere.
                self._number += 1
                rows[-1]["Key__c"] = None
                rows.append({**rows[-1], "_ref": f"r{self._number}"})
        self.twins.insert("source", shape.name, rows)
        self._dirty = True

    @rule(data=st.data())
    def a_record_changes(self, data: st.DataObject) -> None:
        """In either org: a plain value or a lookup."""
        side = data.draw(st.sampled_from(("source", "source", "target")))
        shape = data.draw(st.sampled_from(self.schema.shapes))
        ids = self.twins.ids(side, shape.name)
        if not ids:
            return
        record = data.draw(st.sampled_from(ids))
        looks = [look for look in shape.looks if look.kind in ("optional", "poly")]
        if looks and data.draw(st.booleans()):
            look = data.draw(st.sampled_from(looks))
            found = [value for parent in look.to for value in self.twins.ids(side, parent)]
            self.twins.change(side, shape.name, record, {look.name: data.draw(st.sampled_from([None, *found]))})
        else:
            changed = data.draw(values())
            name = data.draw(st.sampled_from(sorted(changed)))
            self.twins.change(side, shape.name, record, {name: changed[name]})
        self._dirty = True

    @rule(data=st.data())
    def a_stranger_appears_in_the_target(self, data: st.DataObject) -> None:
        """A record of somebody else, which no run may touch."""
        shape = data.draw(st.sampled_from(self.schema.shapes))
        if any(look.must for look in shape.looks):
            return
        self._number += 1
        self.twins.insert("target", shape.name, [{**data.draw(values()), "Key__c": f"{STRANGER}{self._number}"}])

    # ── what goes wrong ──────────────────────────────────────────────────────────────────────────────

    @rule(
        side=st.sampled_from(("source", "target", "target")),
        kind=st.sampled_from(KINDS),
        path=st.sampled_from(PATHS),
        times=st.integers(1, 8),
        after=st.integers(0, 25),
    )
    def trouble_begins(self, side: str, kind: dict[str, Any], path: str, times: int, after: int) -> None:
        """A fault of an org, met during the next runs."""
        self.twins.faults(side, {**kind, "path": path, "times": times, "after": after})

    # ── what the tool does ───────────────────────────────────────────────────────────────────────────

    @rule(killed_at=st.sampled_from((0, 0, 2, 5, 9, 14)))
    def migrate(self, killed_at: int) -> None:
        """Migrate, again and again until it is through, as a person would; the first is killed at some transition."""
        self._cut_at = killed_at
        self._arrive()

    def _arrive(self) -> None:
        stops = 0
        for attempt in range(TRIES):
            try:
                self._once()
                break
            except Cut:
                stops += 1
            except IsyncError as error:
                stops += 1
                note(f"stopped: {error}")
                assert HOW_TO_GO_ON.search(str(error)), f"says not how to go on: {type(error).__name__}: {error}"
                assert isinstance(error, OrgError) or "in flight" in str(error), f"{type(error).__name__}: {error}"
                if attempt > 2:
                    for side in ("source", "target"):
                        self.twins.faults(side)
        else:
            raise AssertionError(f"The run did not come through in {TRIES} tries.")
        self._dirty = False
        self.twins.assert_same()
        type(self).runs += 1
        if self.board is not None:
            self.board.add("random walk", "a run over random schema, data and faults", WENT_ON if stops else ARRIVED)

    def _once(self) -> None:
        done = self._cutting(self._migrated)
        assert done.failed() == [], [(key, done.verdicts[key].text, done.verdicts[key].table) for key in done.failed()]

    def _migrated(self) -> Migration:
        done = migrate(self.twins.job(), close=False)
        time.sleep(self._pause)
        done.summary = finish(done.job)
        return done

    def _cutting(self, act: Callable[[], Any]) -> Any:
        record, left = Ledger.record, self._cut_at

        def cut_off(ledger: Ledger, chunk: int, attempt: int, to: str, payload: Any) -> bool:
            nonlocal left
            recorded = record(ledger, chunk, attempt, to, payload)
            left -= 1
            if left == 0:
                raise Cut
            return recorded

        self._cut_at = 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Ledger, "record", cut_off)
            return act()

    @rule(at=st.integers(0, 20))
    def a_run_is_taken_back(self, at: int) -> None:
        """A run and its rollback, which may be killed: every field of every record is what it was."""
        self._cut_at = 0
        for side in ("source", "target"):
            self.twins.faults(side)
        before = self.twins.tables("target")
        self._once()
        self.twins.assert_same()
        self._cut_at = at
        for _ in range(TRIES):
            try:
                (result,) = self._cutting(lambda: rollback(self.twins.job()))
                break
            except Cut:
                continue
        assert result.complete, result
        after = self.twins.tables("target")
        for name, rows in before.items():
            assert after[name] == rows, (
                f"{name}: {[pair for pair in zip(rows, after[name], strict=False) if pair[0] != pair[1]]}"
            )
        self._dirty = True
        type(self).undone += 1
        if self.board is not None:
            self.board.add("random walk", "a run and its rollback", WENT_ON if at else ARRIVED)

    @precondition(lambda self: not self._dirty)
    @rule()
    def nothing_is_sent_where_nothing_has_changed(self) -> None:
        """A run right after a run."""
        for side in ("source", "target"):
            self.twins.faults(side)
        self._cut_at = 0
        self.twins.faults(
            "target",
            {
                "kind": "delay",
                "path": "(POST|PATCH|PUT|DELETE) .*/(jobs/ingest|composite/(sobjects|tree|graph))",
                "times": None,
            },
        )
        self._once()
        met = sum(item["met"] for item in self.twins.served["target"].service.faults.as_json())
        self.twins.faults("target")
        assert met == 0, f"{met} writes though nothing had changed"
        self.twins.assert_same()

    # ── what holds at any moment ─────────────────────────────────────────────────────────────────────

    @invariant()
    def no_source_id_in_the_target(self) -> None:
        """Not even between a kill and the resume."""
        if hasattr(self, "twins"):
            self.twins.assert_no_source_id()

    @invariant()
    def every_record_has_one_state(self) -> None:
        """Conservation, from the moment that an object is accounted at all."""
        if not hasattr(self, "twins"):
            return
        job = self.twins.job()
        run = job.store.runs(job.key).latest()
        if run is None:
            return
        for plan in job.plan.objects_in("all"):
            log = run.audit(plan.object)
            if "remap" not in log.parts():
                continue
            rows = log.latest().collect()
            assert rows.height == extracted(run, plan).collect().height
            assert rows["source_id"].is_unique().all()


def _walk(board: Board, examples: int, steps: int, *, fixed: bool) -> None:
    Walk.board = board
    Walk.runs = Walk.undone = 0
    run_state_machine_as_test(
        Walk,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=fixed,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink) if "ISYNC_SHRINK" in os.environ else (Phase.generate,),
        ),
    )
    assert Walk.runs + Walk.undone


def test_a_short_random_walk(board: Board) -> None:
    _walk(board, 1, 8, fixed=True)


@pytest.mark.slow
def test_a_long_random_walk(board: Board) -> None:
    """`ISYNC_WALKS` says how many; a failure prints the steps that lead to it, shrunk where `ISYNC_SHRINK` is set."""
    _walk(board, int(os.environ.get("ISYNC_WALKS", "60")), 25, fixed=False)
