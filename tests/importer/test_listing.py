"""The plan as data: what docs/import-plan.schema.json promises."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.importer import changing
from tests.importer.changing import ASSIGN, LOCALS, VPASSWD, Changing
from vpopsql.db import Database
from vpopsql.importer.backend import Choices
from vpopsql.importer.codes import Code
from vpopsql.importer.listing import VERSION, as_objects
from vpopsql.importer.plan import Plan

Unpack = Callable[[str], Path]

SCHEMA = Path(__file__).parents[2] / "docs/import-plan.schema.json"
ON_SQLITE = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def validator(schema: dict[str, Any]) -> Draft202012Validator:
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def listed(plan: Plan, *, applied: bool = False) -> list[dict[str, Any]]:
    """Return the objects as a reader of the lines gets them."""
    return [json.loads(json.dumps(each)) for each in as_objects(plan, applied=applied)]


def mistakes(validator: Draft202012Validator, objects: list[dict[str, Any]]) -> list[str]:
    return [
        f"{each}: {error.message}" for each in objects for error in validator.iter_errors(each)
    ]


def damage(site: Changing) -> None:
    site.insert(ASSIGN, b"+stray.org-:gone.org:89:89:/home/x:-::")
    site.damage(ASSIGN, b"\n.\n", b"\nnonsense\n.\n")
    site.damage(VPASSWD, b"\npostmaster:", b"\nnonsense\npostmaster:")
    site.append(LOCALS, b"test.com")


def test_the_schema_is_of_the_version_that_is_written(schema: dict[str, Any]) -> None:
    assert schema["$defs"]["plan"]["properties"]["version"]["const"] == VERSION
    assert schema["$id"].endswith(f":{VERSION}")


def test_every_object_that_is_written_is_in_the_schema_alone(schema: dict[str, Any]) -> None:
    parts = [name.rpartition("/")[2] for each in schema["oneOf"] for name in each.values()]

    assert parts == ["plan", "source", "finding", "left", "domain", "change", "summary"]
    assert all(schema["$defs"][part]["additionalProperties"] is False for part in parts)
    assert all(
        schema["$defs"][part]["required"] == list(schema["$defs"][part]["properties"])
        for part in parts
    )


@ON_SQLITE
@pytest.mark.parametrize("name", ["base", "small"])
def test_the_plan_of_a_sound_site_is_valid(
    database: Database, unpack: Unpack, validator: Draft202012Validator, name: str
) -> None:
    site = Changing(database, unpack(name))

    objects = listed(site.plan())

    assert mistakes(validator, objects) == []
    assert objects[0]["type"] == "plan"
    assert objects[-1]["type"] == "summary"


@ON_SQLITE
def test_the_plan_of_a_damaged_site_and_its_update_is_valid(
    database: Database, unpack: Unpack, validator: Draft202012Validator
) -> None:
    site = Changing(database, unpack("base"))
    site.update(choices=Choices())
    site.replace(VPASSWD, b"Alice Example", b"Alice")
    site.drop(VPASSWD, b"bob:")
    damage(site)

    refused, updated = (
        listed(site.plan()),
        listed(
            site.plan(update=True, accepted=[Code.MALFORMED, Code.NO_REAL_DOMAIN]), applied=True
        ),
    )

    assert mistakes(validator, refused) == []
    assert mistakes(validator, updated) == []
    assert {each["type"] for each in updated} == {
        "plan",
        "source",
        "finding",
        "left",
        "domain",
        "change",
        "summary",
    }


@ON_SQLITE
def test_an_object_with_anything_else_in_it_is_not_valid(
    database: Database, unpack: Unpack, validator: Draft202012Validator
) -> None:
    site = Changing(database, unpack("base"))
    objects = listed(site.plan())

    spoilt = [each | {"surprise": 1} for each in objects]
    cut = [{key: value for key, value in each.items() if key != "type"} for each in objects]

    assert all(not validator.is_valid(each) for each in [*spoilt, *cut])


@ON_SQLITE
def test_the_summary_adds_up_what_the_lines_say(database: Database, unpack: Unpack) -> None:
    site = Changing(database, unpack("small"))

    objects = listed(site.plan())

    *_, summary = objects
    sources = [each for each in objects if each["type"] == "source"]
    domains = [each for each in objects if each["type"] == "domain"]
    assert sum(each["lines"] for each in summary["sources"].values()) == sum(
        each["lines"] for each in sources
    )
    assert summary["parts"]["mailboxes"]["new"] == sum(
        each["counts"]["mailboxes"] for each in domains
    )
    assert all(
        each["lines"] == each["imported"] + each["merged"] + each["foreign"] + each["rejected"]
        for each in sources
    )
    assert summary["lines_add_up"]


@ON_SQLITE
def test_clear_passwords_are_counted_for_the_whole_site(
    database: Database, unpack: Unpack
) -> None:
    site = Changing(database, unpack("small"))

    left_out = listed(site.plan(choices=Choices()))[-1]["clear_texts_left_out"]
    taken = listed(site.plan())[-1]["clear_texts_left_out"]

    assert (left_out, taken) == (264, 0)


@ON_SQLITE
def test_what_is_accepted_is_listed_as_such(database: Database, unpack: Unpack) -> None:
    site = Changing(database, unpack("base"))
    damage(site)

    objects = listed(site.plan(accepted=[Code.MALFORMED]))

    accepted = [each["code"] for each in objects if each.get("accepted")]
    others = [each["code"] for each in objects if each.get("accepted") is False]
    assert set(accepted) == {"malformed"}
    assert "no-real-domain" in others
    assert changing.conflicts(site.plan()) == []
