"""What a Celery worker runs: `celery -A isync_dagster.assets.celery_app worker --concurrency 4 -Q dagster`.

A worker's processes stay when a step ends, so the leases that the step held are given back then. The pool of
processes (prefork, Celery's default) is the one to use: a worker that works in its main process answers no roll call.
"""

from __future__ import annotations

from typing import Any

from celery import signals
from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_task

from isync_dagster.assets.celery_steps import CelerySteps

app = make_app(CelerySteps.from_env().app_args())
execute_plan = create_task(app)


@signals.task_postrun.connect  # type: ignore[untyped-decorator]
def give_back(**_: Any) -> None:
    """Leave the leases to the driver of the run, which holds them too by then."""
    from isync_dagster.migration.writing import hand_over

    hand_over()
