"""An OpenAI-compatible endpoint: one question, its request, and what its failures mean.

Chat completions: one user message, the text first, then the images in order as PNG. A call that
fails with 429, 408, 5xx, at its deadline or with a broken connection may pass and is made again, a
bounded number of times, after an exponential wait with jitter that is at least as long as the
endpoint asks for; the waits have a ceiling. Whatever comes with status 200 was served and may have
been paid for: it ends the asking, in any form, and is handed on even where it holds no reply. The
client's own retries are off, so that every call is counted here.
"""

from __future__ import annotations

import base64
import io
import math
import random
import threading
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from pairuni_eval.errors import JudgeError
from pairuni_eval.judges.completion import ChatCompletion, ErrorWords, read_body, read_error
from pairuni_eval.judges.connection import MOST_BYTES, Connection, HttpResponse, NoResponse
from pairuni_eval.judges.judge import Question
from pairuni_eval.judges.refusals import EndpointRefusal, Fault, classify_refusal
from pairuni_eval.judges.settings import EndpointOptions
from pairuni_eval.seeds import seed_for

_LONG_SECRET = 8  # characters; a shorter key ("none", "EMPTY") is a word that replies may use
NO_REPLY = "no reply"  # why what came ended, where it holds no reply


class CallFailed(JudgeError):
    """A call without a reply.

    Attributes:
        reason: A few words, the same ones for the same failure.
        refusal: What it means.
        wait: Seconds that the endpoint asks to wait, 0 if it does not.
        served: What came with status 200 all the same, to be counted; None if nothing did.
    """

    def __init__(
        self,
        reason: str,
        refusal: EndpointRefusal,
        wait: float = 0.0,
        served: ChatCompletion | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refusal = refusal
        self.wait = wait
        self.served = served


class Endpoint:
    """A model behind an address. `ask` may be called from several threads at once.

    Args:
        connection: Where it is.
        fields: Fields of every request beside the message: model, temperature, ...
        options: Retries and waits.
        secret: The key, which never appears in a reason or a reply.
    """

    def __init__(
        self,
        connection: Connection,
        fields: Mapping[str, Any],
        options: EndpointOptions,
        secret: str,
    ) -> None:
        self._connection = connection
        self._fields = dict(fields)
        self._options = options
        self._secret = secret

    @property
    def address(self) -> str:
        """Where it is, without a user's name, password or query."""
        return self._connection.address

    @property
    def sent(self) -> dict[str, Any]:
        """The fields of every request beside the messages, as they are sent."""
        plain = {name: value for name, value in self._fields.items() if name != "extra_body"}
        return {**plain, **self._fields.get("extra_body", {})}

    def cancel(self) -> None:
        """End all calls under way; they fail."""
        self._connection.cancel()

    def ask(self, question: Question, key: str, stop: threading.Event) -> ChatCompletion:
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
                passing = failure.refusal.fault is Fault.PASSING and failure.served is None
                if not passing or earlier == self._options.retries:
                    raise
                if stop.wait(self._pause(failure, key, earlier)):
                    raise
        raise AssertionError("the last try returns or raises")

    def _pause(self, failure: CallFailed, key: str, earlier: int) -> float:
        """Seconds before the next call: half to all of a doubling wait, or what was asked for."""
        jitter = random.Random(seed_for(0, key, earlier, "judge wait")).uniform(0.5, 1.0)
        wait = max(self._options.backoff_s * 2.0**earlier * jitter, failure.wait)
        return min(wait, self._options.max_wait_s)

    def _call(self, messages: list[Any], tries: int) -> ChatCompletion:
        started = time.perf_counter()
        try:
            response = self._connection.complete(messages, self._fields)
        except NoResponse as failure:
            raise CallFailed(str(failure), EndpointRefusal(Fault.PASSING)) from failure
        seconds = round(time.perf_counter() - started, 3)
        if response.status // 100 != 2:
            raise self._refused(response)
        found = read_body(response.body)
        came = found._replace(
            text=self._hushed(found.text or ""),
            finish=self._without_secret(found.finish),
            served=None if found.served is None else self._without_secret(found.served),
            seconds=seconds,
            tries=tries,
        )
        if found.text is None:
            raise self._no_completion(response, came)
        return came

    def _refused(self, response: HttpResponse) -> CallFailed:
        """What a response with another status than 200 means."""
        told = read_error(response.body)
        refusal = classify_refusal(response.status, told, self.sent)
        reason = f"HTTP {response.status}"
        if refusal.fault is Fault.PASSING:
            return CallFailed(reason, refusal, _asked_wait(response.retry_after))
        if response.status // 100 == 3:
            place = response.location or "another address"
            told = ErrorWords(f"it redirects to {place}, and redirects are not followed")
        elif refusal.quota:
            told = ErrorWords("the account's quota is used up")
        detail = self._without_secret(told.message)
        return CallFailed(f"{reason}: {detail}" if detail else reason, refusal)

    def _no_completion(self, response: HttpResponse, came: ChatCompletion) -> CallFailed:
        """What a body without a reply means; it was served, so it counts."""
        told = came.told or ErrorWords()
        words = self._without_secret(told.message)
        if response.is_too_large:
            reason = f"the response is larger than {MOST_BYTES >> 20} MiB"
        elif words:
            reason = f"the endpoint says: {words}"
        else:
            reason = "the response is not a chat completion"
        status = told.status
        refusal = classify_refusal(status or 400, told, self.sent)
        return CallFailed(reason, refusal, served=came._replace(text=reason, finish=NO_REPLY))

    def _hushed(self, text: str) -> str:
        """A reply without the key, if that is one that no reply holds by chance."""
        return self._without_secret(text) if len(self._secret) >= _LONG_SECRET else text

    def _without_secret(self, text: str) -> str:
        return text.replace(self._secret, "***") if self._secret else text


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
        seconds = float(header)
        return max(0.0, seconds) if not math.isnan(seconds) else 0.0
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
