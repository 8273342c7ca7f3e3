from __future__ import annotations

from pathlib import Path

import pytest

from isync_dagster.errors import StoreError, StoreFormatError
from isync_dagster.store import files
from isync_dagster.store.layout import JobKey
from isync_dagster.store.store import FORMAT, Store
from isync_dagster_tests.store.conftest import SOURCE, TARGET
from isync_dagster_tests.store.racing import T0


def test_opening_makes_it_once(url: str) -> None:
    store = Store.open(url)
    made = files.read_json(store.layout.format)
    assert made is not None and made["format"] == FORMAT
    Store.open(url)
    assert files.read_json(store.layout.format) == made


def test_a_newer_format_is_refused(store: Store, url: str) -> None:
    files.write_json(store.layout.format, {"format": FORMAT + 1})
    with pytest.raises(StoreFormatError, match=rf"has format {FORMAT + 1}.*knows up to {FORMAT}.*Update the tool"):
        Store.open(url)


@pytest.mark.parametrize("content", [{}, {"format": "x"}, {"format": 0}])
def test_an_unknown_format_is_refused(store: Store, url: str, content: dict[str, object]) -> None:
    files.write_json(store.layout.format, content)
    with pytest.raises(StoreFormatError, match="Is this folder a store"):
        Store.open(url)


def test_a_place_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/store.*set ISYNC_STORE"):
        Store.open(str(tmp_path / "file" / "store"))


def test_a_store_that_became_unwritable_says_so(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    store.check_writable()
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == ["format.json"]
    (tmp_path / "store").rename(tmp_path / "moved")
    (tmp_path / "store").write_text("a file now")
    with pytest.raises(StoreError, match=r"store.*set ISYNC_STORE"):
        store.check_writable()


def test_a_relative_path_and_home_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Store.open("rows").root.path == str(tmp_path / "rows")
    assert Store.open("~/rows").root.path == str(tmp_path / "home" / "rows")
    assert Store.open(f"file://{tmp_path}/rows").root.path == str(tmp_path / "rows")


@pytest.mark.parametrize(("url", "text"), [(" ", "has no place"), ("nosuch://x/y", "cannot be reached")])
def test_a_url_that_is_none_is_refused(url: str, text: str) -> None:
    with pytest.raises(StoreError, match=f"{text}.*ISYNC_STORE"):
        Store.open(url)


def test_jobs_lists_what_has_runs(store: Store) -> None:
    jobs = [JobKey(SOURCE, TARGET, "demo", phase) for phase in ("all", "Wave 1/2")]
    for job in jobs:
        store.runs(job).open_or_resume({}, "h", T0, "me")
    assert sorted(store.jobs(), key=lambda job: job.phase) == sorted(jobs, key=lambda job: job.phase)


def test_the_root_is_private(local: Store) -> None:
    assert Path(local.root.path).stat().st_mode & 0o777 == 0o700
