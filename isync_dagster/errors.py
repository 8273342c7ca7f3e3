"""Every error of the tool, in one tree; the branch says what the caller can do.

    IsyncError
    ├── ConfigError            change the template, orgs.yaml, a setting or a snapshot, then run again
    │   ├── TemplateError      a template says something that cannot be done (file and line named)
    │   ├── OrgsError          orgs.yaml or a credential in it is wrong
    │   ├── PlanError          template and schemas do not fit together
    │   │   └── CycleError     a cycle of required lookups: no order exists (path named)
    │   └── SnapshotError      a describe snapshot is missing, damaged or no longer fits the org
    ├── OrgError               Salesforce or the way to it
    │   ├── AuthenticationError   wrong or expired credentials: log in again
    │   ├── TransientError     try again later: the call did not happen, or may be repeated
    │   ├── UnknownOutcome     sent, and the answer was lost: settle before anything is sent again
    │   ├── ApiLimitError      the daily allowance is used up: resume when it recovers
    │   └── RequestError       Salesforce refused the call for good (errorCode named)
    │       └── JobError       a Bulk job failed or was aborted as a whole
    ├── StoreError             the store
    │   ├── StoreFormatError   made by a newer or unknown layout
    │   ├── LeaseHeldError     another run writes to this target org (holder named)
    │   └── LedgerConflict     another worker acted first
    ├── DataError              the data at hand does not allow to go on
    │   ├── PreflightError     findings before the first write
    │   ├── MissingParentError policy `stop` met a missing parent
    │   └── RejectedRowsError  continue on error is off and Salesforce refused rows
    ├── UnsettledError         rows whose outcome could not be settled: nothing more is sent
    └── StoppedError           a person asked the run to stop: what is left is pending, a resume goes on

Row-level refusals are data (audit log), never exceptions. Every error survives pickling: its only argument
is the message, all else is set by keyword.
"""

from __future__ import annotations

from typing import Any


class IsyncError(Exception):
    """The root: a message that says what, where and what to do next."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details = details

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.args, self.details))

    def __getattr__(self, name: str) -> Any:
        details = self.__dict__.get("details", {})
        if name in details:
            return details[name]
        raise AttributeError(name)


def _rebuild(kind: type[IsyncError], args: tuple[Any, ...], details: dict[str, Any]) -> IsyncError:
    return kind(*args, **details)


class ConfigError(IsyncError):
    """The configuration must change before a run can work."""


class TemplateError(ConfigError):
    """A template says something that cannot be done; `file` and `line` say where."""


class OrgsError(ConfigError):
    """orgs.yaml names no such org, or a credential of it is missing or malformed."""


class PlanError(ConfigError):
    """Template and schemas do not fit together."""


class CycleError(PlanError):
    """Required lookups form a cycle, so no load order exists; `path` lists `Object.Field` steps."""


class SnapshotError(ConfigError):
    """A describe snapshot is missing, damaged, or no longer fits its org."""


class OrgError(IsyncError):
    """Salesforce, or the way to it, did not do what was asked."""


class AuthenticationError(OrgError):
    """Salesforce does not accept the credentials."""


class TransientError(OrgError):
    """The call may be repeated: a lock, a busy server, a refused connection; `code` where there is one."""


class UnknownOutcome(OrgError):
    """The request went out and no answer came: it may or may not have taken effect."""


class ApiLimitError(OrgError):
    """The org's API allowance is used up; a resume continues when it recovers."""


class RequestError(OrgError):
    """Salesforce refused the call for good; `code` is its errorCode, `status` the HTTP status."""


class JobError(RequestError):
    """A Bulk job failed or was aborted as a whole; `job_id` names it, `state` its state."""


class StoreError(IsyncError):
    """The store cannot be read or written."""


class StoreFormatError(StoreError):
    """The store was made by a newer or unknown layout of this tool."""


class LeaseHeldError(StoreError):
    """Another run holds the right to write to this target org; `holder` says who."""


class LedgerConflict(StoreError):
    """Another worker recorded this ledger transition first, so this one must not act."""


class DataError(IsyncError):
    """The data at hand does not allow to go on."""


class PreflightError(DataError):
    """The gate found blocking problems before the first row was written."""


class MissingParentError(DataError):
    """A lookup with policy `stop` points at a parent that is not in the target."""


class RejectedRowsError(DataError):
    """Salesforce refused rows and continue on error is off."""


class UnsettledError(IsyncError):
    """Rows were sent and their outcome could not be settled; nothing more is sent."""


class StoppedError(IsyncError):
    """A person asked the run to stop; what was sent is accounted, the rest is pending, and a resume goes on."""
