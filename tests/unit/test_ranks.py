"""Which rank a process is, by what launchers leave in the environment."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

import pytest

from pairuni_eval.errors import UserError
from pairuni_eval.ranks import ALONE, RankGroup, Ranks, launch_line, note_of_one, ranks_here

TORCHRUN = {"WORLD_SIZE": "8", "RANK": "5", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
HYDRA = {"PMI_SIZE": "3", "PMI_RANK": "0", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "3"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ALONE),
        ({"WORLD_SIZE": "1"}, ALONE),
        ({"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}, ALONE),
        (TORCHRUN, Ranks(5, 8, 1, together=False)),
        (OPEN_MPI, Ranks(1, 2, 1)),
        (HYDRA, Ranks(0, 3, 0)),
        ({"PMI_SIZE": "2", "PMI_RANK": "1"}, Ranks(1, 2, 1, together=False)),
        # A shell inside a container says one, the launcher around it two.
        ({"WORLD_SIZE": "1", "RANK": "0", **OPEN_MPI}, Ranks(1, 2, 1)),
    ],
)
def test_a_launcher_says_which_rank_this_is(
    environment: Mapping[str, str], expected: Ranks
) -> None:
    assert ranks_here(environment) == expected


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"WORLD_SIZE": "4"}, "WORLD_SIZE is 4, and RANK"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK is 2: of 2 processes .* from 0 to 1"),
        ({"WORLD_SIZE": "two", "RANK": "0"}, "WORLD_SIZE is 'two', which is not a number"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "OMPI_COMM_WORLD_SIZE is 2, and OMPI_COMM_WORLD_RANK"),
    ],
)
def test_half_of_what_a_launcher_says_is_refused(environment: Mapping[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        ranks_here(environment)


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_every_item_is_in_the_share_of_one_rank(of: int) -> None:
    items = list(range(16))
    shares = [Ranks(rank, of).share(items) for rank in range(of)]
    assert sorted(one for share in shares for one in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_device_that_is_named_stands() -> None:
    assert Ranks(1, 2, 1).device("cpu") == "cpu"
    assert Ranks(1, 2, 1).device("cuda:0") == "cuda:0"
    assert ALONE.device("auto") == "auto"


def test_ranks_take_the_devices_of_their_machine_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    devices = [Ranks(rank, 8, rank % 4).device("auto") for rank in range(8)]
    assert devices == ["cuda:0", "cuda:1"] * 4


def test_without_accelerate_the_line_says_how_it_is_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert "torchrun --nproc_per_node 4" in launch_line(4)
    assert "pip install" in launch_line(4)
    assert "[train]" in launch_line(4)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    assert launch_line(4) == (
        "`accelerate launch --num_processes 4 -m pairuni_eval run ...` takes all."
    )


def test_one_process_of_a_launcher_for_several_is_noted() -> None:
    asked = {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1"}
    assert "torchrun --nproc_per_node N" in (note_of_one(asked, "pairuni_eval run") or "")
    assert note_of_one({**asked, "WORLD_SIZE": "2"}, "x") is None
    assert note_of_one({"MASTER_ADDR": "127.0.0.1"}, "x") is None
    assert note_of_one({}, "x") is None


def test_ranks_of_several_machines_need_an_address() -> None:
    with (
        pytest.raises(UserError, match="MASTER_ADDR, the machine of rank 0, is not set"),
        RankGroup(Ranks(1, 2, 0, together=False)),
    ):
        pass


def test_a_process_alone_waits_for_nobody() -> None:
    with RankGroup() as group:
        group.wait()
        assert group.lead(lambda: 3) == 3
        assert group.lead(lambda: None) is None
