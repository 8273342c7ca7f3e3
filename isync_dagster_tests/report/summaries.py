"""Summaries to render: a good run, and one with every kind of trouble."""

from __future__ import annotations

from isync_dagster.migration.model import ObjectSummary, Summary, Verdict


def summary(*, trouble: bool = False, phase: str = "people") -> Summary:
    """The summary of a run of two objects."""
    checks = ("conservation", "rejected_rows", "record_count", "relationships")

    def verdicts(name: str) -> tuple[Verdict, ...]:
        made = [Verdict(check, name, phase, 3, True, "As it should be.") for check in checks]
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
    )
