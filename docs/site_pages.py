"""The hooks of the site (mkdocs.yml): pages from the tree's root, and links that leave `docs/`.

README.md is the site's first page; CONTRIBUTING.md and CHANGELOG.md are pages as well. A link to
another file of the tree becomes its path in words, because the site holds pages only; one to a file
that does not exist is left as it is, and the strict build refuses it.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FROM_ROOT = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
_IMAGE = re.compile(r"(!\[[^\]]*\]\()([^)\s:]+)(\))")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from the root."""
    from mkdocs.structure.files import File

    for name, page in FROM_ROOT.items():
        content = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as the site has them; paths in the source are relative to the file in the tree."""
    origin = {there: name for name, there in FROM_ROOT.items()}
    source = origin.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def target(path: str) -> str | None:
        """Where a file of the tree stands on the site, from this page; None if it does not."""
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        there = FROM_ROOT.get(place) or (place[5:] if place.startswith("docs/") else None)
        if there is None and (ROOT / place).exists():
            return None
        return os.path.relpath(there or place, posixpath.dirname(page.file.src_uri) or ".")

    def link(found: re.Match[str]) -> str:
        words, path, anchor = found[1], found[2], found[3] or ""
        there = target(path)
        if there is None:
            place = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
            return words if place in words else f"{words} (`{place}`)"
        return f"[{words}]({there}{anchor})"

    def image(found: re.Match[str]) -> str:
        return f"{found[1]}{target(found[2]) or found[2]}{found[3]}"

    return _IMAGE.sub(image, _LINK.sub(link, markdown))
