"""Everything that a template and two schemas say against each other, gathered before anything is raised."""

from __future__ import annotations

from isync_dagster.errors import CycleError, PlanError


class Problems:
    """Problems stop the plan, warnings go with it; both keep the order in which they are found, each once."""

    def __init__(self, template: str) -> None:
        self._template = template
        self._problems: dict[str, None] = {}
        self._warnings: dict[str, None] = {}
        self._cycle: CycleError | None = None

    def add(self, where: str, what: str) -> None:
        """Note something that must change before there is a plan."""
        self._problems[f"{where}: {what}"] = None

    def warn(self, where: str, what: str) -> None:
        """Note something that people should know and that stops nothing."""
        self._warnings[f"{where}: {what}"] = None

    def cycle(self, error: CycleError) -> None:
        """Note that no load order exists."""
        self._cycle = error

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self._warnings)

    @property
    def found(self) -> bool:
        """True where something must change."""
        return bool(self._problems) or self._cycle is not None

    def raise_if_any(self) -> None:
        """Raise one `PlanError` that lists every problem; a `CycleError` where a cycle is the only one."""
        lines = list(self._problems)
        if self._cycle is not None:
            lines.append(str(self._cycle))
        if not lines:
            return
        many = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
        text = f"Template {self._template!r} does not fit its orgs ({many}):\n" + "\n".join(
            f"  {line}" for line in lines
        )
        if self._cycle is not None and not self._problems:
            raise CycleError(text, template=self._template, path=self._cycle.path, problems=tuple(lines))
        raise PlanError(text, template=self._template, problems=tuple(lines))


def listed(names: list[str], most: int = 12) -> str:
    """Names with commas, cut where there are many.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
