"""Summaries to render: a good run, and one with every kind of trouble."""

from __future__ import annotations

from typing import Any

from isync_dagster.migration.model import ObjectSummary, Summary, Verdict


def _values(name: str, phase: str) -> tuple[Verdict, ...]:
    """What the comparison of values found: one cell and one total of contacts differ."""
    bad = name == "Contact"
    cell = {"object": name, "source id": "003A", "target id": "003B", "field": "Phone", "expected": "1", "found": "2"}
    totals = (
        {"metric": "records by owner", "value": "Ada <i>", "source": 700, "target": 700, "difference": None},
        {"metric": "pipeline", "value": "Won", "source": 1250000.5, "target": 1250000, "difference": -0.5}
        if bad
        else {"metric": "pipeline", "value": "", "source": 3, "target": 3, "difference": None},
    )
    numbers = {"compared values": 9000, "different": int(bad)}
    fields = Verdict(
        "fields", name, phase, 3, not bad, "1 of 9,000 values differ." if bad else "Alike.", "error", numbers, (cell,)
    )
    return fields, Verdict("totals", name, phase, 3, not bad, "Totals were compared.", "error", {}, totals)


def summary(*, trouble: bool = False, phase: str = "people", values: bool = False) -> Summary:
    """The summary of a run of two objects; with `values` also what was compared, what it took and what happened."""
    more: dict[str, Any] = {}
    if values:
        more = {
            "opened_at": "2026-01-01T00:00:05+00:00",
            "opened_by": "Dagster run 1234",
            "used": (
                {"stage": "extract", "object": "Account", "calls": 4, "seconds": 1.5},
                {"stage": "load", "object": "Account", "calls": 9, "seconds": 30.25},
                {"stage": "retry-1", "object": "Contact", "calls": 3, "seconds": 2.0},
                {"stage": "closing", "object": "", "calls": 2, "seconds": 0.5},
            ),
            "history": (
                {"at": "2026-01-01T00:00:05+00:00", "what": "opened", "by": "Dagster run 1234"},
                {"at": "2026-01-02T00:00:00+00:00", "what": "retry 1 of Contact: 3 inserted", "by": ""},
            ),
            "spot_checks": (
                {
                    "object": "Contact",
                    "field": "AccountId",
                    "record": "Ada",
                    "parent in the source": "Acme & Co",
                    "parent in the target": "Acme & Co",
                },
            ),
            "error_files": ("errors_Contact_20260101T000000.csv",) if trouble else (),
        }
    checks = ("conservation", "rejected_rows", "record_count", "relationships")

    def verdicts(name: str) -> tuple[Verdict, ...]:
        made = [Verdict(check, name, phase, 3, True, "As it should be.") for check in checks]
        if values:
            made += _values(name, phase)
        if trouble and name == "Contact":
            text = "2 lookups point at <other> records."
            made[3] = Verdict(
                "relationships", name, phase, 3, False, text, table=({"contact": "003A", "account": "Ü|<script>"},)
            )
        return tuple(made)

    contact = {"inserted": 1200, "failed": 3} if trouble else {"inserted": 1203}
    errors = (
        {
            "code": "REQUIRED_FIELD_MISSING",
            "message": "Required fields are missing: [<b>LastName</b>] | end",
            "fields": "LastName",
            "rows": 3,
            "sample": "003A",
            "advice": "Fill it in the source.",
        },
    )
    return Summary(
        template="core",
        phase=phase,
        run=3,
        state="closed",
        source="source",
        target="target",
        source_org_id="00D000000000001AAA",
        target_org_id="00D000000000002AAA",
        t0="2026-01-01T00:00:00+00:00",
        closed_at="2026-01-01T00:01:00+00:00",
        objects=(
            ObjectSummary(
                "Account",
                "Account",
                0,
                500,
                {"inserted": 480, "updated": 5, "identical": 15},
                {"linked": 100, "empty": 400},
                100,
                0,
                (),
                (("Fax", "excluded by the template"),),
                verdicts("Account"),
            ),
            ObjectSummary(
                "Contact",
                "Person__c",
                1,
                1203,
                contact,
                {"linked": 1201, "pending": 2},
                1201,
                2 if trouble else 0,
                errors if trouble else (),
                (),
                verdicts("Contact"),
            ),
        ),
        warnings=("sequence 20 of Contact comes before its parent",) if trouble else (),
        numbers={"api_calls": 42, "seconds": 12.5},
        report_path="/store/report.html",
        **more,
    )
