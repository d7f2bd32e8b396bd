"""What is configured, and what may be, for people to read; no password is shown."""

import inspect
import itertools
import json
import re

from vpopsql.config.sections import SECTIONS, Config, keys
from vpopsql.kinds import Address, Deadlines


def explain(config: Config) -> str:
    """Return every effective value and where it came from, as a TOML file; passwords masked."""
    lines: list[str] = []
    for section, section_keys in itertools.groupby(keys(), lambda key: key.section):
        lines += [f"[{section}]"]
        for key in section_keys:
            value = getattr(getattr(config, section), key.name)
            assignment = f"# {key.name} =" if value is None else f"{key.name} = {_toml(value)}"
            lines.append(f"{assignment:<50}  # {config.origins.get(key.path, 'default')}")
        lines.append("")
    return "\n".join(lines)


def reference() -> str:
    """Return docs/configuration.md's tables: every key, what it may be, what it is for."""
    lines: list[str] = []
    for section, section_keys in itertools.groupby(keys(), lambda key: key.section):
        lines += [f"## [{section}]", "", inspect.getdoc(SECTIONS[section]) or "", ""]
        lines += ["| key | default | allowed | purpose |", "| --- | --- | --- | --- |"]
        for key in section_keys:
            default = "unset" if key.default is None else f"`{_toml(key.default)}`"
            lines.append(f"| `{key.name}` | {default} | {key.allowed} | {key.purpose} |")
        lines.append("")
    return "\n".join(lines)


def mask_url(url: str) -> str:
    """Return a database URL fit to be shown: without the password, wherever it stands in it."""
    url = re.sub(r"(://[^:/@]*:).*@", r"\1***@", url)
    return re.sub(r"([?&][a-z]*password=)[^&]*", r"\1***", url, flags=re.IGNORECASE)


def _toml(value: object) -> str:
    match value:
        case Address():
            return _toml(str(value))
        case str():
            return json.dumps(mask_url(value), ensure_ascii=False)
        case Deadlines():
            pairs = ", ".join(f"{scheme} = {last_day}" for scheme, last_day in value)
            return f"{{ {pairs} }}" if value else "{}"
        case tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case float():
            return f"{value:g}"
    return str(value).lower()
