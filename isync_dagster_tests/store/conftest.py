"""Stores to test on: a local folder and fsspec's memory filesystem."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from upath import UPath

from isync_dagster.store.layout import JobKey
from isync_dagster.store.store import Store

SOURCE = "00D" + "A" * 15
TARGET = "00D" + "B" * 15
JOB = JobKey(SOURCE, TARGET, "demo", "all")


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A root of its own on each kind of filesystem."""
    return str(tmp_path / "store") if request.param == "local" else f"memory://{uuid.uuid4().hex}/store"


@pytest.fixture
def root(url: str) -> UPath:
    """The same as a path."""
    return UPath(url)


@pytest.fixture
def store(url: str) -> Store:
    """An empty store."""
    return Store.open(url)


@pytest.fixture
def local(tmp_path: Path) -> Store:
    """An empty store on disk."""
    return Store.open(str(tmp_path / "store"))
