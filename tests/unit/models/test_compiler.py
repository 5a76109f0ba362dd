"""Compiled steps without a C++ compiler are refused while nothing is loaded yet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch._inductor import config

from pairuni_eval.adapters import load_model
from pairuni_eval.errors import UserError
from pairuni_eval.models.base import LoadOptions
from pairuni_eval.models.janus.token_loop import check_compiler


@pytest.fixture
def no_compiler() -> Iterator[None]:
    with config.patch("cpp.cxx", ("no-such-compiler",)):
        yield


@pytest.mark.usefixtures("no_compiler")
def test_a_model_that_cannot_be_compiled_is_refused_with_the_ways_out() -> None:
    with pytest.raises(UserError, match=r"need a C\+\+ compiler") as refused:
        load_model("tiny", None, LoadOptions(device="cpu", compiled=True))
    hint = refused.value.hint or ""
    assert "CXX" in hint and "--compile" in hint


@pytest.mark.usefixtures("no_compiler")
def test_a_gpu_and_plain_steps_need_none() -> None:
    check_compiler(torch.device("cuda"))
    load_model("tiny", None, LoadOptions(device="cpu"))
