"""Every path of the store, in one place.

    format.json
    leases/<target>.json                    the holder, for people
    leases/<target>/<generation>.json       who took, joined or gave back the lease: the truth
    leases/<target>/alive/<member>.json     when a member last renewed
    automation/<target>/<run>.json          what is switched off in a target org now, and who did it
    idmap/<src>--<tgt>/<Object>/<template>.<phase>.<run>/<part>.<sequence>.parquet
    pending/<src>--<tgt>/<Object>/<template>.<phase>.<run>/<part>.<sequence>.parquet
    runs/<src>--<tgt>/<template>/<phase>/hold.json
    runs/<src>--<tgt>/<template>/<phase>/<run>/
        plan.json  state.json  hold.json  automation.json  state/<n>.json  cleaned/<n>-<kind>.json
        extract/<Object>/  remap/<Object>/  audit/<Object>/  before/<Object>/
        ledger/<step>/<Object>/<chunk>/<attempt>/<n>-<state>.json
        carried/inputs.json  carried/<Object>.json
        claims/<step>/<Object>/  verdicts/<Object>/<name>.json  report/
        stops/<n>.json  stops/sessions/<session>.json  retries/<n>/…
    scans/<src>--<tgt>/<template>/<n>/
        opened.json  scan.json  missing/<Object>.parquet  work/…   the last only while the scan is going on
    history/<src>--<tgt>/<template>/history.html

Template, phase, step and part names become one path component each: letters, digits, `_` and `-` stay, every other
byte becomes `~` and two hexadecimal digits, so that no name can leave its folder and no two names meet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from upath import UPath

from isync_dagster.errors import StoreError

_ORG_ID = re.compile(r"[A-Za-z0-9]{18}")
_OBJECT = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}")
_ESCAPE = re.compile(rb"[^A-Za-z0-9_-]")
_ESCAPED = re.compile(rb"~([0-9a-f]{2})")
LONGEST_NAME = 120


def encode(name: str) -> str:
    """A name as one path component.

    >>> encode("wave-1"), encode("Wave 1/2"), encode("..")
    ('wave-1', 'Wave~201~2f2', '~2e~2e')
    """
    safe = _ESCAPE.sub(lambda found: b"~%02x" % found[0][0], name.encode()).decode()
    if not name or len(safe) > LONGEST_NAME:
        raise StoreError(f"The name {name!r} cannot be a folder's name: it must have 1 to {LONGEST_NAME} characters.")
    return safe


def decode(component: str) -> str:
    """The name that `encode` made a path component of.

    >>> decode("Wave~201~2f2")
    'Wave 1/2'
    """
    return _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), component.encode()).decode()


def object_name(name: str) -> str:
    """An object's API name, checked: it is a path component as it is."""
    if not _OBJECT.fullmatch(name):
        raise StoreError(f"{name!r} is not an object's API name, so the store has no place for it.", object=name)
    return name


def org_id(value: str) -> str:
    """An 18-character org id, checked: the 15-character form would name another folder for the same org."""
    if not _ORG_ID.fullmatch(value):
        raise StoreError(f"{value!r} is not an 18-character org id.", org_id=value)
    return value


@dataclass(frozen=True)
class JobKey:
    """The name of a sync job: which orgs, which template, which phase."""

    source_org_id: str
    target_org_id: str
    template: str
    phase: str


@dataclass(frozen=True)
class Layout:
    """Paths below one root."""

    root: UPath

    @property
    def format(self) -> UPath:
        """The file that says which layout this is."""
        return self.root / "format.json"

    @property
    def runs(self) -> UPath:
        """All sync jobs."""
        return self.root / "runs"

    def job(self, job: JobKey) -> UPath:
        """The runs of one sync job."""
        return self.runs / pair(job.source_org_id, job.target_org_id) / encode(job.template) / encode(job.phase)

    def run(self, job: JobKey, number: int) -> RunLayout:
        """One run of a sync job."""
        return RunLayout(self.job(job) / f"{number:05d}")

    def history(self, source_org_id: str, target_org_id: str, template: str) -> UPath:
        """The folder of the page over all runs of a template."""
        return self.root / "history" / pair(source_org_id, target_org_id) / encode(template)

    def lease(self, target_org_id: str) -> UPath:
        """The folder of a target org's lease."""
        return self.root / "leases" / org_id(target_org_id)

    def automation(self, target_org_id: str) -> UPath:
        """What is switched off in a target org now: a mark a run, the lock, and what a person switched off."""
        return self.root / "automation" / org_id(target_org_id)

    def idmap(self, source_org_id: str, target_org_id: str) -> UPath:
        """The id map of an org pair, a folder an object."""
        return self.root / "idmap" / pair(source_org_id, target_org_id)

    def scans(self, source_org_id: str, target_org_id: str, template: str) -> UPath:
        """The scans of a template, a numbered folder each."""
        return self.root / "scans" / pair(source_org_id, target_org_id) / encode(template)

    def pending(self, source_org_id: str, target_org_id: str) -> UPath:
        """The pending links of an org pair, a folder an object."""
        return self.root / "pending" / pair(source_org_id, target_org_id)


def pair(source_org_id: str, target_org_id: str) -> str:
    """The folder name of an org pair."""
    return f"{org_id(source_org_id)}--{org_id(target_org_id)}"


def batch(template: str, phase: str, run: int) -> str:
    """The folder name of what one run added to a durable log."""
    return f"{encode(template)}.{encode(phase)}.{run:05d}"


@dataclass(frozen=True)
class RunLayout:
    """Paths of one run."""

    folder: UPath

    @property
    def plan(self) -> UPath:
        """The plan the run was opened with, for people."""
        return self.folder / "plan.json"

    @property
    def state(self) -> UPath:
        """The newest state, for people."""
        return self.folder / "state.json"

    @property
    def states(self) -> UPath:
        """The folder of transitions: the truth."""
        return self.folder / "state"

    def transition(self, number: int) -> UPath:
        """The n-th transition of the run's state."""
        return self.states / f"{number:03d}.json"

    @property
    def hold(self) -> UPath:
        """Says that cleanup must leave this run alone."""
        return self.folder / "hold.json"

    @property
    def automation(self) -> UPath:
        """What was switched off in the target, to be switched on again."""
        return self.folder / "automation.json"

    @property
    def report(self) -> UPath:
        """The folder of the reports."""
        return self.folder / "report"

    @property
    def verdicts(self) -> UPath:
        """The folder of the checks' verdicts, a folder an object."""
        return self.folder / "verdicts"

    def extract(self, object: str) -> UPath:
        """The folder of an object's extract."""
        return self.folder / "extract" / object_name(object)

    def remap(self, object: str) -> UPath:
        """The folder of an object's rows ready to send."""
        return self.folder / "remap" / object_name(object)

    def audit(self, object: str) -> UPath:
        """The folder of an object's audit log."""
        return self.folder / "audit" / object_name(object)

    def before(self, object: str) -> UPath:
        """The folder of an object's before-images."""
        return self.folder / "before" / object_name(object)

    def verdict(self, object: str, name: str) -> UPath:
        """The verdict of one check."""
        return self.verdicts / object_name(object) / f"{encode(name)}.json"

    @property
    def ledgers(self) -> UPath:
        """The folder of the ledgers, a folder a step."""
        return self.folder / "ledger"

    def ledger(self, step: str, object: str) -> UPath:
        """The ledger of one step of an object."""
        return self.ledgers / encode(step) / object_name(object)

    @property
    def stops(self) -> UPath:
        """The folder of the requests to stop the run."""
        return self.folder / "stops"

    @property
    def retries(self) -> UPath:
        """The folder of the retries, a folder each."""
        return self.folder / "retries"

    def claim(self, step: str, object: str) -> UPath:
        """The claim of one worker to one step of an object."""
        return self.folder / "claims" / encode(step) / object_name(object)
