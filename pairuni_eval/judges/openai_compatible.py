"""The judge `openai`: a vision-language model behind an OpenAI-compatible endpoint.

Questions go out a few at a time and come back in order. Whatever comes is paid for, so all of it is
remembered, usable or not, and nothing is asked twice. A reply counts unless the endpoint says that
it was cut off or filtered: one that was cut at `max_tokens` is not a verdict, even where a rubric
could read a score from its beginning. A question without a reply is open: the same command asks it
again. The judge stops asking, and leaves the rest open, when the budget is spent or when the
endpoint has been silent for long.

A wrong key, address or model name ends the run, and so do a few refusals in a row that name what is
sent with every question, or that come before there ever was a reply: then the set-up is at fault
and no question is marked as failed. Once it has replied, a refusal is the failure of its question.
An interruption gives calls under way half a second and ends them.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import structs

from pairuni_eval.errors import UserError
from pairuni_eval.judges import request
from pairuni_eval.judges.completion import ChatCompletion, is_cut, is_declined
from pairuni_eval.judges.connection import Connection
from pairuni_eval.judges.endpoint import NO_REPLY, CallFailed, Endpoint
from pairuni_eval.judges.judge import Judge, JudgeReply, JudgeSetup, Question
from pairuni_eval.judges.refusals import Fault, remedy
from pairuni_eval.judges.replies import CachedReply, ReplyCache, Spent
from pairuni_eval.judges.settings import EndpointOptions, read_options
from pairuni_eval.judges.usage import JudgeCall, count_of, sum_of
from pairuni_eval.records import Status, pixel_id
from pairuni_eval.seeds import stable_hash

if TYPE_CHECKING:
    pass

_NO_KEY = "none"  # what the client sends to an endpoint that asks for no key
_HOPELESS_AFTER = 8  # questions in a row that got no reply
_WRONG_AFTER = 3  # calls in a row that say the set-up is wrong
_GRACE = 0.5  # seconds that an interruption waits for calls under way, and again once they ended
_PER_PRICE = 1_000_000  # tokens


class Outcome(NamedTuple):
    """What became of one distinct question.

    Attributes:
        reply: What is graded, or why there is nothing.
        came: What came, if anything did.
        open: True if asking again may bring a reply.
        suspect: True if the set-up may be at fault: then it is open until a reply shows otherwise.
    """

    reply: JudgeReply
    came: CachedReply | None = None
    open: bool = False
    suspect: bool = False


class OpenAIJudge(Judge):
    """See the module docstring.

    Args:
        endpoint: The model.
        snapshot: Its name, and what differs from the card.
        settings: What moves a reply: model, temperature, ...
        options: Budget, prices and concurrency.
        cache: What was replied before.
        setup: Where the options are from, and the run that pays.
    """

    extra = "judge"
    keeps_usage = True

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        snapshot: str,
        settings: dict[str, Any],
        options: EndpointOptions,
        cache: ReplyCache,
        setup: JudgeSetup,
    ) -> None:
        self.snapshot = snapshot
        self._endpoint = endpoint
        self._settings = settings
        self._options = options
        self._cache = cache
        self._place = str(setup.source or "the judge file")
        folder = setup.folder
        self._run = stable_hash("judge folder/1", str(folder.resolve())) if folder else ""
        self._without_reply: dict[str, Outcome] = {}  # not asked twice in one process
        self._lock = threading.Lock()  # held for whatever follows, never during a call
        self._replied = False
        self._works = False  # whether there is a reply under these settings, of now or of before
        self._heard: float | None = None  # when the last reply came, or the first call began
        self._failed_in_a_row = 0
        self._wrong_in_a_row = 0

    @classmethod
    def load(cls, setup: JudgeSetup) -> OpenAIJudge:
        """Read the options and the remembered replies; asks nothing yet.

        Raises:
            UserError: without the client, a key or a model name, for wrong options, and for a proxy
                or certificates of no use in the environment.
        """
        options = read_options(EndpointOptions, setup.options, setup.source)
        request.check(options, setup)
        address = request.address(options, setup)
        settings = request.settings(setup.spec, options)
        secret = request.secret(setup, options)
        connection = Connection(address, secret or _NO_KEY, options.timeout_s)
        if connection.note:
            logging.getLogger(__name__).warning("Note: %s", connection.note)
        return cls(
            Endpoint(connection, request.fields(settings), options, secret),
            snapshot=request.name(settings, setup.spec),
            settings=settings,
            options=options,
            cache=ReplyCache(setup.reply_file(options.cache)),
            setup=setup,
        )

    def ask(self, questions: Sequence[Question]) -> list[JudgeReply]:
        """Judge a batch; equal questions are asked once.

        Raises:
            UserError: if the endpoint refuses the key, the model, the address or what is sent with
                every question, or the disk is full. What came is remembered.
        """
        keys = [self._key(question) for question in questions]
        distinct = dict(zip(keys, questions, strict=True))
        outcomes = self._settle(distinct)
        return [outcomes[key].reply._replace(call=self._call(key, outcomes[key])) for key in keys]

    def _key(self, question: Question) -> str:
        images = [pixel_id(image) for image in question.images]
        texts = [question.system, question.prompt]
        return stable_hash("judge/1", self._settings, texts, images, question.attempt)

    def _settle(self, distinct: dict[str, Question]) -> dict[str, Outcome]:
        failed = self._without_reply
        remembered = map(self._cache.find, distinct)
        self._works = self._works or any(r is not None and r.finish != NO_REPLY for r in remembered)
        outcomes = {key: failed[key] for key in distinct if key in failed}
        owed = deque((key, q) for key, q in distinct.items() if key not in outcomes)
        if owed:
            outcomes.update(self._ask_all(owed))
        return {
            key: one._replace(open=not self._works) if one.suspect else one
            for key, one in outcomes.items()
        }

    def _ask_all(self, owed: deque[tuple[str, Question]]) -> dict[str, Outcome]:
        """Ask what is owed with a few threads, which take the questions in order.

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

    def _work(self, owed: deque[tuple[str, Question]], threads: _WorkerThreads) -> None:
        """Take questions until there are none."""
        while not threads.stop.is_set():
            with self._lock:
                if not owed:
                    return
                key, question = owed.popleft()
                outcome = self._without_call(key)
            threads.outcomes[key] = outcome or self._ask(key, question, threads.stop)

    def _without_call(self, key: str) -> Outcome | None:
        """The outcome of a question that need not or must not be asked; None if a call began."""
        if self._cache.find(key) is None:
            self._cache.refresh()
        reply = self._cache.find(key)
        if reply is not None:
            return _read(reply)
        barred = self._cache.begin(self._barred)
        return None if barred is None else Outcome(barred, open=True)

    def _barred(self, spent: Spent) -> JudgeReply | None:
        """Why no further question may be asked, or None."""
        options = self._options
        if options.max_calls is not None and spent.calls + spent.under_way >= options.max_calls:
            return JudgeReply("budget: max_calls is reached", Status.SKIPPED)
        expected = spent.cost + (spent.under_way + 1) * spent.dearest
        if options.max_cost is not None and (
            expected > options.max_cost or spent.cost >= options.max_cost
        ):
            return JudgeReply("budget: max_cost is reached", Status.SKIPPED)
        if self._is_silent():
            return JudgeReply("not asked: the endpoint had stopped answering", Status.JUDGE_FAILED)
        return None

    def _is_silent(self) -> bool:
        """Whether the endpoint is given up: many failures in a row over a long time."""
        now = time.monotonic()
        self._heard = self._heard or now
        silence = now - self._heard
        return self._failed_in_a_row >= _HOPELESS_AFTER and silence >= self._options.patience_s

    def _ask(self, key: str, question: Question, stop: threading.Event) -> Outcome:
        try:
            came = self._endpoint.ask(question, key, stop)
        except CallFailed as failure:
            with self._lock:
                return self._without_reply.setdefault(key, self._failed(key, failure))
        except BaseException:
            with self._lock:
                self._cache.end()
            raise
        with self._lock:
            self._replied = self._works = True
            self._heard = time.monotonic()
            self._failed_in_a_row = self._wrong_in_a_row = 0
            reply = self._cache.add(self._to_keep(key, came), ends_call=True)
        if reply.cost is None and self._options.max_cost is not None:
            raise UserError(
                f"The judge at {self._endpoint.address} does not say how many tokens a reply took, "
                "so max_cost cannot be held.",
                hint="Use max_calls in the judge file instead.",
            )
        return _read(reply)

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
            return Outcome(JudgeReply(failure.reason, Status.REFUSED), came)
        if not suspect:
            self._failed_in_a_row += 1
        self._raise_if_set_up_is_wrong(failure)
        said = JudgeReply(failure.reason, Status.JUDGE_FAILED)
        return Outcome(said, came, open=not suspect, suspect=suspect)

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
        refusal, model = failure.refusal, self._settings["model"]
        said = f"The judge at {self._endpoint.address} refuses to answer as '{model}': "
        said += f"{failure.reason.rstrip('.')}. What was graded is kept."
        if refusal.fault is Fault.SET_UP and not refusal.about:
            key_env = self._options.key_env or request.KEY_ENV
            return UserError(
                said,
                hint=f"Check {key_env} and its account, base_url and snapshot in the judge file; "
                "then the same command continues.",
            )
        then = "then the same command continues, and nothing was marked as failed."
        if self._works:
            then = (
                "as verdicts were given before, the changed judge is another one and needs a "
                "folder of its own (--out)."
            )
        mend = remedy(refusal.about, self._endpoint.sent)
        return UserError(said, hint=f"In {self._place}: {mend}; {then}")

    def _to_keep(self, key: str, came: ChatCompletion, *, open: bool = False) -> CachedReply:
        told = {name: value for name, value in came._asdict().items() if name != "told"}
        return CachedReply(
            key=key,
            snapshot=self._settings["model"],
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

    def _call(self, key: str, outcome: Outcome) -> JudgeCall:
        came, status = outcome.came, outcome.reply.status
        trouble = "" if status is Status.SCORED else outcome.reply.text
        if came is None:
            return JudgeCall(key=key, trouble=trouble, open=outcome.open)
        paid = self._cache.paid_for(key, self._run)
        return JudgeCall(
            key=key,
            replied=True,
            paid=bool(paid),
            prompt_tokens=count_of([one.prompt_tokens for one in paid or [came]]),
            completion_tokens=count_of([one.completion_tokens for one in paid or [came]]),
            cost=sum_of([one.cost for one in paid or [came]]),
            served=came.served,
            trouble="declined" if status is Status.REFUSED else trouble,
            open=outcome.open,
            paid_for=max(len(paid), 1),
        )


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
            thread = threading.Thread(target=run, name="judge", daemon=True)
            self._threads.append(thread)
            thread.start()

    def wait(self, seconds: float = math.inf) -> None:
        """Return when all have ended or the time is over; an interruption gets through."""
        end = time.monotonic() + seconds
        for thread in self._threads:
            while thread.is_alive() and (left := end - time.monotonic()) > 0:
                thread.join(min(left, 1.0))


def _read(came: CachedReply) -> Outcome:
    """What a reply is worth: its text if it is whole, else a status."""
    text, status = came.text, Status.SCORED
    if came.finish == NO_REPLY:
        status = Status.JUDGE_FAILED
    elif is_declined(came.finish):
        text, status = came.text or "the endpoint filtered its reply", Status.REFUSED
    elif is_cut(came.finish):
        text, status = "the reply was cut off at its longest length", Status.JUDGE_FAILED
    elif not came.text.strip():
        text, status = "the reply was empty", Status.JUDGE_FAILED
    return Outcome(JudgeReply(text, status), came)


def _cost(options: EndpointOptions, prompt: int | None, completion: int | None) -> float | None:
    """Money for one reply; None without prices or counts."""
    if options.input_price is None or options.output_price is None:
        return None
    if prompt is None or completion is None:
        return None
    return (prompt * options.input_price + completion * options.output_price) / _PER_PRICE
