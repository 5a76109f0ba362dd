"""One question to an OpenAI-compatible endpoint: the request, and what its failures mean.

Chat completions: one user message, the text first, then the images in order as PNG. A call that
fails with 429, 408, 5xx, a time-out, a broken connection or a body that is no chat completion may
pass and is made again, a bounded number of times, after an exponential wait with jitter that is at
least as long as the endpoint asks for; the waits have a ceiling. Anything else is not made again.
The client's own retries are off, so that every call is counted here.
"""

from __future__ import annotations

import base64
import io
import random
import threading
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from pairuni_eval.errors import JudgeError
from pairuni_eval.judges.judge import Question
from pairuni_eval.judges.settings import EndpointOptions
from pairuni_eval.seeds import seed_for

if TYPE_CHECKING:
    import openai

_ASK_AGAIN = (408, 429)
_SET_UP_WRONG = (401, 403, 404)
_QUOTA = "insufficient_quota"
_FILTER = "content_filter"
_DECLINED = (_FILTER, "content_policy_violation")
_REASON_LENGTH = 200


class Fault(Enum):
    """What a failed call means."""

    PASSING = "it may work next time"
    SET_UP = "the key, the address or the model's name is wrong, for every question alike"
    DECLINED = "the endpoint declines this question"
    FINAL = "this question does not work"


class CallFailed(JudgeError):
    """A call without a reply.

    Attributes:
        reason: A few words, the same ones for the same failure.
        fault: What it means.
        wait: Seconds that the endpoint asks to wait, 0 if it does not.
    """

    def __init__(self, reason: str, fault: Fault, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fault = fault
        self.wait = wait


class Answered(NamedTuple):
    """What an endpoint replied; see `replies.Reply` for the fields."""

    text: str
    finish: str
    served: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float
    tries: int


class Endpoint:
    """A model behind an address. `ask` may be called from several threads at once.

    Args:
        client: The client, its own retries off.
        fields: Fields of every request beside the message: model, temperature, ...
        options: Time-out, retries and waits.
        secret: The key, which never appears in a reason.
    """

    def __init__(
        self,
        client: openai.OpenAI,
        fields: Mapping[str, Any],
        options: EndpointOptions,
        secret: str,
    ) -> None:
        self._client = client
        self._fields = dict(fields)
        self._options = options
        self._secret = secret

    @property
    def address(self) -> str:
        """Where it is, without a user's name, password or query."""
        parts = urlsplit(str(self._client.base_url))
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}{parts.path}".rstrip("/")

    def ask(self, question: Question, key: str, stop: threading.Event) -> Answered:
        """Ask, and ask again as long as it may help.

        Args:
            question: What to ask.
            key: The address of the jitter.
            stop: Ends the waiting, and with it the asking.

        Raises:
            CallFailed: with the last failure.
        """
        messages: list[Any] = [{"role": "user", "content": _content(question)}]
        if question.system:
            messages.insert(0, {"role": "system", "content": question.system})
        for earlier in range(self._options.retries + 1):
            try:
                return self._call(messages, earlier + 1)
            except CallFailed as failure:
                if failure.fault is not Fault.PASSING or earlier == self._options.retries:
                    raise
                if stop.wait(self._pause(failure, key, earlier)):
                    raise
        raise AssertionError("the last try returns or raises")

    def _pause(self, failure: CallFailed, key: str, earlier: int) -> float:
        """Seconds before the next call: half to all of a doubling wait, or what was asked for."""
        jitter = random.Random(seed_for(0, key, earlier, "judge wait")).uniform(0.5, 1.0)
        wait = max(self._options.backoff_s * 2.0**earlier * jitter, failure.wait)
        return min(wait, self._options.max_wait_s)

    def _call(self, messages: list[Any], tries: int) -> Answered:
        import openai

        started = time.perf_counter()
        try:
            raw = self._client.chat.completions.with_raw_response.create(
                messages=messages, **self._fields
            )
        except openai.APITimeoutError as failure:
            reason = f"no answer within {self._options.timeout_s:g} s"
            raise CallFailed(reason, Fault.PASSING) from failure
        except openai.APIConnectionError as failure:
            raise CallFailed("no connection", Fault.PASSING) from failure
        except openai.APIStatusError as failure:
            raise self._status_failure(failure) from failure
        return _read(raw.content, time.perf_counter() - started, tries)

    def _status_failure(self, failure: openai.APIStatusError) -> CallFailed:
        status, code = failure.status_code, failure.code
        reason = f"HTTP {status}"
        if code == _QUOTA:
            return CallFailed(f"{reason}: the account's quota is used up", Fault.SET_UP)
        if status in _ASK_AGAIN or status >= 500:
            wait = _asked_wait(failure.response.headers.get("retry-after"))
            return CallFailed(reason, Fault.PASSING, wait)
        if status in _SET_UP_WRONG:
            return CallFailed(reason, Fault.SET_UP)
        detail = self._without_secret(" ".join(failure.message.split()))[:_REASON_LENGTH]
        fault = Fault.DECLINED if code in _DECLINED else Fault.FINAL
        return CallFailed(f"{reason}: {detail}", fault)

    def _without_secret(self, text: str) -> str:
        return text.replace(self._secret, "***") if self._secret else text


class _Message(msgspec.Struct, frozen=True):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    message: _Message
    finish_reason: str | None = None


class _Tokens(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Completion(msgspec.Struct, frozen=True):
    choices: tuple[_Choice, ...]
    model: str | None = None
    usage: _Tokens | None = None


def _read(body: bytes, seconds: float, tries: int) -> Answered:
    """The reply in a response; a body in another form is a failure that may pass."""
    try:
        completion = msgspec.json.decode(body, type=_Completion)
        choice = completion.choices[0]
    except (msgspec.DecodeError, UnicodeDecodeError, IndexError) as failure:
        raise CallFailed("the response is no chat completion", Fault.PASSING) from failure
    tokens = completion.usage or _Tokens()
    refusal = choice.message.refusal
    return Answered(
        text=refusal or choice.message.content or "",
        finish="refusal" if refusal else choice.finish_reason or "stop",
        served=completion.model,
        prompt_tokens=tokens.prompt_tokens,
        completion_tokens=tokens.completion_tokens,
        seconds=round(seconds, 3),
        tries=tries,
    )


def _content(question: Question) -> str | list[dict[str, Any]]:
    """The message: plain text without images, else parts."""
    if not question.images:
        return question.prompt
    parts: list[dict[str, Any]] = [{"type": "text", "text": question.prompt}]
    for image in question.images:
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
        parts.append({"type": "image_url", "image_url": {"url": url}})
    return parts


def _asked_wait(header: str | None) -> float:
    """Seconds in a Retry-After header, which holds a number or a date; 0 if it says nothing."""
    if not header:
        return 0.0
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return 0.0
