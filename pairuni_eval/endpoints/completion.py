"""The body of a chat completion: a reply, or an endpoint's own words about an error.

Endpoints that call themselves compatible differ in nearly everything that does not matter, so only
what matters is looked at: text, why it ended, tokens, and the model's name. Text may come in parts,
of which the thoughts are left out; counts may be floats, texts or missing; half a surrogate pair
costs one character. Why a reply ended is an open vocabulary: a few words mean that it was cut off
or filtered, all others, and none, that it is whole. Nothing in here fails, whatever the bytes are.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

_CUT = re.compile(r"length|max_?(\w+_)?tokens?|token_?limit|truncat|context_?window", re.IGNORECASE)
_DECLINED = re.compile(
    r"filter|refus|safety|prohibited|blocklist|blocked|recitation|spii|policy|moderation|guardrail",
    re.IGNORECASE,
)
_TEXT_PARTS = ("text", "output_text")
_MOST_TOKENS = 2**53
_LEAST_LOG = -9999.0  # how endpoints write a probability of zero
_LONGEST_WORDS = 200  # characters of an endpoint's own words that are passed on
_REFUSAL = "refusal"


FirstToken = tuple[tuple[str, float], ...]
"""Texts that the first token might have been, with the natural logs of their probabilities."""


class Completion(NamedTuple):
    """What a body says that matters, and what it took to get it.

    Attributes:
        text: What the model said, thoughts in parts of their own left out; None if the body holds
            no reply.
        finish: Why it ended in the endpoint's word; "stop" if it does not say.
        served: The model's name, None if it does not say.
        prompt_tokens: Tokens of the question, None if not told.
        completion_tokens: Tokens of the reply, None if not told.
        told: The endpoint's words about an error, where there is no reply.
        lacks: Our own words for what is wrong with a body that holds no reply.
        seconds: Time of the call that brought it.
        tries: Calls it took, failed ones included.
        first_token: What the first token might have been; empty where nobody asked for it.
    """

    text: str | None
    finish: str = "stop"
    served: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    told: ErrorWords | None = None
    lacks: str = ""
    seconds: float = 0.0
    tries: int = 1
    first_token: FirstToken = ()


class ErrorWords(NamedTuple):
    """An endpoint's own words about an error; each is empty if it does not say."""

    message: str = ""
    code: str = ""
    parameter: str = ""

    @property
    def status(self) -> int | None:
        """The code as a status of HTTP, where it is one."""
        return int(self.code) if re.fullmatch(r"[345]\d\d", self.code) else None


def is_cut(finish: str) -> bool:
    """Whether a reply that ended so was cut off at a length: "length", "MAX_TOKENS", ..."""
    return bool(_CUT.search(finish))


def is_declined(finish: str) -> bool:
    """Whether a reply that ended so was filtered or refused: "content_filter", "SAFETY", ..."""
    return bool(_DECLINED.search(finish))


def read_body(body: bytes) -> Completion:
    """Read the body of a response with status 200."""
    document = document_of(body)
    fields = mapping(document)
    choice = first_of(fields.get("choices"))
    message = choice.get("message")
    text = _said(message) if isinstance(message, Mapping) else None
    refusal = mapping(message).get("refusal")
    finish = choice.get("finish_reason")
    if isinstance(refusal, str) and refusal:
        text, finish = refusal, _REFUSAL
    error = fields.get("error") or choice.get("error")
    if text is None or (error and not text):
        told = error_words({"error": error} if error else document)
        return with_usage(fields, Completion(None, told=told))
    word = finish if isinstance(finish, str) and finish.strip() else "stop"
    found = Completion(_whole(text), _short(word), first_token=_first_token(choice))
    return with_usage(fields, found)


def read_error(body: bytes) -> ErrorWords:
    """Read the body of a response with another status."""
    document = document_of(body)
    if document is None:
        return ErrorWords(_short(body[:2000].decode("utf-8", "replace")))
    return error_words(document)


def error_words(document: Any) -> ErrorWords:
    """The words about an error in a decoded body, in any of the forms that are about."""
    fields = mapping(document)
    error = fields.get("error", fields)
    if isinstance(error, str):
        return ErrorWords(_short(error), _word(fields.get("code")), _word(fields.get("param")))
    inner = mapping(error)
    detail = inner.get("detail", fields.get("detail"))
    message = next((m for m in (inner.get("message"), detail) if isinstance(m, str)), "")
    parameter = _word(inner.get("param"))
    first = first_of(detail)
    if first:  # how a validating server names the field: {"loc": ["body", "max_tokens"], "msg"}
        where = first.get("loc")
        place = [str(one) for one in where if one != "body"] if isinstance(where, list) else []
        parameter = parameter or ".".join(place)
        message = message or f"{'.'.join(place)}: {first.get('msg', '')}"
    code = _word(inner.get("code")) or _word(inner.get("type"))
    return ErrorWords(_short(message), code, parameter)


def _said(message: Mapping[str, Any]) -> str | None:
    """The text of a message; None if it is in no known form."""
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    parts = [content] if isinstance(content, Mapping) else content
    if not isinstance(parts, list):
        return None
    return "".join(_part(part) for part in parts)


def _part(part: Any) -> str:
    """The text of one part; thoughts and pictures have none."""
    if isinstance(part, str):
        return part
    fields = mapping(part)
    if fields.get("type", "text") not in _TEXT_PARTS:
        return ""
    text = fields.get("text")
    value = mapping(text).get("value", text)
    return value if isinstance(value, str) else ""


def _first_token(choice: Mapping[str, Any]) -> FirstToken:
    """What the first token might have been, the token that came included."""
    place = first_of(mapping(choice.get("logprobs")).get("content"))
    listed = place.get("top_logprobs")
    pairs = [_weighed(mapping(one)) for one in listed] if isinstance(listed, list) else []
    came = _weighed(place)
    known = [pair for pair in pairs if pair is not None]
    return tuple(known if came is None or came in known else [*known, came])


def _weighed(token: Mapping[str, Any]) -> tuple[str, float] | None:
    text, weight = token.get("token"), token.get("logprob")
    if not isinstance(text, str) or not isinstance(weight, int | float) or math.isnan(weight):
        return None
    return _whole(text), max(min(float(weight), 0.0), _LEAST_LOG)


def with_usage(fields: Mapping[str, Any], found: Completion) -> Completion:
    """What was found in a body, with the tokens and the model's name that it tells."""
    usage, served = mapping(fields.get("usage")), fields.get("model")
    return found._replace(
        served=_short(served) if isinstance(served, str) and served else None,
        prompt_tokens=_count(usage, "prompt_tokens", "input_tokens"),
        completion_tokens=_count(usage, "completion_tokens", "output_tokens"),
    )


def _count(usage: Mapping[str, Any], *names: str) -> int | None:
    """A number of tokens, whatever it is written as; None for anything that is none."""
    for name in names:
        value = usage.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            continue
        try:
            number = float(value)
        except (ValueError, OverflowError):
            continue
        if math.isfinite(number) and 0 <= number < _MOST_TOKENS:
            return round(number)
    return None


def document_of(body: bytes) -> Any:
    """The document in a body; None if there is none."""
    try:
        return json.loads(body.decode("utf-8-sig", "replace"), strict=False)
    except (ValueError, RecursionError):
        return None


def mapping(value: Any) -> Mapping[str, Any]:
    """An object as it is, and an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def first_of(value: Any) -> Mapping[str, Any]:
    """The first thing of a list, if that is an object."""
    return mapping(value[0]) if isinstance(value, list) and value else {}


def _word(value: Any) -> str:
    """A code or a name as text."""
    number = isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MOST_TOKENS
    return _short(str(value)) if isinstance(value, str) or number else ""


def _whole(text: str) -> str:
    """Text without halves of surrogate pairs, which no file can hold."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _short(text: str) -> str:
    """Words that fit into a line and can be printed."""
    line = " ".join(_whole(text[:2000]).split())
    return "".join(one for one in line if one.isprintable())[:_LONGEST_WORDS]
