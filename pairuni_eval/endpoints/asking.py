"""Asks an endpoint many things, a few at a time, remembers what comes, and stops in time.

Whatever comes is paid for, so all of it is remembered, usable or not, and nothing is asked twice. A
reply counts unless the endpoint says that it was filtered; what else a reply must be is for who
asks (`worth`). A query without a reply is open: asking again may bring one. The asking stops, and
leaves the rest open, when the budget is spent or when the endpoint has been silent for long.

A wrong key, address or model name is an error of the user, and so are a few refusals in a row that
name what is sent with every query, or that come before there ever was a reply: then the set-up is
at fault and no query is marked as failed. Once it has replied, a refusal is the failure of its
query. An interruption gives calls under way half a second and ends them.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, NamedTuple

from msgspec import structs

from pairuni_eval.endpoints.calls import NO_REPLY, CallFailed, Endpoint, Query
from pairuni_eval.endpoints.completion import Completion, is_declined
from pairuni_eval.endpoints.refusals import Fault
from pairuni_eval.endpoints.replies import CachedReply, ReplyCache, Spent
from pairuni_eval.endpoints.settings import CallOptions
from pairuni_eval.errors import UserError

_HOPELESS_AFTER = 8  # queries in a row that got no reply
_WRONG_AFTER = 3  # calls in a row that say the set-up is wrong
_GRACE = 0.5  # seconds that an interruption waits for calls under way, and again once they ended
_PER_PRICE = 1_000_000  # tokens


class Ending(Enum):
    """What became of a query."""

    REPLIED = "there is a reply that can be used"
    DECLINED = "the endpoint declined"
    FAILED = "no reply that can be used"
    OVER_BUDGET = "not asked: the budget is spent"
    GIVEN_UP = "not asked: the endpoint has been silent for long"


class Outcome(NamedTuple):
    """What became of one distinct query.

    Attributes:
        text: The reply, or why there is none that can be used.
        ending: Which of both.
        came: What came, if anything did.
        open: True if asking again may bring a reply.
        suspect: True if the set-up may be at fault: then it is open until a reply shows otherwise.
    """

    text: str
    ending: Ending
    came: CachedReply | None = None
    open: bool = False
    suspect: bool = False


class Wording(NamedTuple):
    """How errors speak of who is asked and of the file that says how.

    Attributes:
        who: "judge" or "model".
        name: The model's name at the endpoint.
        place: The file.
        kept: What stands when the run ends, as a sentence.
        given: What replies are called here: "verdicts were", "answers were".
        check: What to look at when the endpoint knows neither the key nor the model.
        mend: The line of the file that mends a refusal: what it is about, and what was sent.
    """

    who: str
    name: str
    place: str
    kept: str
    given: str
    check: str
    mend: Callable[[str, Mapping[str, Any]], str]


class Asker:
    """See the module docstring.

    Args:
        endpoint: Who is asked.
        options: Budget, prices and concurrency.
        cache: What was replied before.
        wording: How errors are worded.
        worth: What a reply that was neither filtered nor lost is worth: its text, or why not.
        run: Hash of the place of the run that pays.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        options: CallOptions,
        cache: ReplyCache,
        wording: Wording,
        worth: Callable[[CachedReply], Outcome],
        *,
        run: str = "",
    ) -> None:
        self._endpoint = endpoint
        self._options = options
        self._cache = cache
        self._words = wording
        self._worth = worth
        self._run = run
        self._without_reply: dict[str, Outcome] = {}  # not asked twice in one process
        self._lock = threading.Lock()  # held for whatever follows, never during a call
        self._replied = False
        self._works = False  # whether there is a reply under these settings, of now or of before
        self._heard: float | None = None  # when the last reply came, or the first call began
        self._failed_in_a_row = 0
        self._wrong_in_a_row = 0
        self._named: CallFailed | None = None  # a refusal of what is sent with every query

    def settle(self, queries: Mapping[str, Query]) -> dict[str, Outcome]:
        """Find out what becomes of every query, by its key.

        Raises:
            UserError: if the endpoint refuses the key, the model, the address or what is sent with
                every query, or the disk is full. What came is remembered.
        """
        failed = self._without_reply
        remembered = map(self._cache.find, queries)
        self._works = self._works or any(r is not None and r.finish != NO_REPLY for r in remembered)
        outcomes = {key: failed[key] for key in queries if key in failed}
        owed = deque(query for key, query in queries.items() if key not in outcomes)
        if owed:
            outcomes.update(self._ask_all(owed))
        return {
            key: one._replace(open=not self._works) if one.suspect else one
            for key, one in outcomes.items()
        }

    def fault_of_set_up(self) -> UserError | None:
        """What to mend, where no query ever got a reply and a refusal names what all are sent."""
        return None if self._works or self._named is None else self._set_up_wrong(self._named)

    def _ask_all(self, owed: deque[Query]) -> dict[str, Outcome]:
        """Ask what is owed with a few threads, which take the queries in order.

        On an error no calls begin and those under way, which are paid for, come to their end; on an
        interruption they get a moment. The threads keep no interpreter alive.
        """
        threads = _WorkerThreads()
        workers = min(self._options.concurrency, len(owed))
        threads.start(workers, lambda: self._work(owed, threads))
        try:
            threads.wait()
        except BaseException:
            threads.stop.set()
            threads.wait(_GRACE)
            self._endpoint.cancel()
            threads.wait(_GRACE)
            raise
        if threads.failures:
            raise threads.failures[0]
        return threads.outcomes

    def _work(self, owed: deque[Query], threads: _WorkerThreads) -> None:
        """Take queries until there are none."""
        while not threads.stop.is_set():
            with self._lock:
                if not owed:
                    return
                query = owed.popleft()
                outcome = self._without_call(query.key)
            threads.outcomes[query.key] = outcome or self._ask(query, threads.stop)

    def _without_call(self, key: str) -> Outcome | None:
        """The outcome of a query that need not or must not be asked; None if a call began."""
        if self._cache.find(key) is None:
            self._cache.refresh()
        reply = self._cache.find(key)
        if reply is not None:
            return self._read(reply)
        return self._cache.begin(self._barred)

    def _barred(self, spent: Spent) -> Outcome | None:
        """Why no further query may be asked, or None."""
        options = self._options
        if options.max_calls is not None and spent.calls + spent.under_way >= options.max_calls:
            return Outcome("budget: max_calls is reached", Ending.OVER_BUDGET, open=True)
        expected = spent.cost + (spent.under_way + 1) * spent.dearest
        if options.max_cost is not None and (
            expected > options.max_cost or spent.cost >= options.max_cost
        ):
            return Outcome("budget: max_cost is reached", Ending.OVER_BUDGET, open=True)
        if self._is_silent():
            said = "not asked: the endpoint had stopped answering"
            return Outcome(said, Ending.GIVEN_UP, open=True)
        return None

    def _is_silent(self) -> bool:
        """Whether the endpoint is given up: many failures in a row over a long time."""
        now = time.monotonic()
        self._heard = self._heard or now
        silence = now - self._heard
        return self._failed_in_a_row >= _HOPELESS_AFTER and silence >= self._options.patience_s

    def _ask(self, query: Query, stop: threading.Event) -> Outcome:
        try:
            came = self._endpoint.ask(query, stop)
        except CallFailed as failure:
            with self._lock:
                found = self._failed(query.key, failure)
                return self._without_reply.setdefault(query.key, found)
        except BaseException:
            with self._lock:
                self._cache.end()
            raise
        with self._lock:
            self._replied = self._works = True
            self._heard = time.monotonic()
            self._failed_in_a_row = self._wrong_in_a_row = 0
            reply = self._cache.add(self._to_keep(query.key, came), ends_call=True)
        if reply.cost is None and self._options.max_cost is not None:
            raise UserError(
                f"The {self._words.who} at {self._endpoint.address} does not say how many tokens "
                "a reply took, so max_cost cannot be held.",
                hint=f"Use max_calls in the {self._words.who} file instead.",
            )
        return self._read(reply)

    def _read(self, came: CachedReply) -> Outcome:
        """What a reply is worth: its text if it is whole, else why it cannot be used."""
        if came.finish == NO_REPLY:
            return Outcome(came.text, Ending.FAILED, came)
        if is_declined(came.finish):
            said = came.text or "the endpoint filtered its reply"
            return Outcome(said, Ending.DECLINED, came)
        return self._worth(came)

    def _failed(self, key: str, failure: CallFailed) -> Outcome:
        """What a failed call leaves; where something came all the same, that is remembered."""
        fault, came = failure.refusal.fault, None
        suspect = fault in (Fault.QUESTION, Fault.PARAMETER)
        if failure.served is None:
            self._cache.end()
        else:
            line = self._to_keep(key, failure.served, open=not (suspect and self._works))
            came = self._cache.add(self._priced(line), ends_call=True)
        if fault is Fault.DECLINED:
            return Outcome(failure.reason, Ending.DECLINED, came)
        if not suspect:
            self._failed_in_a_row += 1
        if fault is Fault.PARAMETER:
            self._named = failure
        self._raise_if_set_up_is_wrong(failure)
        return Outcome(failure.reason, Ending.FAILED, came, open=not suspect, suspect=suspect)

    def _raise_if_set_up_is_wrong(self, failure: CallFailed) -> None:
        fault = failure.refusal.fault
        always = fault in (Fault.SET_UP, Fault.PARAMETER)
        if not always and (fault is Fault.PASSING or self._works):
            return
        self._wrong_in_a_row += 1
        at_once = fault is Fault.SET_UP and not self._replied
        if at_once or self._wrong_in_a_row >= _WRONG_AFTER:
            raise self._set_up_wrong(failure)

    def _set_up_wrong(self, failure: CallFailed) -> UserError:
        refusal, words = failure.refusal, self._words
        said = f"The {words.who} at {self._endpoint.address} refuses to answer as '{words.name}': "
        said += f"{failure.reason.rstrip('.')}. {words.kept}"
        if refusal.fault is Fault.SET_UP and not refusal.about:
            return UserError(said, hint=f"Check {words.check}; then the same command continues.")
        then = "then the same command continues, and nothing was marked as failed."
        if self._works:
            then = (
                f"as {words.given} given before, the changed {words.who} is another one and needs "
                "a folder of its own (--out)."
            )
        mend = words.mend(refusal.about, failure.sent)
        return UserError(said, hint=f"In {words.place}: {mend}; {then}")

    def _to_keep(self, key: str, came: Completion, *, open: bool = False) -> CachedReply:
        unsaid = ("told", "lacks")  # of what holds no reply: its reason is the text
        told = {name: value for name, value in came._asdict().items() if name not in unsaid}
        return CachedReply(
            key=key,
            snapshot=self._words.name,
            cost=_cost(self._options, came.prompt_tokens, came.completion_tokens),
            run=self._run,
            open=open,
            **told,
        )

    def _priced(self, reply: CachedReply) -> CachedReply:
        """What came without a count of tokens, as dear as the dearest reply so far."""
        if reply.cost is not None or self._options.max_cost is None:
            return reply
        return structs.replace(reply, cost=self._cache.spent.dearest)


class _WorkerThreads:
    """Threads that work on one batch, what they found, and how they are stopped.

    They are daemons: one that hangs keeps nobody from leaving.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.outcomes: dict[str, Outcome] = {}
        self.failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def start(self, workers: int, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except BaseException as failure:  # noqa: BLE001 - raised again by who waits
                self.failures.append(failure)
                self.stop.set()

        for _ in range(workers):
            thread = threading.Thread(target=run, name="endpoint", daemon=True)
            self._threads.append(thread)
            thread.start()

    def wait(self, seconds: float = math.inf) -> None:
        """Return when all have ended or the time is over; an interruption gets through."""
        end = time.monotonic() + seconds
        for thread in self._threads:
            while thread.is_alive() and (left := end - time.monotonic()) > 0:
                thread.join(min(left, 1.0))


def _cost(options: CallOptions, prompt: int | None, completion: int | None) -> float | None:
    """Money for one reply; None without prices or counts."""
    if options.input_price is None or options.output_price is None:
        return None
    if prompt is None or completion is None:
        return None
    return (prompt * options.input_price + completion * options.output_price) / _PER_PRICE
