"""The tokenizer of a folder, from its own file and without the code that it may name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pairuni_eval.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a folder.

    Raises:
        UserError: if there is none, or it cannot be read.
    """
    from tokenizers import Tokenizer

    path = folder / TOKENIZER_FILE
    if not path.is_file():
        raise UserError(
            f"{folder} has no {TOKENIZER_FILE}.",
            hint="Copy the whole checkpoint, tokenizer included.",
        )
    try:
        return Tokenizer.from_file(str(path))
    except Exception as failure:  # the library raises nothing more telling
        raise UserError(f"{path}: cannot be read: {failure}.") from failure


def token_id(tokenizer: Tokenizer, word: str, folder: Path) -> int:
    """The id of a special token.

    Raises:
        UserError: if the tokenizer has no such token.
    """
    found = tokenizer.token_to_id(word)
    if found is None:
        raise UserError(
            f"{folder / TOKENIZER_FILE} has no token '{word}'.",
            hint="Copy the tokenizer that was published with the weights.",
        )
    return int(found)
