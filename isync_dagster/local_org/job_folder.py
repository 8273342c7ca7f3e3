"""Jobs of one Bulk API on disk: a folder a job with its state as `job.json`, and the threads that work them off."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from isync_dagster.local_org.ids import id_range, to18

if TYPE_CHECKING:
    from isync_dagster.local_org.bulk1_jobs import Bulk1Job
    from isync_dagster.local_org.bulk_jobs import Job
    from isync_dagster.local_org.local_org import LocalOrg

JobT = TypeVar("JobT", "Job", "Bulk1Job")


class JobFolder(Generic[JobT]):
    """The jobs below `<org>/<name>`; `lock` guards the list of them and each change of a job's state."""

    def __init__(self, org: LocalOrg, name: str) -> None:
        self.org: LocalOrg = org
        self.folder = org.folder / name
        self.folder.mkdir(exist_ok=True, mode=0o700)
        self.lock = threading.RLock()
        self.stopping = threading.Event()
        self.pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix=name)
        self.jobs: dict[str, JobT] = {}

    def read(self, kind: type[JobT]) -> Iterator[tuple[JobT, dict[str, Any]]]:
        """Every job on disk, taken into the list, with the values it was written with; a value that `kind` does not
        know is of another version and left out."""
        known = {item.name for item in fields(kind)}
        for path in sorted(self.folder.glob("*/job.json")):
            values = json.loads(path.read_text())
            job = kind(**{key: value for key, value in values.items() if key in known})
            self.jobs[job.id] = job
            yield job, values

    def close(self) -> None:
        """Stop after what is under way; the rest goes on at the next start."""
        self.stopping.set()
        self.pool.shutdown(wait=True, cancel_futures=True)

    def new_id(self, prefix: str, counter: str) -> str:
        """The next id of that key prefix."""
        with self.org.storage.transaction():
            number = self.org.storage.count_up(counter, 1)
        return str(id_range(prefix, self.org.storage.pod, number, 1)[0])

    def take_in(self, job: JobT) -> JobT:
        """List a new job and write it down."""
        self.path(job).mkdir(mode=0o700)
        with self.lock:
            self.jobs[job.id] = job
        self.save(job)
        return job

    def get(self, job_id: str) -> JobT | None:
        """The job of that id (15 or 18 characters)."""
        with self.lock:
            return self.jobs.get(to18(job_id))

    def all(self) -> list[JobT]:
        """All jobs as they are listed now."""
        with self.lock:
            return list(self.jobs.values())

    def path(self, job: JobT) -> Path:
        """The folder of a job."""
        return self.folder / job.id

    def save(self, job: JobT) -> None:
        """Write the job's state down, unless it was deleted while it was at work."""
        with self.lock:
            if job.id not in self.jobs:
                return
            path = self.path(job) / "job.json"
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(asdict(job)))
            temporary.replace(path)

    def forget(self, job: JobT) -> None:
        """Take the job off the list, and its files off the disk."""
        with self.lock:
            self.jobs.pop(job.id, None)
        shutil.rmtree(self.path(job), ignore_errors=True)
