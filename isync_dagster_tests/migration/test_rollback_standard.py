"""Standard objects: a status of the second pass is taken back before the record goes; restricted lookups are minded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.dataset import DataSet
from isync_dagster.local_org.seeds.standard import standard
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.rollback import plan_rollback, rollback
from isync_dagster.migration.writing import release_all
from isync_dagster_tests.end_to_end.workbench import bench, template_of

SETTINGS = "objects:\n  Account: {match_key: Name}\n  Contract: {match_key: CustomerSignedTitle}\n"


def _data(accounts: tuple[str, ...], contracts: dict[str, tuple[str, str]]) -> DataSet:
    data = DataSet()
    data.add("Account", pl.DataFrame([{"_ref": name, "Name": name} for name in accounts]))
    rows = [
        {"_ref": name, "CustomerSignedTitle": name, "AccountId": account, "Status": status, "ContractTerm": "12"}
        for name, (account, status) in contracts.items()
    ]
    data.add("Contract", pl.DataFrame(rows))
    return data


def _table(org: LocalOrg, name: str) -> list[dict[str, Any]]:
    rows = org.table(name).filter(~pl.col("IsDeleted")).sort("Id")
    return rows.select(name for name in rows.columns if not name.startswith(("LastModified", "SystemMod"))).to_dicts()


def test_a_staged_status_and_restricted_lookups(tmp_path: Path) -> None:
    objects = standard(["Account", "Contract"])
    source = _data(("A", "B"), {"one": ("A", "Activated"), "two": ("B", "Draft"), "old": ("B", "Activated")})
    before = _data(("B",), {"old": ("B", "Draft")})
    with bench(tmp_path, objects, objects, source, before) as work:
        was = [_table(work.target, name) for name in ("Account", "Contract")]
        plan = work.plan(template_of(["Account", "Contract"], SETTINGS))
        (summary,) = work.run(plan)
        assert summary.kept
        statuses = dict(work.target.table("Contract").select("CustomerSignedTitle", "Status").iter_rows())
        assert statuses == {"one": "Activated", "two": "Draft", "old": "Activated"}
        job = SyncJob(plan, "all", work.source_client, work.target_client, work.store)
        patched: list[str] = []
        request = work.target_client.request

        def seen(method: str, path: str, **more: Any) -> Any:
            patched.append(f"{method} {path} {(more.get('body') or b'')!r} {more.get('params')}")
            return request(method, path, **more)

        work.target_client.request = seen  # type: ignore[method-assign]
        # Somebody's contract on an account that the run made forbids its deletion.
        account = work.target.table("Account").filter(pl.col("Name") == "A")["Id"][0]
        work.target.load(
            "Contract", pl.DataFrame([{"CustomerSignedTitle": "theirs", "AccountId": account, "Status": "Draft"}])
        )
        with work.target.storage.transaction() as cursor:
            later = "now() AT TIME ZONE 'UTC' + INTERVAL 1 HOUR"
            cursor.execute(f'UPDATE "Contract" SET CreatedDate = {later} WHERE "CustomerSignedTitle" = \'theirs\'')
        (planned,) = plan_rollback(job)
        assert [dict(item.conflicts) for item in planned.objects] == [{}, {"BLOCKED_BY_OTHERS": 1}]
        (result,) = rollback(job)
        assert result.states == {"Contract": {"deleted": 2, "updated": 1}, "Account": {"skipped": 1}}
        drafts = next(number for number, call in enumerate(patched) if "PATCH" in call and '"Status":"Draft"' in call)
        deletions = next(number for number, call in enumerate(patched) if call.startswith("DELETE"))
        assert drafts < deletions
        with work.target.storage.transaction() as cursor:
            cursor.execute('DELETE FROM "Contract" WHERE "CustomerSignedTitle" = \'theirs\'')
        (again,) = rollback(job, 1)
        assert again.complete
        assert [_table(work.target, name) for name in ("Account", "Contract")] == was
        release_all()
