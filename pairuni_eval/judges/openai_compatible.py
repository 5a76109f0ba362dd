"""The judge `openai`: a vision-language model behind an OpenAI-compatible endpoint.

Questions go out a few at a time and come back in order. A reply is paid for, so every reply is
remembered, usable or not, and nothing is asked twice; a reply counts only if the endpoint says that
it is whole (finish reason "stop"): one that was cut at `max_tokens` is no verdict, even where a
rubric could read a score from its beginning. A question without a reply is open: the same command
asks it again. The judge stops asking, and leaves the rest open, when the budget is spent or when
the endpoint has been silent for long; a wrong key, address or model name ends the run.

Temperature, length and further fields are the card's unless the judge file says otherwise, and
what it says otherwise becomes part of the judge's name in every score.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from pairuni_eval.cards import JudgeSpec
from pairuni_eval.errors import UserError
from pairuni_eval.extras import needs
from pairuni_eval.judges.bills import Receipt
from pairuni_eval.judges.endpoint import Answered, CallFailed, Endpoint, Fault
from pairuni_eval.judges.judge import Judge, JudgeSetup, Question, Verdict
from pairuni_eval.judges.replies import Reply, ReplyBook
from pairuni_eval.judges.settings import EndpointOptions, read_options
from pairuni_eval.records import Status
from pairuni_eval.seeds import stable_hash

if TYPE_CHECKING:
    import openai
    from PIL import Image

_KEY_ENV = "OPENAI_API_KEY"
_ADDRESS_ENV = "OPENAI_BASE_URL"
_NO_KEY = "none"  # what the client sends to an endpoint that asks for no key
_HOPELESS_AFTER = 8  # questions in a row that got no reply
_WRONG_AFTER = 3  # calls in a row that say the set-up is wrong, once it has worked
_PER_PRICE = 1_000_000  # tokens
_DECLINED = ("refusal", "content_filter")


class Outcome(NamedTuple):
    """What became of one distinct question: a verdict, and the reply it is from, if any."""

    verdict: Verdict
    reply: Reply | None = None
    open: bool = False


class OpenAIJudge(Judge):
    """See the module docstring.

    Args:
        endpoint: The model.
        snapshot: Its name, and what differs from the card.
        settings: What moves a reply: model, temperature, ...
        options: Budget, prices and concurrency.
        book: What was replied before.
        run: Hash of the place of the run that pays.
    """

    extra = "judge"

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        snapshot: str,
        settings: dict[str, Any],
        options: EndpointOptions,
        book: ReplyBook,
        run: str,
    ) -> None:
        self.snapshot = snapshot
        self._endpoint = endpoint
        self._settings = settings
        self._options = options
        self._book = book
        self._run = run
        self._receipts: list[Receipt] = []
        self._without_reply: dict[str, Outcome] = {}  # not asked twice in one process
        self._lock = threading.Lock()  # held for whatever follows, never during a call
        self._under_way = 0
        self._replied = False
        self._heard: float | None = None  # when the last reply came, or the first call began
        self._failed_in_a_row = 0
        self._wrong_in_a_row = 0

    @classmethod
    def load(cls, setup: JudgeSetup) -> OpenAIJudge:
        """Read the options and the remembered replies; asks nothing yet.

        Raises:
            UserError: without the client, a key or a model name, and for wrong options.
        """
        options = read_options(EndpointOptions, setup.options, setup.source)
        _check(options, setup)
        settings = _settings(setup.spec, options)
        secret = _secret(setup, options)
        return cls(
            Endpoint(_client(options, secret or _NO_KEY), _fields(settings), options, secret),
            snapshot=_name(settings, setup.spec),
            settings=settings,
            options=options,
            book=ReplyBook(setup.reply_file(options.cache)),
            run=stable_hash("judge folder/1", str(setup.folder.resolve())) if setup.folder else "",
        )

    def ask(self, questions: Sequence[Question]) -> list[Verdict]:
        """Judge a batch; equal questions are asked once.

        Raises:
            UserError: if the endpoint refuses the key, the model or the address, or the disk is
                full. Replies that came are remembered.
        """
        keys = [self._key(question) for question in questions]
        distinct = dict(zip(keys, questions, strict=True))
        outcomes = self._settle(distinct)
        self._receipts += [self._receipt(key, outcomes[key]) for key in keys]
        return [outcomes[key].verdict for key in keys]

    def take_receipts(self) -> list[Receipt]:
        """What became of every question since the last call of this."""
        taken, self._receipts = self._receipts, []
        return taken

    def _key(self, question: Question) -> str:
        images = [_pixels(image) for image in question.images]
        texts = [question.system, question.prompt]
        return stable_hash("judge/1", self._settings, texts, images, question.attempt)

    def _settle(self, distinct: dict[str, Question]) -> dict[str, Outcome]:
        failed = self._without_reply
        outcomes = {key: failed[key] for key in distinct if key in failed}
        owed = deque((key, q) for key, q in distinct.items() if key not in outcomes)
        if owed:
            outcomes.update(self._ask_all(owed))
        return outcomes

    def _ask_all(self, owed: deque[tuple[str, Question]]) -> dict[str, Outcome]:
        """Ask what is owed with a few threads, which take the questions in order."""
        stop = threading.Event()
        workers = min(self._options.concurrency, len(owed))
        outcomes: dict[str, Outcome] = {}
        with ThreadPoolExecutor(workers, thread_name_prefix="judge") as pool:
            try:
                work = [pool.submit(self._work, owed, outcomes, stop) for _ in range(workers)]
                for done in work:
                    done.result()
            finally:  # on an error or an interruption: calls under way end, no others begin
                stop.set()
        return outcomes

    def _work(
        self,
        owed: deque[tuple[str, Question]],
        outcomes: dict[str, Outcome],
        stop: threading.Event,
    ) -> None:
        """Take questions until there are none."""
        try:
            while not stop.is_set():
                with self._lock:
                    if not owed:
                        return
                    key, question = owed.popleft()
                    outcome = self._without_call(key)
                    self._under_way += outcome is None
                if outcome is None:
                    outcome = self._ask(key, question, stop)
                outcomes[key] = outcome
        except BaseException:
            stop.set()
            raise

    def _without_call(self, key: str) -> Outcome | None:
        """The outcome of a question that need not or must not be asked; None if it is to be."""
        if self._book.find(key) is None:
            self._book.refresh()
        reply = self._book.find(key)
        if reply is not None:
            return _read(reply)
        barred = self._barred()
        return None if barred is None else Outcome(barred, open=True)

    def _barred(self) -> Verdict | None:
        """Why no further question may be asked, or None."""
        options, spent = self._options, self._book.spent
        if options.max_calls is not None and spent.calls + self._under_way >= options.max_calls:
            return Verdict("budget: max_calls is reached", Status.SKIPPED)
        expected = spent.cost + (self._under_way + 1) * spent.dearest
        if options.max_cost is not None and (
            expected > options.max_cost or spent.cost >= options.max_cost
        ):
            return Verdict("budget: max_cost is reached", Status.SKIPPED)
        if self._is_silent():
            return Verdict("not asked: the endpoint had stopped answering", Status.JUDGE_FAILED)
        return None

    def _is_silent(self) -> bool:
        """Whether the endpoint is given up: many failures in a row over a long time."""
        now = time.monotonic()
        self._heard = self._heard or now
        silence = now - self._heard
        return self._failed_in_a_row >= _HOPELESS_AFTER and silence >= self._options.patience_s

    def _ask(self, key: str, question: Question, stop: threading.Event) -> Outcome:
        try:
            answered = self._endpoint.ask(question, key, stop)
        except CallFailed as failure:
            with self._lock:
                self._under_way -= 1
                return self._without_reply.setdefault(key, self._failed(failure))
        with self._lock:
            self._under_way -= 1
            self._replied, self._heard = True, time.monotonic()
            self._failed_in_a_row = self._wrong_in_a_row = 0
            reply = self._book.add(self._reply(key, answered))
        if reply.cost is None and self._options.max_cost is not None:
            raise UserError(
                f"The judge at {self._endpoint.address} does not say how many tokens a reply took, "
                "so max_cost cannot be held.",
                hint="Use max_calls in the judge file instead.",
            )
        return _read(reply)

    def _failed(self, failure: CallFailed) -> Outcome:
        if failure.fault is Fault.DECLINED:
            return Outcome(Verdict(failure.reason, Status.REFUSED))
        if failure.fault is Fault.FINAL:
            return Outcome(Verdict(failure.reason, Status.JUDGE_FAILED))
        self._failed_in_a_row += 1
        if failure.fault is Fault.SET_UP:
            self._wrong_in_a_row += 1
            if not self._replied or self._wrong_in_a_row >= _WRONG_AFTER:
                raise self._set_up_wrong(failure)
        return Outcome(Verdict(failure.reason, Status.JUDGE_FAILED), open=True)

    def _set_up_wrong(self, failure: CallFailed) -> UserError:
        key_env = self._options.key_env or _KEY_ENV
        return UserError(
            f"The judge at {self._endpoint.address} refuses to answer as "
            f"'{self._settings['model']}': {failure.reason}. What was graded is kept.",
            hint=f"Check {key_env}, base_url and snapshot in the judge file; then the same command "
            "continues.",
        )

    def _reply(self, key: str, answered: Answered) -> Reply:
        return Reply(
            key=key,
            snapshot=self._settings["model"],
            cost=_cost(self._options, answered.prompt_tokens, answered.completion_tokens),
            run=self._run,
            **answered._asdict(),
        )

    def _receipt(self, key: str, outcome: Outcome) -> Receipt:
        reply, verdict = outcome.reply, outcome.verdict
        trouble = "" if verdict.status is Status.SCORED else verdict.text
        if reply is None:
            return Receipt(key=key, trouble=trouble, open=outcome.open)
        return Receipt(
            key=key,
            replied=True,
            paid=reply.run == self._run,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            cost=reply.cost,
            served=reply.served,
            trouble="declined" if verdict.status is Status.REFUSED else trouble,
        )


def _read(reply: Reply) -> Outcome:
    """What a reply is worth: its text if it is whole, else a status."""
    text, status = reply.text, Status.SCORED
    if reply.finish in _DECLINED:
        text, status = reply.text or "the endpoint filtered its reply", Status.REFUSED
    elif reply.finish == "length":
        text, status = "the reply was cut off at its longest length", Status.JUDGE_FAILED
    elif reply.finish != "stop":
        text, status = f"the reply ended with '{reply.finish}'", Status.JUDGE_FAILED
    elif not reply.text.strip():
        text, status = "the reply was empty", Status.JUDGE_FAILED
    return Outcome(Verdict(text, status), reply)


def _cost(options: EndpointOptions, prompt: int | None, completion: int | None) -> float | None:
    """Money for one reply; None without prices or counts."""
    if options.input_price is None or options.output_price is None:
        return None
    if prompt is None or completion is None:
        return None
    return (prompt * options.input_price + completion * options.output_price) / _PER_PRICE


def _pixels(image: Image.Image) -> str:
    """Hash of what an image shows, whatever file it is from."""
    digest = hashlib.sha256(f"{image.mode} {image.width}x{image.height}\n".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def _check(options: EndpointOptions, setup: JudgeSetup) -> None:
    """Rules between options, which their types cannot say."""
    place = setup.source or "--judge"
    if options.max_cost is not None and None in (options.input_price, options.output_price):
        raise UserError(
            f"{place}: max_cost needs input_price and output_price, the money per million tokens.",
            hint="Set both, or use max_calls.",
        )
    if options.base_url is not None and not _is_address(options.base_url):
        raise UserError(
            f"{place}: base_url is no address.", hint='e.g. base_url = "http://localhost:8000/v1"'
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
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets or a port that is no number
        return False


def _is_json(value: Any) -> bool:
    try:
        stable_hash(value)
    except (TypeError, ValueError):
        return False
    return True


def _secret(setup: JudgeSetup, options: EndpointOptions) -> str:
    """The key; empty where an endpoint of one's own may do without.

    Raises:
        UserError: if it is needed and not set.
    """
    name = options.key_env or _KEY_ENV
    secret = os.environ.get(name, "").strip()
    own = options.base_url is not None or bool(os.environ.get(_ADDRESS_ENV))
    if not secret and (options.key_env is not None or not own):
        raise UserError(
            f"{setup.source or '--judge'}: the judge needs a key, and the environment variable "
            f"{name} is not set.",
            hint=f"export {name}=..., or name an endpoint of your own with base_url in a judge "
            "file, or leave the rows that need a judge ungraded with --judge none",
        )
    if not (secret.isascii() and secret.isprintable()):
        raise UserError(f"The environment variable {name} holds no key: it has odd characters.")
    return secret


def _client(options: EndpointOptions, secret: str) -> openai.OpenAI:
    """The client with its own retries off."""
    needs("The judge 'openai'", OpenAIJudge.extra)
    import openai

    return openai.OpenAI(
        api_key=secret,
        base_url=options.base_url,
        timeout=options.timeout_s,
        max_retries=0,
    )


def _settings(spec: JudgeSpec, options: EndpointOptions) -> dict[str, Any]:
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


def _fields(settings: dict[str, Any]) -> dict[str, Any]:
    """The same as fields of a request; what is None is left to the endpoint."""
    sent = {name: settings[name] for name in ("model", "temperature", "max_tokens")}
    fields = {name: value for name, value in sent.items() if value is not None}
    return fields | ({"extra_body": settings["extra"]} if settings["extra"] else {})


def _name(settings: dict[str, Any], spec: JudgeSpec) -> str:
    """The model, and which settings are not the card's."""
    prescribed = {
        "temperature": spec.temperature,
        "max_tokens": spec.max_tokens,
        "extra": dict(spec.extra),
    }
    changed = [
        f"{name}={'unset' if settings[name] is None else settings[name]}"
        for name, value in prescribed.items()
        if settings[name] != value
    ]
    return f"{settings['model']} ({', '.join(changed)})" if changed else str(settings["model"])
