"""The files of two real sites, as vpopmail and qmail left them."""

import tarfile
from pathlib import Path

import pytest

TREES = Path(__file__).parents[1] / "trees"


def files_of(name: str) -> dict[str, bytes]:
    with tarfile.open(TREES / f"{name}.tar.gz") as archive:
        members = [member for member in archive if member.isfile()]
        readers = [archive.extractfile(member) for member in members]
        return {
            member.name: reader.read()
            for member, reader in zip(members, readers, strict=True)
            if reader is not None
        }


SITES = {name: files_of(name) for name in ("base", "small")}


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest) -> dict[str, bytes]:
    """One site after the other: path below the tree's root -> content."""
    return SITES[request.param]


@pytest.fixture
def small() -> dict[str, bytes]:
    return SITES["small"]


@pytest.fixture
def base() -> dict[str, bytes]:
    return SITES["base"]
