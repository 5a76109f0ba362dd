"""How an endpoint is called, whoever asks it: address, key, pace, caps, and rules between them.

A file never holds a secret: `key_env` names the environment variable that does.
"""

from __future__ import annotations

import os
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from pairuni_eval.config import NotNegative, Positive, Strict
from pairuni_eval.errors import UserError
from pairuni_eval.seeds import stable_hash

KEY_ENV = "OPENAI_API_KEY"
SOCKET = "unix:"  # how the address of a socket on this machine begins; its path follows
_ADDRESS_ENV = "OPENAI_BASE_URL"
_ADDRESS = "https://api.openai.com/v1"


class CallOptions(Strict, frozen=True, kw_only=True):
    """Options of every file that names an endpoint.

    Attributes:
        base_url: Where the endpoint is; default: OPENAI_BASE_URL, else OpenAI's own.
        key_env: Environment variable with the key. With a `base_url` the default one may be unset.
        concurrency: Calls under way at once.
        timeout_s: Seconds by the clock from the beginning of a call to the last byte of its reply,
            after which it is ended and has failed.
        retries: Further calls after one that failed and may pass.
        backoff_s: Seconds before the second call; doubled with each further one.
        max_wait_s: Longest wait before a call, also where the endpoint asks for more.
        patience_s: Seconds without any reply, over eight failed questions in a row at least, after
            which the endpoint is given up and the rest stays open.
        max_calls: Most responses to pay for, in whatever form they come, counted over the whole
            cache and every process that shares it. Calls of a process that was killed count too.
        max_cost: Most money to spend, counted over the whole cache and every process that shares
            it; needs both prices. Replies that were remembered without prices count nothing, what
            came without a count of tokens as much as the dearest reply before it, and a first
            handful of calls may pass it, because nobody knows yet what one costs.
        input_price: Money per million tokens of questions.
        output_price: Money per million tokens of replies.
        cache: Folder of remembered replies, to be shared between runs; default: the run folder.
        extra: Further fields of the request.
    """

    base_url: str | None = None
    key_env: str | None = None
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=256)] = 8
    timeout_s: Positive = 120.0
    retries: Annotated[int, msgspec.Meta(ge=0, le=20)] = 5
    backoff_s: NotNegative = 1.0
    max_wait_s: NotNegative = 60.0
    patience_s: NotNegative = 600.0
    max_calls: Annotated[int, msgspec.Meta(ge=0)] | None = None
    max_cost: NotNegative | None = None
    input_price: NotNegative | None = None
    output_price: NotNegative | None = None
    cache: str | None = None
    extra: dict[str, Any] | None = None


def address(options: CallOptions, place: object) -> str:
    """Where the endpoint is.

    Args:
        options: Of the file.
        place: The file, for errors.

    Raises:
        UserError: if what stands there is no address.
    """
    where, found = f"{place}: base_url", options.base_url
    if found is None:
        where, found = _ADDRESS_ENV, os.environ.get(_ADDRESS_ENV, "").strip() or _ADDRESS
    if not _is_address(found):
        raise UserError(
            f"{where} is not an address.", hint='e.g. base_url = "http://localhost:8000/v1"'
        )
    if not found.startswith(SOCKET) and ("?" in found or "#" in found):
        raise UserError(
            f"{where} has a query or a fragment, behind which no path can stand.",
            hint="Keys belong in the environment (key_env); end the address at .../v1",
        )
    return found


def check(options: CallOptions, place: object) -> None:
    """Rules between options, which their types cannot say.

    Raises:
        UserError: naming the file and the keys.
    """
    if options.max_cost is not None and None in (options.input_price, options.output_price):
        raise UserError(
            f"{place}: max_cost needs input_price and output_price, the money per million tokens.",
            hint="Set both, or use max_calls.",
        )
    if not _is_json(options.extra):
        raise UserError(f"{place}: extra holds a value that JSON cannot express (a date, inf).")


def secret(options: CallOptions, place: object, *, who: str, otherwise: str) -> str:
    """The key; empty where an endpoint of one's own may do without.

    Args:
        options: Of the file.
        place: The file, for errors.
        who: What needs it: "judge", "model".
        otherwise: What can be done without a key, for the error.

    Raises:
        UserError: if it is needed and not set.
    """
    name = options.key_env or KEY_ENV
    found = os.environ.get(name, "").strip()
    own = options.base_url is not None or bool(os.environ.get(_ADDRESS_ENV))
    if not found and (options.key_env is not None or not own):
        raise UserError(
            f"{place}: the {who} needs a key, and the environment variable {name} is not set.",
            hint=f"export {name}=..., or "
            + (f"leave key_env out of {place} where none is needed" if own else otherwise),
        )
    if not (found.isascii() and found.isprintable()):
        raise UserError(
            f"The environment variable {name} does not hold a key: it has odd characters."
        )
    return found


def _is_address(text: str) -> bool:
    if text.startswith(SOCKET):
        return len(text) > len(SOCKET) and text.isprintable()
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
