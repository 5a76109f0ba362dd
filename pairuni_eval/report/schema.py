"""The JSON Schemas of the files for other programs, made from their records and docstrings.

`python -m pairuni_eval.report.schema` writes them where they are shipped, and the tables of
docs/formats.md.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import msgspec

from pairuni_eval.report.formats import (
    COMPARISON,
    DIFFERENCES,
    SUMMARY,
    ComparisonFile,
    DifferenceRow,
    FormatRecord,
)
from pairuni_eval.report.summary_format import SummaryFile

SCHEMAS = Path(__file__).with_name("schemas")
_KINDS: dict[str, type[FormatRecord]] = {
    SUMMARY: SummaryFile,
    COMPARISON: ComparisonFile,
    DIFFERENCES: DifferenceRow,
}


def attributes(kind: type[msgspec.Struct]) -> dict[str, str]:
    """What a record's docstring says of each of its fields."""
    _, _, listed = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")
    found = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", listed, flags=re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in found}


def schema(kind: type[msgspec.Struct], name: str) -> dict[str, Any]:
    """The JSON Schema of a record, with the words of the docstrings.

    Args:
        kind: The record.
        name: Name and number of the format.
    """
    made = msgspec.json.schema(kind)
    for title, part in made["$defs"].items():
        record = _records()[title]
        words = attributes(record)
        part["description"] = inspect.cleandoc(record.__doc__ or "").partition("\n\n")[0]
        for field, rule in part["properties"].items():
            rule["description"] = words.get(field, "")
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": name}
    return {**head, **made}


def _records() -> dict[str, type[msgspec.Struct]]:
    """Every record below `FormatRecord`, by its name."""
    return {kind.__name__: kind for kind in FormatRecord.__subclasses__()}


def schemas() -> dict[str, dict[str, Any]]:
    """The schemas that are shipped, by the name of their file."""
    return {
        f"{name.partition('/')[0].removeprefix('pairuni-')}.schema.json": schema(kind, name)
        for name, kind in _KINDS.items()
    }


def tables() -> str:
    """The fields of every record as Markdown, in the order of the records."""
    parts: dict[str, str] = {}
    for made in schemas().values():
        for title, part in made["$defs"].items():
            required = set(part.get("required", ()))
            lines = [
                f"| `{name}`{'' if name in required else ' (optional)'} | {rule['description']} |"
                for name, rule in part["properties"].items()
            ]
            head = f"### {title}\n\n{part['description']}\n\n| Field | Meaning |\n|---|---|"
            parts[title] = "\n".join([head, *lines])
    return "\n\n".join(parts.values()) + "\n"


def _write() -> None:
    SCHEMAS.mkdir(exist_ok=True)
    for name, made in schemas().items():
        (SCHEMAS / name).write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n")
    page = Path("docs/formats.md")
    kept, mark, _ = page.read_text(encoding="utf-8").partition("## Records")
    page.write_text(f"{kept}{mark}\n\n{tables()}", encoding="utf-8")


if __name__ == "__main__":
    _write()
