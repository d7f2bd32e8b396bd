"""The lock of a site's files, and errors as people find them."""

import contextlib
from collections.abc import Iterator

from vpopsql.config import Config, Paths
from vpopsql.errors import ExportFailed
from vpopsql.exporter import render
from vpopsql.exporter.outbox import Outbox
from vpopsql.tree import Tree, UnsafePath

SITE_DIR_MODE = 0o755


@contextlib.contextmanager
def locked(tree: Tree, config: Config, timeout_s: float) -> Iterator[None]:
    """Hold the site's lock, and explain what goes wrong meanwhile; keep for hooks what changes."""
    paths = config.paths
    with explained(paths):
        for directory in (paths.users, paths.control):
            if not tree.exists(directory):
                tree.make_dir(directory, SITE_DIR_MODE, parents=True)
        has_hooks = bool(config.hooks.commands)
        recording = Outbox(tree, paths).recording if has_hooks else contextlib.nullcontext
        with tree.lock(f"{paths.qmail}/{render.ASSIGN}", timeout_s), recording():
            yield


@contextlib.contextmanager
def explained(paths: Paths) -> Iterator[None]:
    """Say of an error which file it concerns, as people find it."""
    try:
        yield
    except BrokenPipeError:
        raise  # of who prints meanwhile
    except OSError as error:
        path = error.filename
        shown = f"{paths.root}{path}" if isinstance(path, str) else path
        raise ExportFailed(f"{shown}: {error.strerror}") from error
    except (UnsafePath, render.Unrenderable) as error:
        raise ExportFailed(str(error)) from error
