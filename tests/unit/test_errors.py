"""Two kinds of trouble: what the user mends, and what is recorded on a row."""

from __future__ import annotations

import errno
import os

import pytest

from pairuni_eval.errors import (
    DatasetError,
    ModelError,
    UserError,
    boundary,
    nearest,
    unknown_name,
    writing,
)


@pytest.mark.parametrize(
    "failure", [RuntimeError("x"), ValueError("x"), OSError("x"), ZeroDivisionError("x")]
)
def test_foreign_failures_become_the_boundarys_kind(failure: Exception) -> None:
    told = f"{type(failure).__name__}: x"
    with pytest.raises(ModelError, match=told) as caught, boundary(ModelError):
        raise failure
    assert caught.value.__cause__ is failure


def test_two_runs_say_the_same_of_a_failure() -> None:
    """Where an object lay in memory would make two rows of one broken picture differ."""
    with pytest.raises(DatasetError) as caught, boundary(DatasetError):
        raise OSError("cannot identify <_io.BytesIO object at 0x7fec01a3f0b0>")
    assert str(caught.value) == "OSError: cannot identify <_io.BytesIO object>"


@pytest.mark.parametrize("mistake", [TypeError, AttributeError, KeyError, AssertionError])
def test_mistakes_of_ours_pass_a_boundary_untouched(mistake: type[Exception]) -> None:
    with pytest.raises(mistake), boundary(ModelError):
        raise mistake("x")


def test_the_inner_boundary_names_the_failure() -> None:
    with pytest.raises(DatasetError), boundary(ModelError), boundary(DatasetError):
        raise ValueError("broken row")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_no_fault_of_the_row(code: int) -> None:
    with pytest.raises(UserError, match="disk is full"), boundary(ModelError):
        raise OSError(code, os.strerror(code), "cache/x")


def test_a_user_error_passes_a_boundary_untouched() -> None:
    with pytest.raises(UserError, match="mend me"), boundary(ModelError):
        raise UserError("mend me")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_writing_says_that_the_disk_is_full(code: int) -> None:
    told = "disk is full while writing rows/x"
    with pytest.raises(UserError, match=told) as caught, writing("rows/x"):
        raise OSError(code, os.strerror(code))
    assert "same command again" in str(caught.value.hint)


@pytest.mark.parametrize(
    "code",
    [errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG],
)
def test_writing_says_where_and_why_it_may_not(code: int) -> None:
    with pytest.raises(UserError, match="Cannot write rows/x") as caught, writing("rows/x"):
        raise OSError(code, os.strerror(code))
    assert os.strerror(code) in caught.value.message
    assert "--out" in str(caught.value.hint)


def test_the_nearest_name_is_near_or_none() -> None:
    assert nearest("geneva", ["geneval", "mmmu"]) == "geneval"
    assert nearest("qqqq", ["geneval", "mmmu"]) is None
    assert nearest("x", []) is None


def test_an_unknown_name_offers_the_nearest_and_lists_the_rest() -> None:
    error = unknown_name("suite", "tinny", ["tiny", "paper"], list_command="pairuni-eval list")
    assert error.message == "Unknown suite 'tinny'. Did you mean 'tiny'? Known: paper, tiny."
    assert error.hint == "See them all: pairuni-eval list"


def test_a_long_list_of_names_is_cut() -> None:
    error = unknown_name("suite", "?", [f"s{i:02d}" for i in range(20)], list_command="x")
    assert "s11, ..." in error.message
    assert "s12" not in error.message
