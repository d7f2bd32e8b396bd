"""Rules of the code that import-linter cannot see."""

import ast
from pathlib import Path

import vpopsql

PACKAGE = Path(vpopsql.__file__).parent
OTHERS_THAT_WRITE = {
    "backup.py": "a backup, where the administrator says",
    "cli/import_.py": "the plan of an import, where the administrator says",
    "cli/man.py": "pages of the manual, where the administrator says",
    "cli/systemd.py": "units, where the administrator says",
    "compat/main.py": "nowhere, once nobody reads what a program says",
    "crew.py": "memory that two processes share",
    "daemon/guessing.py": "counters that processes share, for the daemon's user alone",
    "daemon/roster.py": "nothing: a lock in memory that processes share",
    "db/schema.py": "a new SQLite database, for its owner alone",
    "exporter/generations.py": "an archive in memory",
    "importer/tables/staging.py": "a copy of tables, among temporary files",
}
"""Modules that open files for writing which are no part of a site, and what they write."""

_FLAGS = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND", "O_TRUNC"}
_METHODS = {"write_text", "write_bytes", "touch"}


def opens_for_writing(node: ast.AST) -> bool:
    """Tell whether a piece of code does so, or has what it takes."""
    if isinstance(node, ast.Attribute):
        return node.attr in _FLAGS | _METHODS
    if not isinstance(node, ast.Call):
        return False
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    values = [*node.args, *(each.value for each in node.keywords)]
    modes = {each.value for each in values if isinstance(each, ast.Constant)}
    return name in {"open", "fdopen"} and any(
        isinstance(mode, str) and set(mode) <= set("rwaxbt+") and set(mode) & set("wax+")
        for mode in modes
    )


def test_only_tree_opens_a_sites_files_for_writing() -> None:
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if any(map(opens_for_writing, ast.walk(ast.parse(path.read_text()))))
    }

    assert {each for each in found if not each.startswith("tree/")} == set(OTHERS_THAT_WRITE)
    assert any(each.startswith("tree/") for each in found)
