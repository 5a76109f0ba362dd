"""Sequences of tokens: where words, pictures and unknown places stand.

    picture    <IMAGE> (row of codes, newline) x h </IMAGE>
    ask        words, without their last token; pictures; that token; <answer> masks </answer>
    draw       words <answer> <IMAGE> (w masks, newline) x h </IMAGE> </answer>
    edit       words around the source as in ask, then the tail of draw

The last token of the words is `</user>`, which must be one token. `single` is the form of the
official evaluation of understanding: one mask, `</answer>`, and padding tokens that are looked at.

Departures from the official code: special tokens in a user's text are encoded as text; the picture
is built as its training and evaluation code do, not as its `inference_mmu.py`, which inserts ends
of rows twice and cuts the end off.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pairuni_eval.errors import UserError
from pairuni_eval.models.lumina_dimoo.config import TokenIds
from pairuni_eval.models.lumina_dimoo.prompts import UNCONDITION, Said

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids = tuple[int, ...]
Codes = Sequence[Sequence[int]]  # rows of a picture
_TOKENS = {
    UNCONDITION: "uncondition",
    "<answer>": "answer_start",
    "</answer>": "answer_end",
    "<IMAGE>": "boi",
    "</IMAGE>": "eoi",
}


class CodeGrid(NamedTuple):
    """Size of a picture in codes."""

    height: int
    width: int

    @property
    def size(self) -> int:
        """Codes in all."""
        return self.height * self.width


class Tail(NamedTuple):
    """The end of a sequence, where something is to be filled in.

    Attributes:
        ids: Its tokens, mask tokens among them.
        places: Where the completion stands in it, known tokens included.
    """

    ids: Ids
    places: tuple[int, ...]


class Layout:
    """Builds sequences with a tokenizer and its special tokens.

    Args:
        tokenizer: Of the checkpoint.
        ids: Ids of the special tokens, checked against the tokenizer.
        place: The folder, for errors.

    Raises:
        UserError: for a special token that the tokenizer does not have as the one id that the
            config says, or a tokenizer that adds tokens of its own.
    """

    def __init__(self, tokenizer: Tokenizer, ids: TokenIds, place: Path):
        self._tokenizer, self.ids = tokenizer, ids
        for text, name in _TOKENS.items():
            self._check(text, getattr(ids, name), place)
        self._check("</user>", None, place)

    def _check(self, text: str, wanted: int | None, place: Path) -> None:
        found = self._encode(text)
        if len(found) != 1 or wanted not in (None, found[0]):
            said = f"as {wanted}" if wanted is not None else "as one token"
            raise UserError(
                f"{place}: the tokenizer has {text} as {list(found)}; the model needs it {said}."
            )

    def _encode(self, text: str, *, plain: bool = False) -> Ids:
        self._tokenizer.encode_special_tokens = plain
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def tokenizer_json(self) -> str:
        """The tokenizer as a file has it."""
        return str(self._tokenizer.to_str())

    def plain(self, text: str) -> Ids:
        """The tokens of a text, in which no special token is one."""
        return self._encode(text, plain=True)

    def words(self, said: Said) -> Ids:
        """The framed words of a prompt; what the user says is text, whatever it holds."""
        return (
            *self._encode(f"<system>{said.system}</system><user>"),
            *self.plain(said.user),
            *self._encode("</user>"),
        )

    def unconditional(self, said: Said) -> Ids:
        """The same without what the user says, for guidance."""
        return self._encode(f"<system>{said.system}</system><user>{UNCONDITION}</user>")

    def picture(self, codes: Codes) -> Ids:
        """A picture of given codes, from 0."""
        ids, found = self.ids, [self.ids.boi]
        for row in codes:
            found += [ids.image_offset + code for code in row]
            found.append(ids.newline)
        return (*found, ids.eoi)

    def with_pictures(self, words: Ids, pictures: Sequence[Codes]) -> Ids:
        """Words with pictures before their last token, in order."""
        shown = [token for codes in pictures for token in self.picture(codes)]
        return (*words[:-1], *shown, words[-1])

    def drawing(self, grid: CodeGrid, known: Codes | None = None) -> Tail:
        """The tail of a picture that is to be drawn.

        Args:
            grid: Its size.
            known: Codes that are there already, and -1 where one is to be drawn; None draws all.
        """
        ids = self.ids
        rows = known or [[-1] * grid.width] * grid.height
        found, places = [ids.answer_start, ids.boi], list[int]()
        for row in rows:
            places += range(len(found), len(found) + grid.width)
            found += [ids.mask if code < 0 else ids.image_offset + code for code in row]
            found.append(ids.newline)
        return Tail((*found, ids.eoi, ids.answer_end), tuple(places))

    def answer(self, tokens: int) -> Tail:
        """The tail of an answer of a number of tokens."""
        ids = self.ids
        found = (ids.answer_start, *[ids.mask] * tokens, ids.answer_end)
        return Tail(found, tuple(range(1, 1 + tokens)))

    def single(self, length: int) -> Tail:
        """The tail of the official evaluation: one token is asked for, before `length` - 1 pads."""
        ids = self.ids
        found = (ids.answer_start, ids.mask, ids.answer_end, *[ids.pad] * (length - 1))
        return Tail(found, (1,))

    def text(self, tokens: Sequence[int]) -> str:
        """An answer: up to its end token or the first padding, without special tokens."""
        ends = {self.ids.answer_end, self.ids.pad}
        stop = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
        # Codes and masks are rows of the embedding that the tokenizer may not know.
        said = [token for token in tokens[:stop] if token != self.ids.mask]
        words = [token for token in said if token < self.ids.image_offset]
        return str(self._tokenizer.decode(words, skip_special_tokens=True))
