"""A site is replaced whole, or not at all, and nothing that is not ours is touched."""

import errno
import os
import stat
from pathlib import Path

import pytest

from vpopsql.errors import ExportFailed
from vpopsql.reports.site import publish
from vpopsql.reports.site.publish import MARK, Pages, publishing


def put(directory: Path, text: str, *domains: str) -> None:
    """Publish a site of a few pages."""
    with publishing(directory) as (root, umask):
        pages = Pages(root, umask)
        for name in (*domains, "index"):
            pages.write(f"domains/{name}.html", text)
        pages.write("reports/admins.html", text)
        pages.write("assets/style.css", text)
        pages.write("index.html", text)


def found(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): path.read_text()
        for path in directory.rglob("*")
        if path.is_file() and not path.name.startswith(MARK)
    }


def site(text: str, *domains: str) -> dict[str, str]:
    pages = [f"domains/{name}.html" for name in (*domains, "index")]
    return dict.fromkeys([*pages, "reports/admins.html", "assets/style.css", "index.html"], text)


def test_a_directory_is_made_or_may_be_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    put(tmp_path / "new", "1", "a")
    put(tmp_path / "empty", "1", "a")

    assert found(tmp_path / "new") == found(tmp_path / "empty") == site("1", "a")


def test_a_new_site_replaces_all_of_the_old_one(tmp_path: Path) -> None:
    put(tmp_path / "site", "old", "a", "b")
    put(tmp_path / "site", "new", "b", "c")

    assert found(tmp_path / "site") == site("new", "b", "c")
    assert not (tmp_path / "site/.next").exists()


def test_directories_change_places_where_that_takes_two_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    put(tmp_path / "site", "old", "a")
    monkeypatch.setattr(publish, "_renameat2", cannot)
    put(tmp_path / "site", "new", "b")

    assert found(tmp_path / "site") == site("new", "b")


def test_what_others_put_there_stays(tmp_path: Path) -> None:
    put(tmp_path, "old")
    (tmp_path / "robots.txt").write_text("theirs")
    put(tmp_path, "new")

    assert found(tmp_path) == site("new") | {"robots.txt": "theirs"}


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("theirs")

    with pytest.raises(ExportFailed, match="is not empty, and was not made by"):
        put(tmp_path, "new")

    assert found(tmp_path) == {"index.html": "theirs"}


def test_a_mark_that_is_no_file_is_none(tmp_path: Path) -> None:
    (tmp_path / MARK).symlink_to("/etc/hostname")

    with pytest.raises(ExportFailed, match="is not empty"):
        put(tmp_path, "new")


@pytest.mark.parametrize("name", ["file", "file/below", "missing/below"])
def test_a_place_that_can_be_no_directory_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ExportFailed, match=name):
        put(tmp_path / name, "new")


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, OSError(28, "No space")])
def test_an_interrupted_run_leaves_the_old_site(
    tmp_path: Path, failure: BaseException | type[BaseException]
) -> None:
    put(tmp_path, "old", "a")

    def interrupted() -> None:
        with publishing(tmp_path) as (root, umask):
            Pages(root, umask).write("index.html", "new")
            raise failure

    with pytest.raises((RuntimeError, KeyboardInterrupt, ExportFailed)):
        interrupted()

    assert found(tmp_path) == site("old", "a")
    assert not (tmp_path / ".next").exists()


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    put(tmp_path, "old", "a")
    (tmp_path / ".next/domains").mkdir(parents=True)
    (tmp_path / ".next/domains/zombie.html").write_text("half")

    put(tmp_path, "new", "b")

    assert found(tmp_path) == site("new", "b")


def test_two_do_not_write_at_once(tmp_path: Path) -> None:
    put(tmp_path, "old")

    def at_once() -> None:
        with publishing(tmp_path):
            put(tmp_path, "second")

    with pytest.raises(ExportFailed, match="another process is writing"):
        at_once()

    assert found(tmp_path) == site("old")


@pytest.mark.parametrize(
    "umask, file, directory", [(0o022, 0o640, 0o750), (0o077, 0o600, 0o700), (0, 0o640, 0o750)]
)
def test_others_may_not_read_the_pages(
    tmp_path: Path, umask: int, file: int, directory: int
) -> None:
    usual = os.umask(umask)
    try:
        put(tmp_path / "site", "1", "ex/example.com")
        after = os.umask(umask)
    finally:
        os.umask(usual)

    modes = {
        stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "site").rglob("*")
        if not path.name.endswith(".lock")
    }
    assert modes == {file, directory}
    assert stat.S_IMODE((tmp_path / "site").stat().st_mode) == directory
    assert after == umask
