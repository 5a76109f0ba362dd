"""CLIP's text side up to token ids, without a vocabulary of its own.

The vocabulary follows from the merge list that comes with every CLIP: 256 bytes, the same 256 at
the end of a word, one token per merge, the start and the end token. A text is cleaned, cut into
words and punctuation, merged pair by pair in the order of the list, framed by start and end token,
cut at the context length (77) with the end token kept at the last place, and padded with 0. Padding
never matters: the text tower looks backwards only and is read at the first end token.

Two ways of cleaning are in use: OpenCLIP's, which is also OpenAI's (ftfy, HTML entities twice,
white space, lower case), and that of transformers' fast tokenizer (NFC, white space, lower case).
They differ on curly quotes, entities, ligatures and broken encodings.

Departures: which characters are letters is decided by the tables of `tokenizers`, OpenCLIP asks
those of `regex`; they differ on characters that came into Unicode in the last years. transformers
looks for the names of the special tokens before it cleans, here they are words like others; that
matters only to a text that spells out "<|endoftext|>".

Source: mlfoundations/open_clip, `tokenizer.py` (after openai/CLIP, `simple_tokenizer.py`);
huggingface/transformers, `models/clip/tokenization_clip.py`.

Legend: N texts, T context length.
"""

from __future__ import annotations

import gzip
import html
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Regex, models, normalizers, pre_tokenizers
from torch import Tensor

from pairuni_eval.errors import UserError
from pairuni_eval.extras import needs

CONTEXT_LENGTH = 77
_BASE_TOKENS = 2 * 256 + 2  # the bytes, inside and at the end of a word; start and end of the text
_END_OF_WORD = "</w>"

Merge = tuple[str, str]


class TextRule(NamedTuple):
    """How a text becomes words.

    Attributes:
        name: For the version string of a scorer.
        clean: What happens to the text before it is cut.
        start: The start token's name; in the text it means that token.
        end: The end token's name, likewise.
        letter_s: What counts as s after an apostrophe, a character class.
    """

    name: str
    clean: Callable[[str], str]
    start: str
    end: str
    letter_s: str


def clean_as_open_clip(text: str) -> str:
    """Mend the encoding, resolve HTML entities twice, join white space, lower the case.

    Raises:
        UserError: if ftfy is not installed.
    """
    try:
        import ftfy
    except ImportError:
        needs("Cleaning CLIP's texts", "hps")
        raise
    mended = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", mended.strip()).strip().lower()


def clean_as_transformers(text: str) -> str:
    """Compose characters (NFC), join white space, lower the case."""
    cleaned: str = _FAST_CLEANING.normalize_str(text)
    return cleaned


_FAST_CLEANING = normalizers.Sequence(
    [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
)

# OpenCLIP matches regardless of case, and the long s, which lower() leaves, is a case of s.
OPEN_CLIP = TextRule(
    "open_clip", clean_as_open_clip, "<start_of_text>", "<end_of_text>", letter_s="[sſ]"
)
TRANSFORMERS = TextRule(
    "transformers", clean_as_transformers, "<|startoftext|>", "<|endoftext|>", letter_s="s"
)


def _byte_names() -> dict[int, str]:
    """A visible character for every byte: itself, or one from U+0100 on, in vocabulary order."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {
        byte: chr(256 + place) for place, byte in enumerate(hidden)
    }


_BYTE_NAMES = _byte_names()


class ClipTokenizer:
    """Texts to token ids.

    Args:
        merges: The merge list in order.
        rule: How texts are cleaned and what the special tokens are called.
        context_length: Tokens per text, start and end included.

    Raises:
        ValueError: if a merge joins what no earlier one made.
        UserError: if the rule needs a package that is not installed.
    """

    def __init__(
        self,
        merges: Sequence[Merge],
        rule: TextRule = OPEN_CLIP,
        *,
        context_length: int = CONTEXT_LENGTH,
    ) -> None:
        rule.clean("")  # so that a missing package is told now and not at the first text
        vocabulary = _vocabulary(merges)
        self.rule = rule
        self.context_length = context_length
        self.start = len(vocabulary)
        self.end = len(vocabulary) + 1
        self._special = {rule.start: self.start, rule.end: self.end}
        self._words = pre_tokenizers.Split(
            Regex(
                f"{re.escape(rule.start)}|{re.escape(rule.end)}|'{rule.letter_s}"
                r"|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
            ),
            behavior="removed",
            invert=True,
        )
        self._merge = models.BPE(
            vocab=vocabulary, merges=list(merges), end_of_word_suffix=_END_OF_WORD
        )

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without start and end and of any length."""
        words = (word for word, _ in self._words.pre_tokenize_str(self.rule.clean(text)))
        return [token for word in words for token in self._pieces(word)]

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """The ids of texts as rows of int64 (N, T), padded with 0."""
        ids_NT = torch.zeros(len(texts), self.context_length, dtype=torch.long)
        for row, text in zip(ids_NT, texts, strict=True):
            inside = self.encode(text)[: self.context_length - 2]
            framed = [self.start, *inside, self.end]
            row[: len(framed)] = torch.tensor(framed)
        return ids_NT

    def _pieces(self, word: str) -> Iterator[int]:
        if word in self._special:
            yield self._special[word]
        else:
            named = "".join(_BYTE_NAMES[byte] for byte in word.encode())
            yield from (piece.id for piece in self._merge.tokenize(named))


def _vocabulary(merges: Sequence[Merge]) -> dict[str, int]:
    """Ids of all tokens but start and end."""
    inside = list(_BYTE_NAMES.values())
    tokens = [*inside, *(name + _END_OF_WORD for name in inside)]
    known = set(tokens)
    for number, (left, right) in enumerate(merges, start=1):
        if left not in known or right not in known:
            raise ValueError(f"merge {number} joins '{left}' and '{right}', which no merge made")
        if left + right in known:
            raise ValueError(f"merge {number} makes '{left + right}' for the second time")
        tokens.append(left + right)
        known.add(left + right)
    return {token: place for place, token in enumerate(tokens)}


def merges_file(files: Sequence[Path]) -> Path:
    """The file with the merge list: `merges.txt`, OpenAI's `*.txt.gz`, or `tokenizer.json`.

    Raises:
        UserError: if there is none.
    """
    for wanted in ("merges.txt", "*.txt.gz", "tokenizer.json"):
        for path in files:
            if path.match(wanted):
                return path
    have = ", ".join(path.name for path in files) or "nothing"
    raise UserError(
        f"No merge list of CLIP's tokenizer among the files ({have}).",
        hint="Add merges.txt of openai/clip-vit-large-patch14, the same for every CLIP.",
    )


def load_tokenizer(
    path: Path, rule: TextRule, *, vocabulary: int, context_length: int
) -> ClipTokenizer:
    """Make the tokenizer of a model from its merge list.

    Args:
        path: See `merges_file`. OpenAI's list is longer than its vocabulary; the rest is left out.
        rule: How texts are cleaned.
        vocabulary: Tokens of the model.
        context_length: Positions of the model's text tower.

    Raises:
        UserError: naming the file, if it is unreadable, has too few merges or is in disorder.
    """
    needed = vocabulary - _BASE_TOKENS
    merges = _read_merges(path)[: max(needed, 0)]
    if needed < 0 or len(merges) < needed:
        raise UserError(
            f"{path} has {len(merges)} merges, the model's vocabulary of {vocabulary} needs "
            f"{needed}.",
            hint="Take the merge list that belongs to the model, and take it whole.",
        )
    try:
        return ClipTokenizer(merges, rule, context_length=context_length)
    except ValueError as failure:
        raise UserError(f"{path}: {failure}.", hint="Get the published merge list.") from failure


def _read_merges(path: Path) -> list[Merge]:
    try:
        data = path.read_bytes()
        lines = _merge_lines(path, data)
    except (OSError, EOFError, ValueError, zlib.error) as failure:
        raise UserError(f"{path}: no readable merge list: {failure}.") from failure
    pairs = [tuple(line.split()) if isinstance(line, str) else tuple(line) for line in lines]
    for number, pair in enumerate(pairs, start=1):
        if len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise UserError(f"{path}: merge {number} is {pair!r}, expected two tokens.")
    return [(left, right) for left, right in pairs]


def _merge_lines(path: Path, data: bytes) -> list[str | list[str]]:
    if path.suffix == ".json":
        table = json.loads(data)
        model = table.get("model") if isinstance(table, dict) else None
        merges = model.get("merges") if isinstance(model, dict) else None
        if not isinstance(merges, list):
            raise ValueError("no list under model.merges")
        return merges
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    lines: list[str | list[str]] = [*text.strip("\n").split("\n")]
    return lines[1:] if "#version" in text.partition("\n")[0] else lines
