"""What all pages have: head, navigation, foot, and text that cannot be taken for markup.

All pages share a style and a script of ours. Nothing else is loaded or run, be the pages read from
a web server or from a disk.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from urllib.parse import quote

from vpopsql import __version__
from vpopsql.shown import iso, printable

_POLICY = (
    "default-src 'none'; style-src 'self' file:; script-src 'self' file:; img-src data:;"
    " base-uri 'none'; form-action 'none'"
)
"""What a page may load. Of a page from a disk not every browser takes the disk for the same."""
_ICON = (
    "data:image/svg+xml,"
    + quote(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path d="M1 3h14v10H1z"'
        ' fill="#0f6b6b"/><path d="m1 4 7 5 7-5" fill="none" stroke="#fff"/></svg>'
    )
)  # fmt: skip
_MARKUP = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"}
_TO_MARKUP = str.maketrans(_MARKUP)
_PLAIN = re.compile(r"[A-Za-z0-9 !#$%()*+,\-./:;=?@\[\]^_{|}~]*")
"""What needs no look at each character: nearly all texts."""


def escape(text: str) -> str:
    """Return a text that is nothing but text, in an element as in an attribute.

    What cannot be printed, what turns the direction of text, and bytes that were no UTF-8 are
    escaped as Python would.
    """
    if _PLAIN.fullmatch(text):
        return text
    return printable(text).translate(_TO_MARKUP)


@dataclass(frozen=True, slots=True)
class Frame:
    """What is the same on all pages of a site."""

    title: str
    """Of the whole site, such as "Mail site"."""
    as_of: datetime
    """When the database was as the pages show it."""
    rows: int
    """At most so many are shown of each report on a page."""

    def page(self, title: str, body: str, *, path: str, here: str = "") -> str:
        """Return a page.

        :param title: as text; the overview's is empty.
        :param body: as markup, an ``h1`` first.
        :param path: of the page, below the site's directory.
        :param here: which entry of the navigation it is: ``index``, ``domains`` or ``reports``.
        """
        site = escape(self.title)
        top = "../" * path.count("/")
        links = "".join(
            f'<a href="{top}{target}"{" aria-current=page" if name == here else ""}>{text}</a>'
            for name, target, text in (
                ("index", "index.html", site),
                ("domains", "domains/index.html", "Domains"),
                ("reports", "index.html#reports", "Reports"),
            )
        )
        full = f"{escape(title)} · {site}" if title else site
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="color-scheme" content="light dark">'
            '<meta name="referrer" content="no-referrer">'
            '<meta name="robots" content="noindex, nofollow">'
            f"<title>{full}</title>"
            f'<link rel="icon" href="{_ICON}">'
            f'<link rel="stylesheet" href="{top}assets/style.css"></head><body>'
            '<a class="skip" href="#content">Skip to the content</a>'
            f'<header><nav aria-label="Site">{links}</nav></header>'
            f'<main id="content" tabindex="-1">{body}</main>'
            f"<footer><p>{time(self.as_of)}, by vpopsql {__version__}. What is not known is"
            " called unknown; it is never 0. Sizes count in KiB of 1,024 bytes.</p></footer>"
            f'<script src="{top}assets/sort.js"></script></body></html>\n'
        )


def assets() -> Iterator[tuple[str, str]]:
    """Give the paths of the files that all pages share, and what is in them."""
    for name in ("style.css", "sort.js"):
        text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
        yield f"assets/{name}", text


def time(value: datetime) -> str:
    """Return a time as markup that programs understand, too."""
    exact = iso(value)
    return f'<time datetime="{exact}">{exact}</time>'
