"""Whether the judge that a task's own code asks has replied.

Some tasks ask a judge while they score a row, through the providers of `lmms_eval.llm_judge`,
which read their key and address from the environment. Where none replies they go on: MM-Vet with a
score of 0.0, MathVista with an empty answer, which is wrong. Inside a block every call is counted,
so that a row whose judge was silent has no value.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from pairuni_eval.errors import foreign_words
from pairuni_eval.lmms.replaced import replaced_method

_PROVIDERS = "lmms_eval.llm_judge.base"


class JudgeCalls:
    """What became of the calls of a block.

    Attributes:
        replies: How many brought a text.
        failure: What the last one that brought none said.
    """

    def __init__(self) -> None:
        self.replies = 0
        self.failure: str | None = None

    @property
    def silent(self) -> str | None:
        """Why there is no reply at all though one was asked for; None if there is one."""
        return None if self.replies else self.failure


@contextmanager
def watched_judge() -> Iterator[JudgeCalls]:
    """Count what the providers of lmms-eval are asked in a block."""
    calls = JudgeCalls()
    with ExitStack() as methods:
        for provider in _providers():
            counted = _counted(provider.evaluate, calls)
            methods.enter_context(replaced_method(provider, "evaluate", counted))
        yield calls


def _providers() -> list[Any]:
    """The classes that ask with a method of their own; none if no task has imported them."""
    base = sys.modules.get(_PROVIDERS)
    found, waiting = [], list(base.ServerInterface.__subclasses__()) if base else []
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if "evaluate" in vars(kind):
            found.append(kind)
    return found


def _counted(evaluate: Callable[..., Any], calls: JudgeCalls) -> Callable[..., Any]:
    def asked(*args: Any, **options: Any) -> Any:
        try:
            reply = evaluate(*args, **options)
        except Exception as failure:
            calls.failure = foreign_words(failure)
            raise
        if reply.success and reply.content.strip():
            calls.replies += 1
        else:
            calls.failure = reply.error_message or "an empty reply"
        return reply

    return asked
