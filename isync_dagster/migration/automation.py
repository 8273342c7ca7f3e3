"""Automation of the target: off while a run writes, and always on again.

What was on is saved before anything is switched (`automation.json` in the run's folder, and a mark under the
store's `automation/<target org>/`, which is what a restart looks through). It is put back by the run's end, by
whatever gives the right to write back, and by every later start of the tool where the process died. One lock a target
org lets one of several restore; restoring states what is to be, so that repeating it does no harm.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from upath import UPath

from isync_dagster.errors import ConfigError, IsyncError, LeaseHeldError, OrgError, RequestError
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.settling import user_id
from isync_dagster.migration.writing import on_release
from isync_dagster.salesforce.automation import KINDS, Item, key_of, list_automation, switch
from isync_dagster.salesforce.org import Org
from isync_dagster.store import files
from isync_dagster.store.layout import encode
from isync_dagster.store.lease import LeaseDesk
from isync_dagster.store.process import Process
from isync_dagster.store.runs import Run
from isync_dagster.store.store import Store
from isync_dagster.template.models import AutomationControl

TRIES = 3
"""How often a restore is tried before it is reported as failed; the next start of the tool tries again."""
LONGEST_WAIT = 900.0
"""Seconds that one waits for another who switches: a deploy of triggers in production runs tests."""
OFF, ON = "off", "on"

log = logging.getLogger("isync.automation")
_lock = threading.Lock()
_done: dict[tuple[str, str], threading.Event] = {}


@dataclass(frozen=True)
class Record:
    """What was switched off in a target org, by whom, and whether it is on again."""

    path: UPath
    data: Mapping[str, Any]

    @property
    def is_off(self) -> bool:
        """True until all of it is put back."""
        return bool(self.data["state"] == OFF)

    @property
    def items(self) -> tuple[Item, ...]:
        """What worked before and was switched off."""
        return tuple(Item.from_json(item) for item in self.data["items"])

    @property
    def who(self) -> str:
        """Who switched it off, for people."""
        return str(self.data["by"])

    @property
    def where(self) -> str:
        """The run, or the template that a person switched it off for."""
        label = self.data.get("label")
        return f"run {label}" if label else f"template {self.data['template']} (by hand)"

    @property
    def text(self) -> str:
        """One sentence: what was off, from when to when."""
        kinds = {kind: sum(item.kind == kind for item in self.items) for kind in KINDS}
        what = [f"{count} {kind.replace('_', ' ')}" for kind, count in kinds.items() if count]
        what += [f"bypass {part['name']}" for part in self.data["bypass"]]
        until = f"until {self.data['on_at']}" if not self.is_off else "and still is"
        names = ", ".join(item.label for item in self.items)
        return (
            f"Automation of the target was off from {self.data['off_at']} {until}: {', '.join(what) or 'nothing'}"
            + (f" ({names})" if names else "")
        )


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────


def automation_of(job: SyncJob, kinds: Sequence[str] = (), objects: Sequence[str] = ()) -> tuple[Item, ...]:
    """What is on the target objects of the template (or on `objects` of them) now; reads only."""
    return list_automation(job.target, _objects(job, objects), kinds or KINDS)


def select(items: Sequence[Item], wanted: AutomationControl) -> tuple[Item, ...]:
    """Those items that a selection means: by kind, object and name, case ignored; `ConfigError` for unknown names."""
    known = {name.lower() for item in items for name in (item.name, item.label)}
    unknown = [name for name in wanted.only if name.lower() not in known]
    if unknown:
        raise ConfigError(
            f"The target has no automation named {', '.join(unknown)} on the objects in scope. It has: "
            f"{', '.join(item.label for item in items) or 'none'}."
        )
    only, keep = ({name.lower() for name in names} for names in (wanted.only, wanted.keep))
    objects = {name.lower() for name in wanted.objects}

    def named(item: Item, names: set[str]) -> bool:
        return bool({item.name.lower(), item.label.lower()} & names)

    return tuple(
        item
        for item in items
        if item.kind in wanted.off
        and (not objects or item.object.lower() in objects)
        and (not only or named(item, only))
        and not named(item, keep)
    )


def records_off(store: Store, target_org_id: str | None = None) -> tuple[Record, ...]:
    """Everything that is switched off now, by the store's marks; of one target org or of all."""
    root = store.layout.root / "automation"
    orgs = [target_org_id] if target_org_id else files.names(root)
    found = []
    for org in orgs:
        folder = store.layout.automation(org) / "marks"
        for name in files.names(folder):
            mark = files.read_json(folder / name)
            data = files.read_json(store.layout.root / mark["record"]) if mark is not None else None
            if mark is not None and data is not None and data["state"] == OFF:
                found.append(Record(store.layout.root / mark["record"], data))
    return tuple(sorted(found, key=lambda record: str(record.data["off_at"])))


def record_of(run: Run) -> Record | None:
    """What a run switched off, or None where it switched nothing."""
    data = files.read_json(run.layout.automation)
    return Record(run.layout.automation, data) if data is not None else None


def notes_on(record: Record) -> tuple[str, ...]:
    """What the summary of a run says about automation: what was off and when, and what could not be edited."""
    return (record.text, *(f"left on, {text}" for text in record.data["fixed"]))


# ── switching off ────────────────────────────────────────────────────────────────────────────────────────


def ensure_off(job: SyncJob, run: Run) -> None:
    """Switch off what the template says, once a run and process, before the first row is sent.

    The caller holds the target's lease; giving it back puts everything on again. Raises `RequestError`, with all put
    back, where something could not be switched off. What cannot be edited (a managed package's) is named and left.
    """
    wanted = job.plan.settings.automation
    if not wanted.acts and not files.exists(_by_hand(job)):
        return None
    key = (str(job.store.root), run.label)
    with _lock:
        done = _done.get(key)
        first = done is None
        if first:
            done = _done[key] = threading.Event()
    assert done is not None
    if not first:
        # Another step of the run is at it: no row is sent before it is through.
        while not done.wait(0.1):
            if key not in _done:
                return ensure_off(job, run)
        return None
    try:
        on_release(job, run, lambda: _released(job, run))
        if wanted.acts:
            _switch_off(job, run.layout.automation, run.label, wanted)
        done.set()
    except BaseException:
        with _lock:
            _done.pop(key, None)
        raise


def switch_off(job: SyncJob, wanted: AutomationControl) -> Record:
    """Switch a selection off by hand, until `switch_on` or the end of the template's next run."""
    return _switch_off(job, _by_hand(job), "", wanted)


def _switch_off(job: SyncJob, path: UPath, label: str, wanted: AutomationControl) -> Record:
    org, store = job.target, job.store
    with _one_at_a_time(store, job.plan.target_org_id, job.opened_by, org):
        there = automation_of(job, [str(kind) for kind in wanted.off]) if wanted.off else ()
        chosen = select(there, wanted)
        before = files.read_json(path)
        kept = before if before is not None and before["state"] == OFF else None
        # What an earlier process of this run saved stays as it was then: by now it is off because we switched it.
        saved = {key_of(item): item for item in (Item.from_json(entry) for entry in (kept or {}).get("items", ()))}
        saved |= {key_of(item): item for item in chosen if item.active and not item.fixed and key_of(item) not in saved}
        bypass = [*(kept or {}).get("bypass", ())]
        known = {part["name"] for part in bypass}
        bypass += [part for part in _bypass(org, wanted) if part["name"] not in known]
        data: dict[str, Any] = {
            "state": OFF,
            "template": job.plan.template,
            "phase": job.phase if label else "",
            "label": label,
            "target_alias": job.plan.target_alias,
            "target_org_id": job.plan.target_org_id,
            "by": f"{job.opened_by}",
            **Process.current().to_json(),
            "off_at": (kept or {}).get("off_at") or _now(store),
            "on_at": "",
            "items": [item.to_json() for item in saved.values()],
            "fixed": sorted(f"{key_of(item)}: {item.fixed}" for item in chosen if item.active and item.fixed),
            "bypass": bypass,
            "tests": list(wanted.tests),
            "failed": {},
            "attempts": 0,
            "earlier": [*(before or {}).get("earlier", ()), *([_period(before)] if before and not kept else [])],
        }
        record = Record(path, data)
        # Both before the first switch: from here on whoever comes next knows what to put back.
        files.write_json(path, data)
        files.write_json(_mark(store, record), {"record": str(path.relative_to(store.layout.root))})
        try:
            failed = switch(org, list(saved.values()), False, tests=wanted.tests)
            if failed:
                raise RequestError(
                    f"org '{org.alias}': automation could not be switched off, so nothing is sent: {_listed(failed)}. "
                    "Leave it on with `keep` in the template's automation, or give the user the right to change it "
                    "(Customize Application, Author Apex)."
                )
            for part in bypass:
                _pass(org, part)
        except IsyncError:
            _put_back(store, org, record)
            raise
        return record


# ── switching on ─────────────────────────────────────────────────────────────────────────────────────────


def restore(job: SyncJob, run: Run) -> Record | None:
    """Put back what the run switched off, and what was switched off by hand for its template; the run's record.

    Raises `RequestError` that names what is still off; the record stays, and every later start tries again.
    """
    for path in (run.layout.automation, _by_hand(job)):
        _restore(job.store, path, job.target, job.opened_by)
    with _lock:
        _done.pop((str(job.store.root), run.label), None)
    return record_of(run)


def switch_on(job: SyncJob) -> tuple[Record, ...]:
    """Put back everything that is off in the target, whoever switched it off; `LeaseHeldError` while a run writes."""
    done = []
    for record in records_off(job.store, job.plan.target_org_id):
        if _is_alive(job.store, record):
            raise LeaseHeldError(
                f"{record.where} is writing to {job.plan.target_alias} with automation off ({record.who}); it puts "
                f"everything back when it ends. Stop it with `isync abort {record.data['template']}`.",
                holder=record.who,
            )
        found = _restore(job.store, record.path, job.target, job.opened_by)
        done += [found] if found is not None else []
    return tuple(done)


def restore_left(store: Store, connect: Callable[[str], Org], by: str = "isync") -> tuple[list[Record], list[str]]:
    """Put back what dead processes left switched off; gives what was restored, and what could not be, in words.

    Safe at any moment beside living workers: a run whose lease somebody alive holds keeps what it has off, and what a
    person switched off by hand stays so. `connect` gives the org of an alias.
    """
    done: list[Record] = []
    failed: list[str] = []
    for record in records_off(store):
        if not record.data["label"] or _is_alive(store, record):
            continue
        try:
            found = _restore(store, record.path, connect(record.data["target_alias"]), by, unless_alive=True)
        except IsyncError as error:
            failed.append(f"{record.where}, off since {record.data['off_at']}: {error}")
            continue
        done += [found] if found is not None else []
    return done, failed


def _restore(store: Store, path: UPath, org: Org, by: str, *, unless_alive: bool = False) -> Record | None:
    """Put one record's items back; None where another did it before."""
    data = files.read_json(path)
    if data is None or data["state"] != OFF:
        return None
    found = org.identity().org_id
    if found != data["target_org_id"]:
        raise ConfigError(
            f"Automation of {data['target_org_id']} is to be put back, but orgs.yaml's {org.alias!r} is {found}. Correct "
            f"orgs.yaml, then run `isync automation {data['template']} on`."
        )
    with _one_at_a_time(store, data["target_org_id"], by, org):
        data = files.read_json(path)
        if data is None or data["state"] != OFF:
            return None
        record = Record(path, data)
        if unless_alive and _is_alive(store, record):
            return None
        failed = _put_back(store, org, record)
    if failed:
        raise RequestError(
            f"org '{org.alias}': automation that {record.where} switched off could not be put back: {_listed(failed)}. "
            f"Every start of the tool tries again; at once: `isync automation {data['template']} on`. The saved states are "
            f"in {path}."
        )
    return Record(path, files.read_json(path) or data)


def _put_back(store: Store, org: Org, record: Record) -> dict[str, str]:
    """Switch on and look again, some times over; what is left off, and why. The record says either."""
    left = record.items
    failed: dict[str, str] = {}
    bypass = list(record.data["bypass"])
    gone: list[str] = []
    attempts = 0
    for attempts in range(1, TRIES + 1):
        if attempts > 1:
            org.tuning.sleep(min(org.tuning.first_wait * 2**attempts, org.tuning.longest_wait))
        failed = {}
        try:
            failed = switch(org, left, True, tests=record.data["tests"])
            kinds = list(dict.fromkeys(item.kind for item in left))
            now = (
                {key_of(item): item for item in list_automation(org, {item.object for item in left}, kinds)}
                if left
                else {}
            )
        except OrgError as error:
            now = None
            failed = {key_of(item): str(error) for item in left}
        if now is not None:
            gone += [key_of(item) for item in left if key_of(item) not in now]
            left = tuple(item for item in left if key_of(item) in now and not now[key_of(item)].active)
            failed = {key_of(item): failed.get(key_of(item), "it is still off") for item in left}
        for part in list(bypass):
            try:
                _pass_no_more(org, part)
                bypass.remove(part)
            except OrgError as error:
                failed[f"bypass {part['name']}"] = str(error)
        if not failed:
            break
    data = {
        **record.data,
        "failed": failed,
        "attempts": int(record.data["attempts"]) + attempts,
        "gone": sorted(set(gone)),
    }
    if not failed:
        data |= {"state": ON, "on_at": _now(store)}
    files.write_json(record.path, data)
    if not failed:
        files.remove(_mark(store, record))
    return failed


def _released(job: SyncJob, run: Run) -> None:
    """The right to write is given back: by the end of the run, an error, or the end of the process."""
    key = (str(job.store.root), run.label)
    with _lock:
        _done.pop(key, None)
    for path in (run.layout.automation, _by_hand(job)):
        try:
            _restore(job.store, path, job.target, job.opened_by, unless_alive=True)
        except IsyncError as error:
            # What ended the run must not be hidden by this: the record says it, and every later start tries again.
            log.error("Automation is NOT restored. %s", error)


# ── the bypass ───────────────────────────────────────────────────────────────────────────────────────────


def _bypass(org: Org, wanted: AutomationControl) -> list[dict[str, Any]]:
    """What is to be given to the loading user, with what there was before."""
    parts: list[dict[str, Any]] = []
    name, setting = wanted.bypass.permission_set, wanted.bypass.setting
    user = user_id(org) if name or setting else ""
    if name:
        found = org.query(f"SELECT Id FROM PermissionSet WHERE Name = '{_quoted(name)}'")
        if found.height != 1:
            raise ConfigError(
                f"The target {org.alias!r} has no permission set {name!r} (automation, bypass). Make it, or correct its API name."
            )
        set_id = str(found["Id"][0])
        if not org.count("PermissionSetAssignment", _assigned(set_id, user)):
            parts.append({"kind": "permission_set", "name": name, "set": set_id, "user": user})
    if setting:
        object, _, field = setting.partition(".")
        rows = org.query(f"SELECT Id, {field} FROM {object} WHERE SetupOwnerId = '{user}'")
        before = str(rows[field][0]) == "true" if rows.height else None
        if before is not True:
            parts.append({"kind": "setting", "name": setting, "user": user, "before": before})
    return parts


def _pass(org: Org, part: Mapping[str, Any]) -> None:
    if part["kind"] == "permission_set":
        if not org.count("PermissionSetAssignment", _assigned(part["set"], part["user"])):
            _create(org, "PermissionSetAssignment", {"AssigneeId": part["user"], "PermissionSetId": part["set"]})
        return
    object, _, field = part["name"].partition(".")
    rows = org.query(f"SELECT Id FROM {object} WHERE SetupOwnerId = '{part['user']}'")
    if rows.height:
        org.request("PATCH", f"sobjects/{object}/{rows['Id'][0]}", json={field: True}, repeatable=True)
    else:
        _create(org, object, {"SetupOwnerId": part["user"], field: True})


def _pass_no_more(org: Org, part: Mapping[str, Any]) -> None:
    if part["kind"] == "permission_set":
        object, condition = "PermissionSetAssignment", _assigned(part["set"], part["user"])
    else:
        object, condition = part["name"].partition(".")[0], f"SetupOwnerId = '{part['user']}'"
    for row_id in org.query(f"SELECT Id FROM {object} WHERE {condition}").to_series().to_list():
        if part["kind"] == "setting" and part["before"] is not None:
            field = part["name"].partition(".")[2]
            org.request("PATCH", f"sobjects/{object}/{row_id}", json={field: part["before"]}, repeatable=True)
            continue
        try:
            org.request("DELETE", f"sobjects/{object}/{row_id}", repeatable=True)
        except RequestError as error:
            if error.details.get("code") not in ("NOT_FOUND", "ENTITY_IS_DELETED"):
                raise


def _create(org: Org, object: str, values: Mapping[str, Any]) -> None:
    """Insert; a repeat after a lost answer finds the row there (both objects allow one a user)."""
    try:
        org.request("POST", f"sobjects/{object}", json=dict(values), repeatable=True)
    except RequestError as error:
        if error.details.get("code") not in ("DUPLICATE_VALUE", "DUPLICATE_SETUP_OWNER"):
            raise


def _assigned(set_id: str, user: str) -> str:
    return f"PermissionSetId = '{set_id}' AND AssigneeId = '{user}'"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


# ── who may ──────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _one_at_a_time(store: Store, target_org_id: str, by: str, org: Org) -> Iterator[None]:
    """The right to switch in a target org; waits for the process that is at it, however long a deploy takes."""
    folder = store.layout.automation(target_org_id) / "lock"
    desk = LeaseDesk(folder, f"Automation of {target_org_id}", clock=store.clock)
    waited = 0.0
    while True:
        try:
            lease = desk.acquire_alone(by)
            break
        except LeaseHeldError:
            if waited >= LONGEST_WAIT:
                raise
            org.tuning.sleep(org.tuning.glance)
            waited += org.tuning.glance
    with lease, lease.keep():
        yield


def _is_alive(store: Store, record: Record) -> bool:
    """True while a living process holds the target's lease for the run that switched things off."""
    label = record.data["label"]
    desk = store.lease(record.data["target_org_id"])
    top = desk.top()
    return (
        bool(label) and top is not None and top.action != "free" and top.label == label and bool(desk.live_members(top))
    )


def _by_hand(job: SyncJob) -> UPath:
    return job.store.layout.automation(job.plan.target_org_id) / f"{encode(job.plan.template)}.json"


def _mark(store: Store, record: Record) -> UPath:
    name = record.data["label"] or f"{record.data['template']} by hand"
    return store.layout.automation(record.data["target_org_id"]) / "marks" / f"{encode(name)}.json"


def _objects(job: SyncJob, wanted: Sequence[str]) -> list[str]:
    """Target objects in scope; `ConfigError` for one that is not."""
    scope = {item.target_object.lower(): item.target_object for item in job.plan.objects}
    unknown = [name for name in wanted if name.lower() not in scope]
    if unknown:
        raise ConfigError(
            f"Not in scope of {job.plan.template!r}: {', '.join(unknown)}. In scope: {', '.join(scope.values())}."
        )
    return [scope[name.lower()] for name in wanted] or list(scope.values())


def _period(record: Mapping[str, Any]) -> dict[str, Any]:
    return {"off_at": record["off_at"], "on_at": record["on_at"], "items": len(record["items"])}


def _listed(failed: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in failed.items())


def _now(store: Store) -> str:
    now: datetime = store.clock()
    return now.isoformat(timespec="seconds")
