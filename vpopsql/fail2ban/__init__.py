"""What fail2ban needs to shut hosts out that guess at passwords: a filter and a jail."""

from pathlib import Path

_HERE = Path(__file__).parent


def files() -> dict[str, str]:
    """Return the files, by their paths below fail2ban's directory."""
    return {
        "filter.d/vpopsql.conf": (_HERE / "filter.conf").read_text(),
        "jail.d/vpopsql.conf": (_HERE / "jail.conf").read_text(),
    }
