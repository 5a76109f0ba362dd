"""`pairs check` finds what is wrong with a set and what it shares with a benchmark."""

from __future__ import annotations

import io
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.pair_sources import generation, picture, understanding, write_config

from pairuni_eval.catalog import load_benchmark
from pairuni_eval.contamination.fingerprints import near_copies, ngrams13, perceptual_hash
from pairuni_eval.data import Data
from pairuni_eval.errors import UserError
from pairuni_eval.prompts import pope_prompt
from pairuni_eval.records import Item
from pairuni_eval.report.contamination import contamination
from pairuni_eval.stats.tables import Tables
from pairuni_eval.store.read import StoredRun
from pairuni_eval.tiny import world
from pairuni_train.pair_data.check import check_pairs, report
from pairuni_train.pair_data.dataset import write_pairs
from pairuni_train.pair_data.record import Kind, Pair

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
    assert [(one.benchmark, one.items, one.flagged) for one in found.seen] == [
        ("tiny-pope", 296, 0),
        ("tiny-geneval", 54, 0),
    ]


def pope_items(count: int) -> list[Item]:
    """The first items of tiny-pope, each about another image."""
    benchmark = load_benchmark("tiny-pope")
    found: dict[str, Item] = {}
    for item in benchmark.samples(Data(benchmark.card, benchmark.folder)):
        found.setdefault(item.sample.unit, item)
    return list(found.values())[:count]


def test_test_items_of_an_understanding_and_a_generation_benchmark(tmp_path: Path) -> None:
    (item,) = pope_items(1)
    asked = {"image": item.pictures[0].data, "question": item.sample.text}
    elsewhere = understanding(2, question=pope_prompt(item.sample.text.partition("\n")[0]))
    path = tmp_path / "pairs.parquet"
    write_pairs(
        path,
        [
            pair(1, understanding=understanding(1, **asked)),
            pair(2, understanding=elsewhere),  # the same words about another image
            pair(3, generation=generation(3, prompt="a photo of a circle")),
        ],
    )
    pope, geneval = check_pairs(path, against="tiny-pope,tiny-geneval", data=None).seen
    assert pope.flagged_units == {item.sample.unit}
    assert {(flag.how, flag.pair) for flag in pope.flags} == {("image", "p1")}
    assert pope.words > pope.by["image"]  # the same words about other images are counted
    assert (geneval.words, geneval.flagged, geneval.by["text"]) == (1, 1, 1)


def test_a_test_image_with_another_question_is_found_by_both_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Three images of tiny-pope with other questions; the run asks all of tiny-pope."""
    items = pope_items(3)
    path = tmp_path / "pairs.parquet"
    other = "How many things are in this picture, whatever their color?"
    halves = [
        understanding(n, image=item.pictures[0].data, question=other)
        for n, item in enumerate(items)
    ]
    write_pairs(path, [pair(n, understanding=half) for n, half in enumerate(halves)])
    (tmp_path / "s.jsonl").write_text('{"prompt": "*", "text": "yes"}\n')
    measured = ("--benchmarks", "tiny-pope", "--report", "none", "--out", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    command = partial(typed, monkeypatch, capfd)
    assert command("pairuni-eval", "run", "--checkpoint", "scripted:s.jsonl", *measured)[0] == 0

    code, said, _ = command("pairuni-train", "pairs", "check", path, "--against", "tiny-pope")
    sentence = "3 of 60 units were found in the 3 pairs: 3 of tiny POPE."
    assert code == 1
    assert sentence in said
    (checked,) = check_pairs(path, against="tiny-pope", data=None).seen
    assert checked.flagged_units == {item.sample.unit for item in items}

    out = ("--out", tmp_path / "out")
    assert command("pairuni-eval", "report", tmp_path / "run", "--pairs", path, *out)[0] == 0
    assert sentence in (tmp_path / "out/report.md").read_text()
    tables = Tables(StoredRun(tmp_path / "run"))
    (reported,) = contamination(tables, path, ["tiny-pope"]).leaks
    assert reported.flags == checked.flags
    assert (reported.items, reported.words) == (checked.items, checked.words)


def test_a_benchmark_without_data_is_named_not_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    write_pairs(path, [pair(1)])
    (tmp_path / "data").mkdir()
    found = check_pairs(path, against="mmstar", data=tmp_path / "data")
    assert found.anything
    assert "mmstar             not looked at: The data of 'mmstar' was not found" in report(
        found, path
    )
    with pytest.raises(UserError, match="Did you mean 'tiny-pope'"):
        check_pairs(path, against="tiny-poope", data=None)


# The command line


def typed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *words: object
) -> tuple[int, str, str]:
    """Exit code, output and errors of a command."""
    from pairuni_eval.cli import main as evaluate
    from pairuni_train.cli import main as train

    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    code = 0
    try:
        {"pairuni-eval": evaluate, "pairuni-train": train}[sys.argv[0]]()
    except SystemExit as end:
        code = int(end.code or 0)
    said = capfd.readouterr()
    return code, said.out, said.err


def test_build_stats_and_check_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "small.toml")
    run = partial(typed, monkeypatch, capfd, "pairuni-train", "pairs")
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
    code, said, _ = run("check", out / "random.parquet", "--against", "tiny-geneval")
    assert code == 1  # the world has no other prompts than its benchmark's
    code, _, wrong = run("build", "--out", out)
    assert code == 2
    assert wrong.startswith("Error: Give exactly one of --config and --preset.\nNext:  ")
    code, _, wrong = run("build", "--config", config, "--out", out, "--arms", "radom")
    assert "Unknown arm 'radom'. Did you mean 'random'?" in wrong
