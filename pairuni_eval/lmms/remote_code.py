"""A block in which no code of a checkpoint is run, whatever a class asks transformers for.

Many model classes of lmms-eval load with `trust_remote_code=True`, some without saying so. What
transformers runs of a checkpoint's folder it imports by one function; inside a block that refuses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from pairuni_eval.errors import UserError


@contextmanager
def no_remote_code() -> Iterator[None]:
    """Refuse code of checkpoints inside the block.

    Raises:
        UserError: if a class would run some.
    """
    from transformers import dynamic_module_utils
    from transformers.generation import utils

    refused: list[str] = []

    def refuse(name: object, *_: object, **__: object) -> NoReturn:
        refused.append(str(name))
        raise _refusal(name)

    places: list[tuple[Any, Any]] = [
        (module, module.get_class_in_module) for module in (dynamic_module_utils, utils)
    ]
    for module, _ in places:
        module.get_class_in_module = refuse
    try:
        yield
    except Exception as failure:
        if refused:  # whoever asked may have made another error of it
            raise _refusal(refused[0]) from failure
        raise
    finally:
        for module, before in places:
            module.get_class_in_module = before


def _refusal(name: object) -> UserError:
    return UserError(
        f"The checkpoint brings code of its own ('{name}'), and lmms-eval's class would run it.",
        hint="Take a checkpoint in transformers' own format, e.g. one whose name ends with -HF.",
    )
