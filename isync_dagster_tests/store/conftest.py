"""Stores to test on: a local folder, an S3 server, and memory."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from upath import UPath

from isync_dagster.store.layout import JobKey
from isync_dagster.store.store import Store
from isync_dagster_tests.store.s3 import BUCKET, environment, serving_s3

SOURCE = "00D" + "A" * 15
TARGET = "00D" + "B" * 15
JOB = JobKey(SOURCE, TARGET, "demo", "all")


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The URL of a bucket that this process and its children reach."""
    with serving_s3() as found, environment(found):
        yield f"s3://{BUCKET}"


@pytest.fixture(params=["local", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A root of its own on each medium."""
    name = uuid.uuid4().hex
    if request.param == "s3":
        return f"{request.getfixturevalue('s3')}/{name}/store"
    return str(tmp_path / "store") if request.param == "local" else f"memory://{name}/store"


@pytest.fixture(params=["local", "s3"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A root that several processes reach."""
    if request.param == "s3":
        return f"{request.getfixturevalue('s3')}/{uuid.uuid4().hex}/store"
    return str(tmp_path / "store")


@pytest.fixture
def root(url: str) -> UPath:
    """The same as a path."""
    return UPath(url)


@pytest.fixture
def store(url: str) -> Store:
    """An empty store."""
    return Store.open(url)


@pytest.fixture
def shared(shared_url: str) -> Store:
    """An empty store that other processes reach."""
    return Store.open(shared_url)


@pytest.fixture
def local(tmp_path: Path) -> Store:
    """An empty store on disk."""
    return Store.open(str(tmp_path / "store"))
