"""The manual: it is built without a warning, is complete, and what it says happens."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.examples import Reader, converse
from vpopsql.daemon import commands
from tests.daemon.conftest import Running

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

FOLLOWED = (
    *("getting-started", "administration", "protocol", "reports", "usage", "explain"),
    *("files", "verify", "backup"),
)
"""The pages whose terminals are run, in this order, on one host."""
