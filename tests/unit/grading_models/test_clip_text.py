"""CLIP's tokens, against ids written by hand and against transformers' own tokenizer."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest
import torch
from support.open_clip_reference import MERGES, Size
from transformers import CLIPTokenizer

from pairuni_eval.errors import UserError
from pairuni_eval.grading_models.clip_text import (
    OPEN_CLIP,
    TRANSFORMERS,
    ClipTokenizer,
    clean_as_open_clip,
    clean_as_transformers,
    load_tokenizer,
    merges_file,
)

PAIRS = [(left, right) for left, right in (merge.split() for merge in MERGES)]
START, END = 543, 544  # after 512 bytes and 31 merges


@pytest.fixture(scope="module")
def tokenizer() -> ClipTokenizer:
    return ClipTokenizer(PAIRS)


# "!" is byte 33 and the first token, so a letter is its code less 33, and 256 more at a word's end;
# merge number n (from 0) is 512 + n.
@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", []),
        ("   ", []),
        ("a", [320]),
        ("the cat", [513, 519]),
        ("THE\n\t  Cat ", [513, 519]),
        ("ab", [64, 321]),
        ("photo", [535]),
        ("the dog's", [513, 537, 538]),
        ("the dog\u2019s", [513, 537, 538]),  # ftfy straightens the apostrophe
        ("10", [16 + 256, 15 + 256]),  # each digit is a word
        ("...", [542]),
        ("r\u00f6st", [81, 127, 114, 82, 339]),  # ö is the two bytes C3 B6
        ("&lt;", [27 + 256]),
        ("< &amp;lt;", [27 + 256] * 2),  # twice, even where ftfy leaves entities alone
        ("a <end_of_text> b", [320, END, 321]),
        ("<start_of_text>", [START]),
        # "!<" is one word, so what follows is not a special token: end _ of _ text >
        ("!<end_of_text>", [0, 283, 68, 77, 323, 318, 78, 325, 318, 83, 68, 87, 339, 285]),
    ],
)
def test_ids_by_hand(tokenizer: ClipTokenizer, text: str, ids: list[int]) -> None:
    assert tokenizer.encode(text) == ids


def test_texts_are_framed_and_padded_with_zero(tokenizer: ClipTokenizer) -> None:
    ids_NT = tokenizer(["the cat", ""])

    assert ids_NT.shape == (2, 77)
    assert ids_NT.dtype == torch.int64
    assert ids_NT[0].tolist() == [START, 513, 519, END, *[0] * 73]
    assert ids_NT[1].tolist() == [START, END, *[0] * 75]


@pytest.mark.parametrize("words", [75, 76, 77, 200])
def test_a_long_text_keeps_the_end_at_the_last_place(tokenizer: ClipTokenizer, words: int) -> None:
    ids = tokenizer(["cat " * words])[0].tolist()

    assert ids == [START, *[519] * 75, END]


def test_one_word_less_than_fits_is_padded(tokenizer: ClipTokenizer) -> None:
    assert tokenizer(["cat " * 74])[0].tolist() == [START, *[519] * 74, END, 0]


def test_no_text_gives_no_rows(tokenizer: ClipTokenizer) -> None:
    assert tokenizer([]).shape == (0, 77)


def test_pairs_are_merged_in_the_order_of_the_list() -> None:
    first = ClipTokenizer([("a", "b"), ("b", "c</w>")])
    second = ClipTokenizer([("b", "c</w>"), ("a", "b")])

    assert first.encode("abc") == [512, 66 + 256]  # ab c
    assert second.encode("abc") == [64, 512]  # a bc


@pytest.mark.parametrize(
    ("text", "open_clip", "transformers"),
    [
        ("\u201cHi\u201d", '"hi"', "\u201chi\u201d"),
        ("fish &amp; chips", "fish & chips", "fish &amp; chips"),
        ("\ufb01sh", "fish", "\ufb01sh"),  # one character fi
        ("schÃ¶n", "schön", "schã¶n"),
        ("e\u0301te\u0301", "été", "été"),
        (" two\u00a0 words ", "two words", " two words "),
    ],
)
def test_the_two_ways_of_cleaning(text: str, open_clip: str, transformers: str) -> None:
    assert clean_as_open_clip(text) == open_clip
    assert clean_as_transformers(text) == transformers


TEXTS = [
    "a photo of the cat and the dog",
    "The dog\u2019s \u201ccoffee\u201d  &amp; r\u00f6st, 3.14 \u2014 it's!",
    "\u65e5\u672c\u8a9e \U0001f389 na\u00efve \ufb01ne \u01c5 \u0130stanbul \u03a3\u03a3",
    "they're you've I'll don'T 'S",
    "x" * 300,
    "\u200bzero\u00a0width\u2028lines\r\n",
    "",
]


def test_the_other_rule_equals_transformers_own_tokenizer() -> None:
    names = vocabulary()
    theirs = CLIPTokenizer(vocab={name: i for i, name in enumerate(names)}, merges=PAIRS)
    ours = ClipTokenizer(PAIRS, TRANSFORMERS)

    expected = theirs(TEXTS, truncation=True, max_length=77)["input_ids"]

    for row, ids in zip(ours(TEXTS).tolist(), expected, strict=True):
        assert row == ids + [0] * (77 - len(ids))


def vocabulary() -> list[str]:
    """The vocabulary as transformers wants it, from the definition of byte-level BPE."""
    visible = [chr(i) for i in range(256) if 33 <= i <= 126 or 161 <= i <= 172 or i >= 174]
    named = visible + [chr(256 + i) for i in range(256 - len(visible))]
    words = [name + "</w>" for name in named]
    return [*named, *words, *("".join(p) for p in PAIRS), "<|startoftext|>", "<|endoftext|>"]


# Files

LINES = "\n".join(MERGES)


def load(path: Path, **changes: int) -> ClipTokenizer:
    size = {"vocabulary": Size().vocabulary, "context_length": 77} | changes
    return load_tokenizer(path, OPEN_CLIP, **size)


def write(folder: Path, name: str) -> Path:
    path = folder / name
    if name.endswith(".gz"):
        longer = '"bpe_simple_vocab.txt#version: 0.2\n' + LINES + "\nx y\ny z</w>\n"
        path.write_bytes(gzip.compress(longer.encode()))
    elif name.endswith(".json"):
        path.write_text(json.dumps({"model": {"merges": [list(pair) for pair in PAIRS]}}))
    else:
        path.write_text("#version: 0.2\n" + LINES + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["merges.txt", "bpe_simple_vocab_16e6.txt.gz", "tokenizer.json"])
def test_the_merge_list_is_read_from_each_published_form(
    tmp_path: Path, tokenizer: ClipTokenizer, name: str
) -> None:
    read = load(write(tmp_path, name))

    assert (read.start, read.end) == (START, END)
    assert torch.equal(read(TEXTS), tokenizer(TEXTS))


def test_a_merge_list_without_a_header_keeps_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "merges.txt"
    path.write_text(LINES, encoding="utf-8")

    assert load(path).encode("the cat") == [513, 519]


def test_old_tokenizer_files_write_a_merge_as_one_string(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": {"merges": MERGES}}))

    assert load(path).encode("the cat") == [513, 519]


def test_a_merge_list_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "merges.txt"
    path.write_text("#version: 0.2\n" + "\n".join(MERGES[:20]), encoding="utf-8")

    with pytest.raises(UserError) as refused:
        load(path)

    assert refused.value.message == (
        f"{path} has 20 merges, the model's vocabulary of 545 needs 31."
    )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("merges.txt", b"t h\nq u x\n", "merge 2 is ('q', 'u', 'x'), expected two tokens"),
        ("merges.txt", b"\xff\xfe", "no readable merge list"),
        ("merges.txt", b"t h\nzz y\n", "merge 2 joins 'zz' and 'y', which no merge made"),
        ("merges.txt", b"t h\nt h\n", "merge 2 makes 'th' for the second time"),
        ("bpe.txt.gz", b"no gzip", "no readable merge list"),
        ("bpe.txt.gz", gzip.compress(b"t h\n" * 99, mtime=0)[:20], "no readable merge list"),
        ("tokenizer.json", b"{", "no readable merge list"),
        ("tokenizer.json", b'{"model": []}', "no list under model.merges"),
        ("tokenizer.json", b'{"model": {"merges": [["a", 1]]}}', "merge 1 is ('a', 1)"),
    ],
)
def test_a_damaged_merge_list_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(UserError) as refused:
        load(path, vocabulary=516)

    assert refused.value.message.startswith(str(path))
    assert said in refused.value.message


def test_without_ftfy_it_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ftfy", None)  # as if it were not installed

    with pytest.raises(UserError) as refused:
        ClipTokenizer(PAIRS)

    assert "[hps]'" in (refused.value.hint or "")
    assert ClipTokenizer(PAIRS, TRANSFORMERS).encode("the cat") == [513, 519]


def test_merges_txt_is_preferred_and_none_is_refused() -> None:
    files = [Path("a/tokenizer.json"), Path("a/bpe_simple_vocab_16e6.txt.gz"), Path("a/merges.txt")]

    assert merges_file(files) == Path("a/merges.txt")
    assert merges_file(files[:2]) == Path("a/bpe_simple_vocab_16e6.txt.gz")
    assert merges_file(files[:1]) == Path("a/tokenizer.json")
    with pytest.raises(UserError, match=r"No merge list .* \(hps\.pt\)"):
        merges_file([Path("hps.pt")])
