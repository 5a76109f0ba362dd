"""The completer `endpoint`: vision-language models behind OpenAI-compatible endpoints.

Writer and verifier are judges of `pairuni-eval` (plugin `openai` unless said otherwise), so that
retries, time-outs, concurrency, budget and the memory of paid replies are those of grading. Both
see the image and reply in JSON. What cannot be read as the JSON asked for, after thoughts in tags
were cut off, is a reject, never repaired. The options of a multiple-choice question are put in an
order of ours: models like to put the right one first.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from pairuni_eval.api import (
    Judge,
    JudgeCall,
    JudgeReply,
    JudgeSetup,
    JudgeSpec,
    Question,
    Status,
    usage_of,
)
from pairuni_eval.api.prompts import LETTERS, mmmu_prompt
from pairuni_eval.toolkit import seed_for
from pairuni_train.pair_data.complete import (
    Declined,
    Draft,
    NewPrompt,
    NewQuestion,
    Unanswered,
    Verification,
)
from pairuni_train.pair_data.config import CompletionSpec, judge_name
from pairuni_train.pair_data.embed import decode
from pairuni_train.pair_data.record import Half, Understanding

if TYPE_CHECKING:
    from PIL.Image import Image

_MAX_TOKENS = 1024
_JSON = {"response_format": {"type": "json_object"}}
_FENCE = re.compile(r"^```(?:json)?\s*(.*?)\s*```$", re.DOTALL)
_NO_JSON = "the reply is not the JSON that was asked for"

WRITE_PROMPT = """\
You see an image, a question about it and the right answer. Write a prompt for a text-to-image \
model that would draw this image.

Question: {question}
Answer: {answer}

- State every visible detail that answering the question takes: numbers, colors, positions, \
shapes, written words. Someone who knows your prompt but not the image must come to the same answer.
- State only what the image shows. Do not guess at names, places or anything out of sight.
- Describe the image; do not mention the question or that there is one.
- One to three sentences.

Reply with one JSON object and nothing else: {{"prompt": "..."}}"""

CHECK_PROMPT = """\
You see an image, a question about it, the right answer, and a prompt that somebody wrote to have \
the image drawn. Check the prompt.

Question: {question}
Answer: {answer}
Prompt: {prompt}

- Does the image show everything that the prompt states, in the stated number, color and place?
- Does the prompt alone, without the image, lead to the answer?

Reply with one JSON object and nothing else: {{"sound": true or false, "problem": "what is wrong, \
in a few words, or empty"}}"""

WRITE_QUESTION = """\
You see an image and the prompt it was drawn from. Write one multiple-choice question about the \
image.

Prompt: {prompt}

- Ask about things or attributes that the prompt names: how many, which color, where, what.
- It must take a look at the image to answer, and there must be exactly one right option.
- The three wrong options are plausible, of the same kind as the right one, and clearly wrong.
- Do not mention the prompt.

Reply with one JSON object and nothing else: {{"question": "...", "right": "the right option", \
"wrong": ["...", "...", "..."]}}"""

CHECK_QUESTION = """\
You see an image, the prompt it was drawn from, and a multiple-choice question that somebody wrote \
about it, with the supposed answer. Check the question.

Prompt: {prompt}
Question: {question}
Answer: {answer}

- Is the answer right for this image, and is every other option wrong?
- Is the question about things or attributes that the prompt names and the image shows?

Reply with one JSON object and nothing else: {{"sound": true or false, "problem": "what is wrong, \
in a few words, or empty"}}"""


class _PromptReply(msgspec.Struct):
    prompt: str


class _QuestionReply(msgspec.Struct):
    question: str
    right: str
    wrong: tuple[str, str, str]


class _CheckReply(msgspec.Struct):
    sound: bool
    problem: str = ""


class EndpointCompleter:
    """See the module docstring.

    Args:
        writer: The judge that writes.
        verifier: The judge that checks.
        seed: Of the order of options.
        longest_side: Images are shrunk to this many pixels.
    """

    def __init__(self, writer: Judge, verifier: Judge, *, seed: int, longest_side: int) -> None:
        self._writer, self._verifier = writer, verifier
        self.writer, self.verifier = writer.snapshot, verifier.snapshot
        self._seed = seed
        self._longest_side = longest_side
        self._calls: list[JudgeCall] = []

    def write(self, halves: Sequence[Half]) -> list[Draft | Declined | Unanswered]:
        """Ask the writer for the missing halves."""
        replies = self._ask(self._writer, [_to_write(half) for half in halves], halves)
        return [
            reply if isinstance(reply, Declined | Unanswered) else self._draft(half, reply)
            for half, reply in zip(halves, replies, strict=True)
        ]

    def verify(
        self, halves: Sequence[Half], drafts: Sequence[Draft]
    ) -> list[Verification | Unanswered]:
        """Ask the verifier about the new halves."""
        asked = [_to_check(half, draft) for half, draft in zip(halves, drafts, strict=True)]
        return [_finding(reply) for reply in self._ask(self._verifier, asked, halves)]

    @property
    def usage(self) -> str:
        """What this build paid for, in words."""
        usage = usage_of(self._calls)
        if not usage.calls:
            return ""
        words = f"{usage.calls} replies paid for"
        if usage.prompt_tokens is not None and usage.completion_tokens is not None:
            words += f", {usage.prompt_tokens} tokens asked and {usage.completion_tokens} replied"
        return words if usage.cost is None else f"{words}, cost {usage.cost:.2f}"

    def _ask(
        self, judge: Judge, prompts: Sequence[str], halves: Sequence[Half]
    ) -> list[str | Declined | Unanswered]:
        questions = [
            Question(prompt, (self._image(half),), {})
            for prompt, half in zip(prompts, halves, strict=True)
        ]
        replies = judge.ask(questions)
        self._calls += [reply.call for reply in replies if reply.call is not None]
        return [_reply(reply) for reply in replies]

    def _image(self, half: Half) -> Image:
        image = decode(half.image or b"")
        image.thumbnail((self._longest_side, self._longest_side))
        return image

    def _draft(self, half: Half, reply: str) -> Draft | Declined:
        if isinstance(half, Understanding):
            found = _parse(reply, _PromptReply)
            if found is None or not found.prompt.strip():
                return Declined(_NO_JSON, reply)
            return Draft(NewPrompt(found.prompt.strip()))
        asked = _parse(reply, _QuestionReply)
        return Declined(_NO_JSON, reply) if asked is None else self._question(half, asked)

    def _question(self, half: Half, asked: _QuestionReply) -> Draft | Declined:
        options = [option.strip() for option in (asked.right, *asked.wrong)]
        if not asked.question.strip() or not all(options):
            return Declined(_NO_JSON)
        if len({option.casefold() for option in options}) < len(options):
            return Declined("two options are the same")
        address = f"{half.source} {half.id}"
        random.Random(seed_for(self._seed, address, 0, "order of options")).shuffle(options)
        letter = LETTERS[options.index(asked.right.strip())]
        return Draft(NewQuestion(mmmu_prompt(asked.question.strip(), options), letter))


def load_completer(
    spec: CompletionSpec, *, seed: int, folder: Path, source: Path
) -> EndpointCompleter:
    """Make writer and verifier.

    Args:
        spec: The configuration's table.
        seed: Of the order of options.
        folder: Where paid replies are remembered.
        source: The configuration, which errors name.

    Raises:
        UserError: for a plugin, an option or a key that cannot be had.
    """
    from pairuni_eval.toolkit.models import load_plugin

    def judge(options: dict[str, Any], place: str) -> Judge:
        name = judge_name(options)
        own = {key: value for key, value in options.items() if key != "name"}
        prescribed = JudgeSpec(name=name, temperature=0.0, max_tokens=_MAX_TOKENS, extra=_JSON)
        setup = JudgeSetup(prescribed, folder=folder / place, options=own, source=source)
        loaded: Judge = load_plugin("judges", name).load(setup)
        return loaded

    return EndpointCompleter(
        judge(spec.writer, "writer"),
        judge(spec.verifier or spec.writer, "verifier"),
        seed=seed,
        longest_side=spec.longest_side,
    )


def _to_write(half: Half) -> str:
    if isinstance(half, Understanding):
        return WRITE_PROMPT.format(question=half.question, answer=half.answer)
    return WRITE_QUESTION.format(prompt=half.prompt)


def _to_check(half: Half, draft: Draft) -> str:
    if isinstance(half, Understanding):
        assert isinstance(draft.new, NewPrompt)
        return CHECK_PROMPT.format(
            question=half.question, answer=half.answer, prompt=draft.new.prompt
        )
    assert isinstance(draft.new, NewQuestion)
    return CHECK_QUESTION.format(
        prompt=half.prompt, question=draft.new.question, answer=draft.new.answer
    )


def _reply(reply: JudgeReply) -> str | Declined | Unanswered:
    if reply.status is Status.SCORED:
        return reply.said
    if reply.status is Status.REFUSED:
        return Declined("the model declined")
    if reply.status is Status.SKIPPED or (reply.call is not None and reply.call.open):
        return Unanswered(reply.text)
    return Declined(reply.text)


def _finding(reply: str | Declined | Unanswered) -> Verification | Unanswered:
    if isinstance(reply, Unanswered):
        return reply
    if isinstance(reply, Declined):
        return Verification(False, reply.reason)
    found = _parse(reply, _CheckReply)
    if found is None:
        return Verification(False, _NO_JSON, reply)
    return (
        Verification(True) if found.sound else Verification(False, "found a problem", found.problem)
    )


_Reply = TypeVar("_Reply", bound=msgspec.Struct)


def _parse(reply: str, kind: type[_Reply]) -> _Reply | None:
    """The JSON object of a reply, with or without a code fence; None for anything else."""
    text = reply.strip()
    fenced = _FENCE.match(text)
    try:
        return msgspec.json.decode(fenced.group(1) if fenced else text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
