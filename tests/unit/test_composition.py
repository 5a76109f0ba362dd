"""A pair of specialists as one model: its file, its parts, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pairuni_eval.adapters import expected_memory, load_model
from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.models.base import LoadOptions, Model, Request
from pairuni_eval.records import Capability

Write = Callable[..., str]
UNDERSTAND, GENERATE, EDIT = Capability.UNDERSTAND, Capability.GENERATE, Capability.EDIT


def script(path: Path, answer: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"prompt": "*", "text": answer}) + "\n", encoding="utf-8")
    return f"scripted:{path.name}"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a composition with two scripts beside it; returns what --checkpoint takes."""
    script(tmp_path / "c" / "yes.jsonl", "yes")
    script(tmp_path / "c" / "no.jsonl", "no")

    def write(text: str, name: str = "both.toml") -> str:
        (tmp_path / "c" / name).write_text(text, encoding="utf-8")
        return f"pair:{tmp_path / 'c' / name}"

    return write


def load(checkpoint: str) -> Model:
    return load_model(checkpoint, None, LoadOptions("cpu"))


def said(model: Model, capability: Capability) -> str | None:
    asked = Request(("a question",), Decoding(), 0, "uid")
    act = {UNDERSTAND: model.answer, GENERATE: model.draw, EDIT: model.edit}[capability]
    (reply,) = act([asked])
    return reply.text


TWO = """\
[understand]
checkpoint = "scripted:yes.jsonl"
[generate]
checkpoint = "no.jsonl"
model = "scripted"
"""


def test_each_capability_is_answered_by_its_own_model(write: Write) -> None:
    model = load(write(TWO))
    assert model.capabilities == {UNDERSTAND, GENERATE}
    assert (said(model, UNDERSTAND), said(model, GENERATE)) == ("yes", "no")


def test_it_is_called_by_its_name_or_its_file_and_lists_its_parts(write: Write) -> None:
    unnamed, named = load(write(TWO)).identity, load(write(f'name = "A and B"\n{TWO}')).identity
    assert (unnamed.adapter, unnamed.name, named.name) == ("pair", "both", "A and B")
    assert named.weights == unnamed.weights
    parts = named.parts
    assert isinstance(parts, dict)
    assert {key: part.name for key, part in parts.items()} == {UNDERSTAND: "yes", GENERATE: "no"}


def test_its_hash_is_that_of_which_model_does_what(write: Write) -> None:
    turned = TWO.replace("yes", "?").replace("no", "yes").replace("?", "no")
    both = f"{TWO}[edit]\ncheckpoint = 'scripted:yes.jsonl'\n"
    hashes = {load(write(text)).identity.weights for text in (TWO, turned, both)}
    assert len(hashes) == 3


def test_a_checkpoint_in_two_tables_is_loaded_once(write: Write, tiny_weights: Path) -> None:
    text = f"""
[understand]
checkpoint = "{tiny_weights}"
[generate]
checkpoint = "{tiny_weights}"
[edit]
checkpoint = "scripted:yes.jsonl"
"""
    checkpoint = write(text)
    model = load(checkpoint)
    parts = model._parts  # type: ignore[attr-defined]
    assert parts[UNDERSTAND] is parts[GENERATE]
    once = write(f'[understand]\ncheckpoint = "{tiny_weights}"\n', "once.toml")
    twice = write(text.partition("[edit]")[0], "twice.toml")
    memory = expected_memory(once, None, LoadOptions("cpu"))
    assert memory is not None
    assert memory.weights > 6_000_000
    assert expected_memory(twice, None, LoadOptions("cpu")) == memory
    assert expected_memory(checkpoint, None, LoadOptions("cpu")) is None  # a script cannot tell


def test_memory_is_the_sum_over_the_parts(
    write: Write, tiny_weights: Path, untrained: Path, tmp_path: Path
) -> None:
    (tmp_path / "c" / "answers.jsonl").write_text('{"id": "1", "text": "A"}\n')
    one, other = (
        expected_memory(str(folder), None, LoadOptions("cpu"))
        for folder in (tiny_weights, untrained)
    )
    assert one is not None
    assert other is not None
    text = f"""
[understand]
checkpoint = "recorded:answers.jsonl"
[generate]
checkpoint = "{untrained}"
[edit]
checkpoint = "{tiny_weights}"
"""
    assert expected_memory(write(text), None, LoadOptions("cpu")) == (
        one.weights + other.weights,
        "float32",
        "cpu",
    )


def test_decoding_batches_and_liveness_are_those_of_the_part(write: Write, tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "c" / "1.png")
    (tmp_path / "c" / "made.jsonl").write_text('{"id": "1", "image": "1.png"}\n')
    text = """
[understand]
checkpoint = "recorded:made.jsonl"
[generate]
checkpoint = "scripted:no.jsonl"
"""
    model = load(write(text))
    assert (model.batch_size(UNDERSTAND), model.batch_size(GENERATE)) == (256, 16)
    assert (model.is_live(UNDERSTAND), model.is_live(GENERATE)) == (False, True)
    card = Decoding(max_tokens=3)
    assert model.decoding(UNDERSTAND, "pope", card) == model.decoding(EDIT, "imgedit", card) == card


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no capability has a model"),
        (
            '[understood]\ncheckpoint = "tiny"',
            "unknown key 'understood'. Did you mean 'understand'",
        ),
        (
            '[edit]\ncheckpoint = "tiny"\nmodle = "janus"',
            "unknown key 'modle' in edit. Did you mean 'model'?",
        ),
        ("[edit]", "the key 'checkpoint' is missing in edit"),
        ('[edit]\ncheckpoint = "tiny"\nmodel = "janu"', "[edit]: Unknown model 'janu'. Did you me"),
        ('[edit]\ncheckpoint = "nothing"', "[edit]: There is no checkpoint 'nothing'"),
        ('[edit]\ncheckpoint = "pair:both.toml"', "[edit]: pair:both.toml is a composition itself"),
        (
            '[edit]\ncheckpoint = "tiny"\narguments = {a = 1}',
            "[edit]: The model plugin 'janus' tak",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_place(
    write: Write, text: str, told: str
) -> None:
    with pytest.raises(UserError) as caught:
        load(write(text))
    assert "both.toml" in caught.value.message
    assert told in caught.value.message


def test_a_part_that_lacks_its_capability_is_refused(
    write: Write, untrained: Path, tmp_path: Path
) -> None:
    answers = tmp_path / "c" / "answers"
    shutil.copytree(untrained, answers)
    (answers / "pairuni.json").write_text('{"capabilities": ["understand"]}')
    with pytest.raises(UserError) as caught:
        load(write('[edit]\ncheckpoint = "answers"'))
    assert "[edit]: answers (janus) cannot edit; it can: understand." in caught.value.message


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no file .*none\.toml"):
        load(f"pair:{tmp_path / 'none.toml'}")


def test_paths_begin_at_the_file_and_never_at_the_current_folder(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script(tmp_path / "here.jsonl", "here")
    with pytest.raises(UserError) as caught:
        load(write('[understand]\ncheckpoint = "scripted:here.jsonl"'))
    assert "lies in the current folder" in caught.value.message
    assert str(tmp_path / "here.jsonl") in str(caught.value.hint)
    assert said(load(write('[edit]\ncheckpoint = "scripted:../here.jsonl"')), EDIT) == "here"
