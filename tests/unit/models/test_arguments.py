"""Arguments of adapters: how they are written, who takes them, and what may not be among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairuni_eval.adapters import load_model
from pairuni_eval.errors import UserError
from pairuni_eval.models.arguments import read_arguments, refuse_secrets
from pairuni_eval.models.base import LoadOptions
from pairuni_eval.runner.settings import RunSettings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, {}),
        ("", {}),
        ("pretrained=a/b", {"pretrained": "a/b"}),
        ("a=1, b = x=y ,c=", {"a": "1", "b": "x=y", "c": ""}),
        ('a={"x":1,"y":2},b=[1,2],c="p,q"', {"a": '{"x":1,"y":2}', "b": "[1,2]", "c": '"p,q"'}),
    ],
)
def test_arguments_are_read(text: str | None, expected: dict[str, str]) -> None:
    assert read_arguments(text) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [("a=1,b", "'b' is not of the form"), ("=1", "'=1' is not of"), ("a=1,a=2", "'a' is there tw")],
)
def test_what_cannot_be_read_is_told(text: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        read_arguments(text)


@pytest.mark.parametrize("name", ["api_key", "OPENAI_API_KEY", "hf_token", "token", "password"])
def test_a_secret_is_refused_and_not_shown(name: str) -> None:
    with pytest.raises(UserError) as caught:
        refuse_secrets({name: "sk-123"})
    assert name in caught.value.message
    assert "sk-123" not in caught.value.message + str(caught.value.hint)


def test_other_names_are_no_secrets() -> None:
    refuse_secrets({"max_new_tokens": "3", "token_strategy": "x", "pad_token": "p", "key": "k"})


def test_an_adapter_that_takes_none_refuses_them(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text('{"prompt": "*", "text": "yes"}\n')
    options = LoadOptions(arguments={"batch_size": "4"})
    with pytest.raises(UserError, match="'scripted' takes no arguments, and was given batch_size"):
        load_model(f"scripted:{tmp_path / 's.jsonl'}", None, options)


def test_they_are_part_of_the_command_where_they_were_given() -> None:
    plain = RunSettings(checkpoint="llava", out=Path("r"), adapter="lmms")
    told = RunSettings(checkpoint="llava", out=Path("r"), adapter="lmms", arguments="a=1,b=2")
    assert "--model-args" not in plain.command()
    assert "--model lmms --model-args a=1,b=2" in told.command()
