"""The request of a model judge: model, temperature, length, further fields.

The card prescribes, the judge file may say otherwise, and what it says otherwise becomes part of
the judge's name in every score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pairuni_eval.cards import JudgeSpec
from pairuni_eval.endpoints import settings as endpoints
from pairuni_eval.errors import UserError
from pairuni_eval.judges.judge import JudgeSetup
from pairuni_eval.judges.settings import EndpointOptions

WITHOUT_KEY = (
    "name an endpoint of your own with base_url in a judge file, or leave the rows that need a "
    "judge ungraded with --judge none"
)


def check(options: EndpointOptions, setup: JudgeSetup) -> None:
    """Rules between options, which their types cannot say.

    Raises:
        UserError: naming the file and the keys.
    """
    place = setup.source or "--judge"
    endpoints.check(options, place)
    if options.snapshot is None and setup.spec.snapshot is None:
        raise UserError(
            f"{place}: neither the card nor the judge file names a model.",
            hint='snapshot = "MODEL-AND-DATE" in the judge file',
        )


def settings(spec: JudgeSpec, options: EndpointOptions) -> dict[str, Any]:
    """What moves a reply: the card's prescription under the user's changes."""
    return {
        "model": options.snapshot or spec.snapshot,
        "temperature": _chosen(options.temperature, spec.temperature),
        "max_tokens": _chosen(options.max_tokens, spec.max_tokens),
        "extra": dict(spec.extra if options.extra is None else options.extra),
    }


def _chosen(own: float | str | None, card: float | None) -> float | str | None:
    if own == "unset":
        return None
    return card if own is None else own


def fields(settings: dict[str, Any]) -> dict[str, Any]:
    """The same as fields of a request; what is None is left to the endpoint."""
    sent = {name: settings[name] for name in ("model", "temperature", "max_tokens")}
    plain = {name: value for name, value in sent.items() if value is not None}
    return {**plain, **settings["extra"]}


def name(settings: dict[str, Any], spec: JudgeSpec) -> str:
    """The model, and which settings are not the card's."""
    prescribed = {
        "temperature": spec.temperature,
        "max_tokens": spec.max_tokens,
        "extra": dict(spec.extra),
    }
    changed = [
        f"{key}={'unset' if settings[key] is None else settings[key]}"
        for key, value in prescribed.items()
        if settings[key] != value
    ]
    return f"{settings['model']} ({', '.join(changed)})" if changed else str(settings["model"])


def remedy(about: str, sent: Mapping[str, Any]) -> str:
    """The key of the judge file that mends what a refusal is about, as a line to write there."""
    most = sent.get("max_tokens", "N")
    length = f'max_tokens = "unset" with extra = {{ max_completion_tokens = {most} }}'
    also = f" (models that refuse it often want {length} too)" if "max_tokens" in sent else ""
    lines = {
        "max_tokens": length,
        "temperature": f'temperature = "unset"{also}',
        "image": 'snapshot = "A MODEL THAT TAKES IMAGES"',
        "context": 'snapshot = "A MODEL WITH A LONGER CONTEXT", or a smaller max_tokens',
        "model": 'snapshot = "A MODEL THAT THE ENDPOINT HAS"',
    }
    if about in lines:
        return lines[about]
    if about in sent:
        return f"extra without {about}"
    return "snapshot, base_url, max_tokens, temperature and extra are what it is asked with"
