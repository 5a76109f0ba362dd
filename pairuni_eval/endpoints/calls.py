"""A call to an endpoint of the OpenAI form: its tries, and what its failures mean.

A call that fails with 429, 408, 5xx, at its deadline or with a broken connection may pass and is
made again, a bounded number of times, after an exponential wait with jitter that is at least as
long as the endpoint asks for; the waits have a ceiling. Whatever comes with status 200 was served
and may have been paid for: it ends the asking, in any form, and is handed on even where it holds no
reply. The client's own retries are off, so that every call is counted here.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from pairuni_eval.endpoints.completion import Completion, ErrorWords, read_body, read_error
from pairuni_eval.endpoints.connection import Connection, HttpResponse, NoResponse, Post
from pairuni_eval.endpoints.refusals import EndpointRefusal, Fault, classify_refusal
from pairuni_eval.endpoints.settings import CallOptions
from pairuni_eval.errors import BoundaryError
from pairuni_eval.seeds import seed_for

_LONG_SECRET = 8  # characters; a shorter key ("none", "EMPTY") is a word that replies may use
_READ_AGAIN = 2  # times
_BUSY = (408, 429, 500, 502, 503, 504)  # to a plain question about what is served
NO_REPLY = "no reply"  # why what came ended, where it holds no reply


class Query(NamedTuple):
    """One thing to ask of an endpoint.

    Attributes:
        key: Hash of everything that moves the reply.
        compose: Makes what is sent, when it is sent: pictures in it are large.
        read: Reads the body of a response with status 200.
        expected: What such a body holds, for errors.
    """

    key: str
    compose: Callable[[], Post]
    read: Callable[[bytes], Completion] = read_body
    expected: str = "a chat completion"


class CallFailed(BoundaryError):
    """A call without a reply.

    Attributes:
        reason: A few words, the same ones for the same failure.
        refusal: What it means.
        wait: Seconds that the endpoint asks to wait, 0 if it does not.
        served: What came with status 200 all the same, to be counted; None if nothing did.
        sent: The fields that were sent, without messages.
    """

    def __init__(
        self,
        reason: str,
        refusal: EndpointRefusal,
        wait: float = 0.0,
        served: Completion | None = None,
        sent: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refusal = refusal
        self.wait = wait
        self.served = served
        self.sent = sent or {}


class Endpoint:
    """A model behind an address. `ask` may be called from several threads at once.

    Args:
        connection: Where it is.
        options: Retries and waits.
        secret: The key, which never appears in a reason or a reply.
    """

    def __init__(self, connection: Connection, options: CallOptions, secret: str) -> None:
        self._connection = connection
        self._options = options
        self._secret = secret

    @property
    def address(self) -> str:
        """Where it is, without a user's name, password or query."""
        return self._connection.address

    def cancel(self) -> None:
        """End all calls under way; they fail."""
        self._connection.cancel()

    def ask(self, query: Query, stop: threading.Event) -> Completion:
        """Ask, and ask again as long as it may help.

        Args:
            query: What to ask; its key is the address of the jitter.
            stop: Ends the waiting, and with it the asking.

        Raises:
            CallFailed: with the last failure.
        """
        post = query.compose()
        for earlier in range(self._options.retries + 1):
            try:
                return self._call(query, post, earlier + 1)
            except CallFailed as failure:
                passing = failure.refusal.fault is Fault.PASSING and failure.served is None
                if not passing or earlier == self._options.retries:
                    raise
                if stop.wait(self._pause(failure, query.key, earlier)):
                    raise
        raise AssertionError("the last try returns or raises")

    def read(self, path: str) -> HttpResponse:
        """Read what lies below the address, again while that may help: nobody waits for long.

        Raises:
            CallFailed: if there is no connection, or the endpoint is busy to the last.
        """
        retries = min(self._options.retries, _READ_AGAIN)
        for earlier in range(retries + 1):
            try:
                return self._read(path)
            except CallFailed as failure:
                if earlier == retries:
                    raise
                time.sleep(self._pause(failure, path, earlier))
        raise AssertionError("the last try returns or raises")

    def _read(self, path: str) -> HttpResponse:
        try:
            response = self._connection.read(path)
        except NoResponse as failure:
            raise CallFailed(str(failure), EndpointRefusal(Fault.PASSING)) from failure
        if response.status in _BUSY:
            wait = _asked_wait(response.retry_after)
            raise CallFailed(f"HTTP {response.status}", EndpointRefusal(Fault.PASSING), wait)
        return response

    def _pause(self, failure: CallFailed, key: str, earlier: int) -> float:
        """Seconds before the next call: half to all of a doubling wait, or what was asked for."""
        jitter = random.Random(seed_for(0, key, earlier, "judge wait")).uniform(0.5, 1.0)
        wait = max(self._options.backoff_s * 2.0**earlier * jitter, failure.wait)
        return min(wait, self._options.max_wait_s)

    def _call(self, query: Query, post: Post, tries: int) -> Completion:
        sent = {name: value for name, value in post.fields.items() if name != "messages"}
        started = time.perf_counter()
        try:
            response = self._connection.send(post)
        except NoResponse as failure:
            raise CallFailed(str(failure), EndpointRefusal(Fault.PASSING)) from failure
        seconds = round(time.perf_counter() - started, 3)
        if response.status // 100 != 2:
            raise self._refused(response, sent)
        found = query.read(response.body)
        came = found._replace(
            text=self._hushed(found.text or ""),
            finish=self._without_secret(found.finish),
            served=None if found.served is None else self._without_secret(found.served),
            seconds=seconds,
            tries=tries,
        )
        if found.text is None:
            raise self._no_completion(query, response, came, sent)
        return came

    def _refused(self, response: HttpResponse, sent: dict[str, Any]) -> CallFailed:
        """What a response with another status than 200 means."""
        told = read_error(response.body)
        refusal = classify_refusal(response.status, told, sent)
        reason = f"HTTP {response.status}"
        if refusal.fault is Fault.PASSING:
            return CallFailed(reason, refusal, _asked_wait(response.retry_after))
        if response.status // 100 == 3:
            place = response.location or "another address"
            told = ErrorWords(f"it redirects to {place}, and redirects are not followed")
        elif refusal.quota:
            told = ErrorWords("the account's quota is used up")
        detail = self._without_secret(told.message)
        return CallFailed(f"{reason}: {detail}" if detail else reason, refusal, sent=sent)

    def _no_completion(
        self, query: Query, response: HttpResponse, came: Completion, sent: dict[str, Any]
    ) -> CallFailed:
        """What a body without a reply means; it was served, so it counts."""
        told = came.told or ErrorWords()
        words = self._without_secret(told.message)
        if response.is_too_large:
            reason = f"the response is larger than {self._connection.most_bytes >> 20} MiB"
        elif came.lacks:
            reason = came.lacks
        elif words:
            reason = f"the endpoint says: {words}"
        else:
            reason = f"the response is not {query.expected}"
        refusal = classify_refusal(told.status or 400, told, sent)
        served = came._replace(text=reason, finish=NO_REPLY)
        return CallFailed(reason, refusal, served=served, sent=sent)

    def _hushed(self, text: str) -> str:
        """A reply without the key, if that is one that no reply holds by chance."""
        return self._without_secret(text) if len(self._secret) >= _LONG_SECRET else text

    def _without_secret(self, text: str) -> str:
        return text.replace(self._secret, "***") if self._secret else text


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
