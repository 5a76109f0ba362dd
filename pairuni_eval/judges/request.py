"""The request of a model judge: address, key, model, temperature, length, further fields.

The card prescribes, the judge file may say otherwise, and what it says otherwise becomes part of
the judge's name in every score.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from pairuni_eval.cards import JudgeSpec
from pairuni_eval.errors import UserError
from pairuni_eval.judges.judge import JudgeSetup
from pairuni_eval.judges.settings import EndpointOptions
from pairuni_eval.seeds import stable_hash

KEY_ENV = "OPENAI_API_KEY"
_ADDRESS_ENV = "OPENAI_BASE_URL"
_ADDRESS = "https://api.openai.com/v1"


def address(options: EndpointOptions, setup: JudgeSetup) -> str:
    """Where the endpoint is.

    Raises:
        UserError: if what stands there is no address.
    """
    where, found = f"{setup.source or '--judge'}: base_url", options.base_url
    if found is None:
        where, found = _ADDRESS_ENV, os.environ.get(_ADDRESS_ENV, "").strip() or _ADDRESS
    if not _is_address(found):
        raise UserError(
            f"{where} is not an address.", hint='e.g. base_url = "http://localhost:8000/v1"'
        )
    return found


def check(options: EndpointOptions, setup: JudgeSetup) -> None:
    """Rules between options, which their types cannot say."""
    place = setup.source or "--judge"
    if options.max_cost is not None and None in (options.input_price, options.output_price):
        raise UserError(
            f"{place}: max_cost needs input_price and output_price, the money per million tokens.",
            hint="Set both, or use max_calls.",
        )
    if not _is_json(options.extra):
        raise UserError(f"{place}: extra holds a value that JSON cannot express (a date, inf).")
    if options.snapshot is None and setup.spec.snapshot is None:
        raise UserError(
            f"{place}: neither the card nor the judge file names a model.",
            hint='snapshot = "MODEL-AND-DATE" in the judge file',
        )


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        return known and text.isprintable() and " " not in text
    except ValueError:  # brackets or a port that is not a number
        return False


def _is_json(value: Any) -> bool:
    try:
        stable_hash(value)
    except (TypeError, ValueError):
        return False
    return True


def secret(setup: JudgeSetup, options: EndpointOptions) -> str:
    """The key; empty where an endpoint of one's own may do without.

    Raises:
        UserError: if it is needed and not set.
    """
    name = options.key_env or KEY_ENV
    found = os.environ.get(name, "").strip()
    own = options.base_url is not None or bool(os.environ.get(_ADDRESS_ENV))
    if not found and (options.key_env is not None or not own):
        raise UserError(
            f"{setup.source or '--judge'}: the judge needs a key, and the environment variable "
            f"{name} is not set.",
            hint=f"export {name}=..., or name an endpoint of your own with base_url in a judge "
            "file, or leave the rows that need a judge ungraded with --judge none",
        )
    if not (found.isascii() and found.isprintable()):
        raise UserError(
            f"The environment variable {name} does not hold a key: it has odd characters."
        )
    return found


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
    return plain | ({"extra_body": settings["extra"]} if settings["extra"] else {})


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
