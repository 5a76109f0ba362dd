"""An IVF index finds what lies in the lists it looks into, the same whatever the threads."""

from __future__ import annotations

import json
from pathlib import Path

import faiss
import numpy as np
import pytest
from support.command_line import Cli, command_line
from support.pair_sources import FloatArray, photograph_features, small, write_config

from pairuni_eval.errors import UserError
from pairuni_train.pair_data import ivf as module
from pairuni_train.pair_data.build import build
from pairuni_train.pair_data.ivf import (
    IvfIndex,
    IvfSpec,
    Recall,
    ivf_spec,
    measure_recall,
    write_ivf,
)
from pairuni_train.pair_data.nearest import ExactIndex
from pairuni_train.pair_data.retrieve import retrieve
from pairuni_train.pair_data.search_waves import Search

LISTS = 12


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    from pairuni_train.cli import main

    return command_line("pairuni-train", main, monkeypatch, capfd)


@pytest.fixture(scope="module")
def sides(photographs: dict[str, bytes]) -> tuple[FloatArray, FloatArray]:
    data = list(photographs.values())
    return photograph_features(data, 700, seed=1), photograph_features(data, 600, seed=2)


@pytest.fixture(scope="module")
def file(sides: tuple[FloatArray, FloatArray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ivf") / "u.faiss"
    write_ivf(sides[0], path, nlist=LISTS, seed=0)
    return path


def test_with_all_lists_it_finds_what_exact_search_finds(
    sides: tuple[FloatArray, FloatArray], file: Path, tmp_path: Path
) -> None:
    ids = [f"u{row:04d}" for row in range(700)]
    search = Search.of_all(*sides, neighbors=2)
    exact, looked = (
        retrieve(search, index, ids, tmp_path / name, threshold=0.8).matches
        for name, index in (
            ("exact", ExactIndex(sides[0])),
            ("ivf", IvfIndex(file, nprobe=LISTS, listed=3)),  # lists that are soon used up
        )
    )
    assert len(exact) > 100
    assert looked == exact


def test_taken_images_are_not_found(sides: tuple[FloatArray, FloatArray], file: Path) -> None:
    free_U = np.arange(700) % 3 == 0
    row_BK = IvfIndex(file, nprobe=LISTS).nearest(sides[1], free_U).row_BK
    assert free_U[row_BK].all()


def test_by_hand_it_looks_into_the_nearest_lists_only(tmp_path: Path) -> None:
    # Two lists, around (1, 0) and (0, 1). The query (.6, .8) looks into the second, whose images
    # have a cosine of .8; the nearest, (.8, .6) with .96, is in the first.
    u_UD = np.asarray([[1, 0], [1, 0], [1, 0], [0.8, 0.6], [0, 1], [0, 1], [0, 1]], np.float32)
    centers = faiss.IndexFlatIP(2)
    centers.add(np.asarray([[1, 0], [0, 1]], np.float32))
    index = faiss.IndexIVFFlat(centers, 2, 2, faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True
    index.add(u_UD)
    faiss.write_index(index, str(tmp_path / "u.faiss"))
    g_GD = np.asarray([[0.6, 0.8], [0, 1], [1, 0], [-1, 0]], np.float32)
    one = IvfIndex(tmp_path / "u.faiss", nprobe=1)
    found = one.nearest(g_GD[:1], np.ones(7, dtype=bool)).of(0)
    assert sorted(found.row_K.tolist()) == [4, 5, 6]
    assert found.complete
    assert found.cosine_K == pytest.approx([0.8] * 3)

    def recall(nprobe: int) -> Recall:
        index = IvfIndex(tmp_path / "u.faiss", nprobe=nprobe)
        return measure_recall(u_UD, g_GD, index, threshold=0.5, queries=9, seed=0)

    # (-1, 0) has no neighbor above .5; of the other three (.6, .8) is missed.
    assert recall(1) == Recall(asked=4, partnered=3, found=2)
    assert recall(2) == Recall(asked=4, partnered=3, found=3)


def test_threads_change_nothing(
    sides: tuple[FloatArray, FloatArray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SLICE", 64)
    before = faiss.omp_get_max_threads()
    found = []
    try:
        for threads in (1, 3):
            faiss.omp_set_num_threads(threads)
            path = tmp_path / f"{threads}.faiss"
            write_ivf(sides[0], path, nlist=LISTS, seed=0)
            lists = IvfIndex(path, nprobe=3).nearest(sides[1], np.ones(700, dtype=bool))
            found.append((path.read_bytes(), lists.cosine_BK.tobytes(), lists.row_BK.tobytes()))
            assert faiss.omp_get_max_threads() == threads
    finally:
        faiss.omp_set_num_threads(before)
    assert found[0] == found[1]


def test_the_seed_moves_the_index(
    sides: tuple[FloatArray, FloatArray], file: Path, tmp_path: Path
) -> None:
    write_ivf(sides[0], tmp_path / "u.faiss", nlist=LISTS, seed=1)
    assert (tmp_path / "u.faiss").read_bytes() != file.read_bytes()


def test_chunks_in_which_rows_are_added_change_nothing(
    sides: tuple[FloatArray, FloatArray],
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_ADDED", 33)
    added: list[int] = []
    write_ivf(sides[0], tmp_path / "u.faiss", nlist=LISTS, seed=0, done=added.append)
    assert added == [33] * 21 + [7]
    assert (tmp_path / "u.faiss").read_bytes() == file.read_bytes()


def test_defaults_follow_the_number_of_images() -> None:
    assert ivf_spec(1_000_000, None, None) == IvfSpec(4000, 32)
    assert ivf_spec(2_000, None, None) == IvfSpec(50, 32)  # 40 rows to train each on
    assert ivf_spec(10, None, None) == IvfSpec(1, 1)
    assert ivf_spec(1_000, 100, 200) == IvfSpec(100, 100)
    with pytest.raises(UserError, match=r"retrieval.nlist is 11, but there are only 10"):
        ivf_spec(10, 11, None)


def test_a_file_that_is_no_index_is_named(tmp_path: Path) -> None:
    (tmp_path / "u.faiss").write_bytes(b"nothing of that kind")
    with pytest.raises(UserError, match=r"u\.faiss: not an index of faiss"):
        IvfIndex(tmp_path / "u.faiss", nprobe=1)


def test_recall_in_words() -> None:
    # Wilson by hand: 9 of 10 gives .596 to .982.
    assert str(Recall(20, 10, 9)) == (
        "recall 0.900 (95 % interval 0.596 to 0.982): it finds the nearest image of 9 of 10 that "
        "have one above the threshold, of 20 generation images drawn by the seed"
    )
    assert str(Recall(20, 0, 0)).startswith("recall not known: none of 20 generation images")


# In a build


def test_a_build_says_how_much_its_index_finds(cli: Cli, tmp_path: Path) -> None:
    retrieval = {"index": "ivf", "nlist": 4, "nprobe": 2, "recall_queries": 30}
    file = write_config(tmp_path / "small.toml", arms=["pairug", "random"], retrieval=retrieval)
    done = cli("pairs", "build", "--config", file, "--out", tmp_path / "out")
    said = [line for line in done.out.splitlines() if line.startswith("Neighbors: ")]
    assert len(said) == 1
    words = said[0].removeprefix("Neighbors: ")
    assert words.startswith("IVF index of 4 lists, 2 looked into; recall ")
    assert words.endswith("of 30 generation images drawn by the seed")
    assert f"| neighbors | {words} |" in (tmp_path / "out" / "pairug.md").read_text()
    assert "neighbors" not in (tmp_path / "out" / "random.md").read_text()
    (kept,) = (tmp_path / "out" / "stages").glob("recall-*.json")
    assert json.loads(kept.read_bytes())["asked"] == 30


def test_an_index_of_all_lists_gives_the_pairs_of_exact_search(tmp_path: Path) -> None:
    (exact,) = build(small(tmp_path), tmp_path / "exact", arms=["retrieved"])
    retrieval = {"index": "ivf", "nlist": 3, "nprobe": 3}
    (looked,) = build(small(tmp_path, retrieval=retrieval), tmp_path / "ivf", arms=["retrieved"])
    assert looked.path.read_bytes() == exact.path.read_bytes()
    assert exact.searched is None
    assert looked.searched is not None
    assert "recall 1.000" in looked.searched
    assert "| neighbors | an exact search of all |" in exact.path.with_suffix(".md").read_text()


def test_settings_of_an_index_need_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nprobe is a setting of index"):
        small(tmp_path, retrieval={"nprobe": 3})
