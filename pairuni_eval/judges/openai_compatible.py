"""The judge `openai`: a vision-language model behind an OpenAI-compatible endpoint.

Questions go out a few at a time and come back in order; `endpoints.asking` says what is remembered,
what is asked again and what ends a run. A question is one user message, the text first, then the
images in order as PNG, or the images first where the question says so. One that was cut at
`max_tokens` is not a verdict, even where a rubric could read a score from its beginning. Where the
request asks for `logprobs`, the reply is what its first token might have been
(`judges/first_token.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from pairuni_eval.endpoints.asking import Asker, Ending, Outcome, Wording
from pairuni_eval.endpoints.calls import Endpoint, Query
from pairuni_eval.endpoints.completion import is_cut
from pairuni_eval.endpoints.connection import Connection, Post
from pairuni_eval.endpoints.messages import user_message
from pairuni_eval.endpoints.replies import CachedReply, ReplyCache
from pairuni_eval.endpoints.settings import KEY_ENV, address, secret
from pairuni_eval.judges import request
from pairuni_eval.judges.first_token import token_probabilities
from pairuni_eval.judges.judge import Judge, JudgeReply, JudgeSetup, Question
from pairuni_eval.judges.settings import EndpointOptions, read_options
from pairuni_eval.judges.usage import JudgeCall, count_of, sum_of
from pairuni_eval.records import Status, pixel_id
from pairuni_eval.seeds import stable_hash

_LOGPROBS = "logprobs"
_NO_KEY = "none"  # what the client sends to an endpoint that asks for no key
_STATUSES = {
    Ending.REPLIED: Status.SCORED,
    Ending.DECLINED: Status.REFUSED,
    Ending.FAILED: Status.JUDGE_FAILED,
    Ending.OVER_BUDGET: Status.SKIPPED,
    Ending.GIVEN_UP: Status.JUDGE_FAILED,
}


class OpenAIJudge(Judge):
    """See the module docstring.

    Args:
        asker: Who asks the endpoint.
        snapshot: The model's name, and what differs from the card.
        settings: What moves a reply: model, temperature, ...
        cache: What was replied before.
        run: Hash of the place of the run that pays.
    """

    extra = "judge"
    keeps_usage = True

    def __init__(
        self, asker: Asker, *, snapshot: str, settings: dict[str, Any], cache: ReplyCache, run: str
    ) -> None:
        self.snapshot = snapshot
        self._asker = asker
        self._settings = settings
        self._cache = cache
        self._run = run

    @classmethod
    def load(cls, setup: JudgeSetup) -> OpenAIJudge:
        """Read the options and the remembered replies; asks nothing yet.

        Raises:
            UserError: without the client, a key or a model name, for wrong options, and for a proxy
                or certificates of no use in the environment.
        """
        options = read_options(EndpointOptions, setup.options, setup.source)
        request.check(options, setup)
        place = setup.source or "--judge"
        where = address(options, place)
        settings = request.settings(setup.spec, options)
        key = secret(options, place, who="judge", otherwise=request.WITHOUT_KEY)
        connection = Connection(where, key or _NO_KEY, options.timeout_s, what="The judge 'openai'")
        if connection.note:
            logging.getLogger(__name__).warning("Note: %s", connection.note)
        run = stable_hash("judge folder/1", str(setup.folder.resolve())) if setup.folder else ""
        cache = ReplyCache(setup.reply_file(options.cache))
        wording = Wording(
            who="judge",
            name=str(settings["model"]),
            place=str(setup.source or "the judge file"),
            kept="What was graded is kept.",
            given="verdicts were",
            check=f"{options.key_env or KEY_ENV} and its account, base_url and snapshot in the "
            "judge file",
            mend=request.remedy,
        )
        endpoint = Endpoint(connection, options, key)
        worth = _worth_of_token if settings["extra"].get(_LOGPROBS) else _worth
        return cls(
            Asker(endpoint, options, cache, wording, worth, run=run),
            snapshot=request.name(settings, setup.spec),
            settings=settings,
            cache=cache,
            run=run,
        )

    def cost_of_a_call(self) -> float | None:
        """The mean of all remembered replies that have a price, whichever run paid for them."""
        return self._cache.usual_cost

    def ask(self, questions: Sequence[Question]) -> list[JudgeReply]:
        """Judge a batch; equal questions are asked once.

        Raises:
            UserError: if the endpoint refuses the key, the model, the address or what is sent with
                every question, or the disk is full. What came is remembered.
        """
        queries = [self._query(question) for question in questions]
        outcomes = self._asker.settle({query.key: query for query in queries})
        return [self._reply(query.key, outcomes[query.key]) for query in queries]

    def _query(self, question: Question) -> Query:
        images = [pixel_id(image) for image in question.images]
        texts = [question.system, question.prompt]
        order = ("images first",) * question.images_first
        key = stable_hash("judge/1", self._settings, texts, images, question.attempt, *order)
        return Query(key, lambda: self._post(question))

    def _post(self, question: Question) -> Post:
        text, images = [question.prompt], question.images
        messages = [user_message([*images, *text] if question.images_first else [*text, *images])]
        if question.system:
            messages.insert(0, {"role": "system", "content": question.system})
        fields = {"messages": messages, **request.fields(self._settings)}
        return Post("/chat/completions", fields)

    def _reply(self, key: str, outcome: Outcome) -> JudgeReply:
        status = _STATUSES[outcome.ending]
        return JudgeReply(outcome.text, status, call=self._call(key, outcome, status))

    def _call(self, key: str, outcome: Outcome, status: Status) -> JudgeCall:
        came = outcome.came
        trouble = "" if status is Status.SCORED else outcome.text
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


def _worth(came: CachedReply) -> Outcome:
    """A verdict, or why what came is none."""
    if is_cut(came.finish):
        said = "the reply was cut off at its longest length"
        return Outcome(said, Ending.FAILED, came)
    if not came.text.strip():
        return Outcome("the reply was empty", Ending.FAILED, came)
    return Outcome(came.text, Ending.REPLIED, came)


def _worth_of_token(came: CachedReply) -> Outcome:
    """The probabilities of the first token, or that there are none."""
    if not came.first_token:
        said = "the reply has no log-probabilities, which this protocol reads"
        return Outcome(said, Ending.FAILED, came)
    return Outcome(token_probabilities(came.first_token), Ending.REPLIED, came)
