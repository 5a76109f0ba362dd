"""Pages: how every HTML and Markdown page of the project is set, whatever it is about.

An HTML page is a template that extends `base.html.j2` and fills its blocks:

    title      words of the window, without markup
    first      id of what the skip link leads to
    masthead   what stands at the top: the name, the answer
    nav        list items that lead to the sections
    content    the sections
    footer     what stands below them

It has one style (`style.css`) in light, dark and print, and one script made of the files it asks
for, whose hash is the only one that the page's policy lets run. Everything works without the
script; `page.js` adds sorting by a click and unfolding, `browse.js` the browser of outputs.
Templates of another package stand beside this one's: it may use every macro here (`parts.html.j2`,
`charts.html.j2`, `differences.html.j2`). All text that is not ours is escaped, in HTML by
autoescape and in Markdown by `finalize`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pairuni_eval import foreign_text
from pairuni_eval.report import text
from pairuni_eval.report.beside_words import interval_words, remark
from pairuni_eval.report.cost import duration
from pairuni_eval.stats.verdict import p_words

OWN = "pairuni_eval.report"
Filter = Callable[..., Any]
NUMBERS: dict[str, Callable[..., str]] = {
    "number": text.number,
    "printed": text.printed,
    "signed": text.signed,
    "interval": text.interval,
    "interval_words": interval_words,
    "remark": remark,
    "unit": text.unit,
    "p_value": text.p_value,
    "p_words": p_words,
    "duration": duration,
    "rounded": text.rounded,
}


def render_page(
    template: str,
    *,
    package: str = OWN,
    scripts: Sequence[str] = ("page.js",),
    filters: Mapping[str, Filter] | None = None,
    **context: Any,
) -> str:
    """An HTML page that extends `base.html.j2`.

    Args:
        template: Its file, in the folder `templates` of the package.
        package: The package that has the template; macros of this one are found as well.
        scripts: Files of this package that make up the page's script.
        filters: Filters of the template's own, beside those for numbers and foreign text.
        context: What the template reads.
    """
    environment = _html(package)
    script = "\n".join(_source(environment, name) for name in scripts)
    return (
        _with(environment, filters)
        .get_template(template)
        .render(
            style=Markup(_source(environment, "style.css")),
            script=Markup(script),
            script_hash=_hash(script),
            **context,
        )
    )


def render_fragment(template: str, *, package: str = OWN, **context: Any) -> str:
    """Markup that is not a page of its own, such as a picture: escaped like a page."""
    return _html(package).get_template(template).render(**context)


def render_markdown(
    template: str,
    *,
    package: str = OWN,
    filters: Mapping[str, Filter] | None = None,
    **context: Any,
) -> str:
    """A Markdown page; a filter's result is foreign text unless it is a `MarkdownText`."""
    environment = _with(_markdown(package), filters)
    return environment.get_template(template).render(safe=text.MarkdownText, **context)


def write_page(path: Path, content: str) -> None:
    """Write a page with one line end at its end; lone surrogates become question marks."""
    path.write_bytes(content.strip().encode("utf-8", errors="replace") + b"\n")


@cache  # compiling the templates takes four times as long as filling them in
def _html(package: str) -> Environment:
    environment = _environment(package, autoescape=True)
    environment.filters |= NUMBERS | {"clean": foreign_text.clean, "typeset": text.typeset}
    return environment


@cache
def _markdown(package: str) -> Environment:
    environment = _environment(package, autoescape=False, finalize=text.escape_markdown)
    ours = {name: _trusted(function) for name, function in NUMBERS.items()}
    environment.filters |= ours | {
        "coded": text.coded,
        "fenced": text.fenced,
        "typeset": text.typeset,
        "within": text.escape_within,
    }
    return environment


def _environment(package: str, **options: Any) -> Environment:
    return Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in dict.fromkeys((package, OWN))]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )


def _with(environment: Environment, filters: Mapping[str, Filter] | None) -> Environment:
    """The same templates with further filters; the environment itself stays as it is."""
    if not filters:
        return environment
    further = environment.overlay()
    further.filters = environment.filters | dict(filters)
    return further


def _trusted(function: Callable[..., str]) -> Callable[..., text.MarkdownText]:
    """A filter whose result is ours, and needs no escaping."""
    return lambda *arguments: text.MarkdownText(function(*arguments))


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0].strip()


def _hash(script: str) -> str:
    """The script's name in the page's policy: no other script runs there."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
