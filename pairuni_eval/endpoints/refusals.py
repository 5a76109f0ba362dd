"""Refusals of an endpoint and whom they mean: this question, every question, or the set-up.

Nearly the same 400 says that a picture is broken, that this model takes no `temperature`, and that
a prompt is too long. What names a parameter of ours, the model or pictures as such would refuse
every further question too, and the file that names the endpoint has the key that mends it. All else
may be the fault of one question; that none at all has got a reply yet is for who asks to see.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple

from pairuni_eval.endpoints.completion import ErrorWords

_ASK_AGAIN = (408, 429)
_SET_UP_WRONG = (401, 402, 403, 404)
_QUOTA = "insufficient_quota"
_KEY_CODES = ("invalid_api_key", "authentication_error", "insufficient_credits")
_BUSY = re.compile(r"rate_?limit|overloaded|server_error|time_?out|unavailable", re.IGNORECASE)
_DECLINED = ("content_filter", "content_policy_violation", "moderation_blocked")
_REQUEST_CODES = ("unsupported_parameter", "unsupported_value", "unknown_parameter")
_CONTEXT = re.compile(
    r"context[ _-]?(length|window|size)|maximum (prompt|input|sequence) length|prompt is too long"
    r"|(input|prompt|request)\b.{0,30}\b(exceeds|longer than|too (long|large|many))",
    re.IGNORECASE,
)
_PICTURES = re.compile(
    r"image[ _]?input|not (a )?(multimodal|vision)|at most 0 image"
    r"|(not|n't) (support|accept|take|allow|handle)\w* (any )?(image|vision|multimodal|picture)"
    r"|image(_url)?s? (is|are) (not|only) (support|accept|allow)",
    re.IGNORECASE,
)
_MODEL = re.compile(
    r"model\b.{0,80}\b(not found|does not exist|unknown|not available)"
    r"|(unknown|invalid|no such|unsupported) model|not a valid model",
    re.IGNORECASE,
)


class Fault(Enum):
    """What a failed call means."""

    PASSING = "it may work next time"
    SET_UP = "the key, the address or the model's name is wrong, for every question alike"
    PARAMETER = "something that is sent with every question is not taken"
    QUESTION = "this question does not work; or none does, if none ever got a reply"
    DECLINED = "the endpoint declines this question"


class EndpointRefusal(NamedTuple):
    """What a refusal means.

    Attributes:
        fault: For which questions it holds.
        about: What it names: a parameter that was sent, "context", "image" or "model"; empty if
            it names nothing that is known.
        quota: True if the account's quota is used up.
    """

    fault: Fault
    about: str = ""
    quota: bool = False


def classify_refusal(status: int, told: ErrorWords, sent: Mapping[str, Any]) -> EndpointRefusal:
    """What a refusal means.

    Args:
        status: Of HTTP, or the code in a body that came with status 200.
        told: The endpoint's words.
        sent: The fields of the request beside the messages.
    """
    about = _about(told, sent)
    if told.code == _QUOTA:
        return EndpointRefusal(Fault.SET_UP, quota=True)
    if told.code in _DECLINED:
        return EndpointRefusal(Fault.DECLINED)
    if status in _ASK_AGAIN or status >= 500 or _BUSY.search(told.code):
        return EndpointRefusal(Fault.PASSING)
    if status in _SET_UP_WRONG or status < 400 or told.code in _KEY_CODES:
        return EndpointRefusal(Fault.SET_UP, about)
    named = about not in ("", "context") or told.code in _REQUEST_CODES
    return EndpointRefusal(Fault.PARAMETER if named else Fault.QUESTION, about or told.parameter)


def _about(told: ErrorWords, sent: Mapping[str, Any]) -> str:
    words = f"{told.code} {told.message}"
    if _CONTEXT.search(words):
        return "context"
    named = re.split(r"[.\[]", told.parameter)[0]
    if named in sent and named != "model":
        return named
    for name in sorted(set(sent) - {"model"}, key=len, reverse=True):
        if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", words):
            return name
    if _PICTURES.search(words):
        return "image"
    if _MODEL.search(words.replace("_", " ")) or told.parameter == "model":
        return "model"
    return ""
