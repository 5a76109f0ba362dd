"""`pairs check` finds what is wrong with a set and what it shares with a benchmark."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from pair_sources import generation, picture, understanding, write_config
from PIL import Image

from pairuni_eval.analysis.contamination import near_copies, ngrams13, perceptual_hash
from pairuni_eval.errors import UserError
from pairuni_eval.prompts import pope_prompt
from pairuni_eval.tiny import world
from pairuni_train.pairs.check import check_pairs, report
from pairuni_train.pairs.dataset import write_pairs
from pairuni_train.pairs.record import Kind, Pair

# What two texts and two images share


def test_thirteen_words_in_a_row() -> None:
    words = [f"w{n}" for n in range(15)]
    text = "W0, w1; " + " ".join(words[2:])
    assert ngrams13(text) == {" ".join(words[n : n + 13]) for n in range(3)}


def test_a_shorter_text_is_shared_only_whole() -> None:
    assert ngrams13("A photo of two circles!") == {"a photo of two circles"}
    assert not ngrams13("a photo of two circles") & ngrams13("a photo of two circles and a square")
    assert ngrams13(" ?! ") == frozenset()


def test_near_copies_of_a_photograph_are_found(photographs: dict[str, bytes]) -> None:
    images = {
        name: Image.open(io.BytesIO(data)).convert("RGB") for name, data in photographs.items()
    }
    hashes = np.asarray([perceptual_hash(image) for image in images.values()], dtype=np.uint64)
    for place, image in enumerate(images.values()):
        small = image.resize((image.width // 3, image.height // 3))
        buffer = io.BytesIO()
        small.save(buffer, format="JPEG", quality=40)
        copy = Image.open(buffer)
        assert np.flatnonzero(near_copies(perceptual_hash(copy), hashes)).tolist() == [place]


def test_of_small_pictures_only_an_equal_one_is_near() -> None:
    one = world.Scene((world.Thing("circle", "red", 0, 0),))
    other = world.Scene((world.Thing("circle", "orange", 0, 0),))
    hashes = np.asarray([perceptual_hash(world.render(other))], dtype=np.uint64)
    assert not near_copies(perceptual_hash(world.render(one)), hashes).any()
    assert near_copies(perceptual_hash(world.render(other)), hashes).all()


# Sets


def pair(number: int, **changes: object) -> Pair:
    fields: dict[str, object] = {
        "id": f"p{number}",
        "kind": Kind.RANDOM,
        "understanding": understanding(number),
        "generation": generation(number),
    }
    return Pair(**(fields | changes))  # type: ignore[arg-type]


def test_duplicates_and_broken_images_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    cut = understanding(4, image=picture("red")[:50])
    write_pairs(
        path,
        [
            pair(1),
            pair(1, generation=generation(2)),  # id and question again
            pair(3, generation=generation(1)),  # prompt again
            pair(4, understanding=cut),
            pair(5, similarity=2.0),
        ],
    )
    found = check_pairs(path, against=None, data=None)
    assert found.rows == 5
    assert (found.repeated_ids, found.repeated_questions, found.repeated_prompts) == (1, 1, 1)
    assert [where.partition(":")[0] for where in found.broken] == ["p4, understanding"]
    assert len(found.unsound) == 1
    assert "row 5 (p5): similarity is 2.0" in found.unsound[0]
    assert found.anything
    assert "      1  broken images\n         p4, understanding:" in report(found, path)


def test_a_sound_set_has_nothing_wrong(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    write_pairs(path, [pair(1), pair(2)])
    found = check_pairs(path, against="tiny-pope,tiny-geneval", data=None)
    assert not found.anything
    assert [(one.benchmark, one.items, one.leaks) for one in found.leakage] == [
        ("tiny-pope", 296, 0),
        ("tiny-geneval", 54, 0),
    ]


def test_leaks_of_an_understanding_and_a_generation_benchmark(tmp_path: Path) -> None:
    from pairuni_eval.catalog import load_benchmark
    from pairuni_eval.data import Data

    benchmark = load_benchmark("tiny-pope")
    item = next(iter(benchmark.samples(Data(benchmark.card, benchmark.folder))))
    asked = {"image": item.pictures[0].data, "question": item.sample.text}
    elsewhere = understanding(2, question=pope_prompt(item.sample.text.partition("\n")[0]))
    path = tmp_path / "pairs.parquet"
    write_pairs(
        path,
        [
            pair(1, understanding=understanding(1, **asked)),  # words and image: a leak
            pair(2, understanding=elsewhere),  # the same words about another image
            pair(3, generation=generation(3, prompt="a photo of a circle")),
        ],
    )
    pope, geneval = check_pairs(path, against="tiny-pope,tiny-geneval", data=None).leakage
    assert pope.leaks == 1
    assert pope.examples == (item.sample.key,)
    assert pope.images >= 1  # the questions about one scene share its image
    assert pope.words >= 1
    assert (geneval.words, geneval.leaks) == (1, 1)


def test_a_benchmark_without_data_is_named_not_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    write_pairs(path, [pair(1)])
    (tmp_path / "data").mkdir()
    found = check_pairs(path, against="mmstar", data=tmp_path / "data")
    assert found.anything
    assert "mmstar           not looked at: The data of 'mmstar' was not found" in report(
        found, path
    )
    with pytest.raises(UserError, match="Did you mean 'tiny-pope'"):
        check_pairs(path, against="tiny-poope", data=None)


# The command line


def test_build_stats_and_check_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from pairuni_train.cli import main

    config = write_config(tmp_path / "small.toml")

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pairuni-train", "pairs", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        said = capfd.readouterr()
        return code, said.out, said.err

    out = tmp_path / "out"
    code, said, _ = run("build", "--config", config, "--out", out, "--arms", "random,unpaired")
    assert code == 0
    assert [line.split() for line in said.splitlines()[:2]] == [
        ["24", "rows", str(out / "unpaired.parquet")],
        ["12", "rows", str(out / "random.parquet")],
    ]
    assert said.splitlines()[-1].startswith("Next: pairuni-train pairs check ")
    code, said, _ = run("stats", out / "random.parquet")
    assert (code, said.splitlines()[0]) == (
        0,
        f"{out / 'random.parquet'}: 12 rows, 24 training halves",
    )
    code, said, _ = run("check", out / "random.parquet", "--against", "tiny-geneval", "--strict")
    assert code == 1  # the world has no other prompts than its benchmark's
    code, _, wrong = run("build", "--out", out)
    assert code == 2
    assert wrong.startswith("Error: Give exactly one of --config and --preset.\nNext:  ")
    code, _, wrong = run("build", "--config", config, "--out", out, "--arms", "radom")
    assert "Unknown arm 'radom'. Did you mean 'random'?" in wrong
