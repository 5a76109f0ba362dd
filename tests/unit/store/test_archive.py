"""A run in one file, and the baselines that the suite `tiny` ships in that form."""

from __future__ import annotations

import json
import random
import shutil
import zipfile
from pathlib import Path

import pytest
from support import example_run as example
from typer.testing import CliRunner

from pairuni_eval.cards import Card
from pairuni_eval.catalog import find_card, find_suite, suite_baselines
from pairuni_eval.cli import app
from pairuni_eval.errors import UserError
from pairuni_eval.records import Capability
from pairuni_eval.stats.compare import compare_page
from pairuni_eval.stats.tables import Tables
from pairuni_eval.store import archive
from pairuni_eval.store.archive import given_pictures, pack, unpacked
from pairuni_eval.store.read import StoredRun
from pairuni_eval.store.training import has_training, read_metrics


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pairuni" / "runs"


def answers_and_pictures() -> list[Card]:
    """One benchmark of questions, one of drawings."""
    every = example.cards(12)
    return [every[0], next(card for card in every if card.capability is Capability.GENERATE)]


@pytest.fixture
def run(tmp_path: Path) -> StoredRun:
    benchmarks = answers_and_pictures()
    return StoredRun(example.write_run(tmp_path / "run", count=12, benchmarks=benchmarks))


def test_a_packed_run_is_the_run(run: StoredRun, tmp_path: Path, cache: Path) -> None:
    (run.folder / "training").mkdir()
    (run.folder / "training" / "metrics.jsonl").write_text('{"step": 0, "loss": 1.0}\n')
    (run.folder / "journal.jsonl").write_text("{}\n")
    pack(run.folder, tmp_path / "out" / "a.zip")
    folder = unpacked(tmp_path / "out" / "a.zip")
    assert folder.parent == cache and folder.name.startswith("a-")
    again = StoredRun(folder)
    for name in ("samples", "outputs", "scores"):
        assert getattr(again, name).equals(getattr(run, name))
    assert again.cards == run.cards and again.card == run.card
    assert read_metrics(folder / "training") == [{"step": 0, "loss": 1.0}]
    assert not (folder / "journal.jsonl").exists(), "times stay behind"
    shown = given_pictures(run.outputs)
    assert shown and all(
        again.image_path(image).read_bytes() == run.image_path(image).read_bytes()
        for image in shown
    )


def test_the_same_run_gives_the_same_bytes_and_is_unpacked_once(
    run: StoredRun, tmp_path: Path, cache: Path
) -> None:
    copy = shutil.copytree(run.folder, tmp_path / "copy")
    one, two = tmp_path / "a.zip", tmp_path / "b" / "a.zip"
    pack(run.folder, one)
    pack(copy, two)
    assert one.read_bytes() == two.read_bytes()
    folder = unpacked(one)
    (folder / "mine").touch()
    assert unpacked(two) == folder and (folder / "mine").exists()
    assert [path.name for path in cache.iterdir()] == [folder.name]
    assert unpacked(run.folder) == run.folder, "a folder is one already"


def test_pictures_can_be_left_out(run: StoredRun, tmp_path: Path, cache: Path) -> None:
    kept = sorted(given_pictures(run.outputs))[:2]
    pack(run.folder, tmp_path / "a.zip", pictures=kept)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        names = [name for name in archive.namelist() if name.startswith("images/")]
    assert sorted(name.rpartition("/")[2] for name in names) == kept


def test_a_file_that_is_no_packed_run_is_named(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(UserError, match=r"a\.zip is not a packed run"):
        unpacked(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as other:
        other.writestr("weights.bin", b"0")
    with pytest.raises(UserError, match=r"b\.zip is not a packed run: it has no run\.json"):
        unpacked(tmp_path / "b.zip")
    assert list(cache.iterdir()) == [], "nothing half is left"


def test_a_packed_run_is_named_where_a_run_folder_is(
    run: StoredRun, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmarks = answers_and_pictures()
    other = example.write_run(
        tmp_path / "other", name="other", skill=0.4, count=12, benchmarks=benchmarks
    )
    pack(other, tmp_path / "a.zip")
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    compared = [runner.invoke(app, ["compare", "run", b, "--json"]) for b in ("other", "a.zip")]
    assert compared[0].exit_code == 0 and json.loads(compared[0].stdout)
    assert compared[0].stdout == compared[1].stdout
    made = runner.invoke(app, ["report", "run", "--baseline", "other=a.zip", "--out", "out"])
    assert made.exit_code == 0 and "against other" in (tmp_path / "out" / "report.md").read_text()
    assert runner.invoke(app, ["report", "a.zip", "--out", "packed"]).exit_code == 0
    assert (tmp_path / "packed" / "report.html").is_file()


# What the suite `tiny` ships


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StoredRun]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return {name: StoredRun(folder) for name, folder in suite_baselines("tiny").items()}


def test_the_shipped_baselines_are_whole_and_of_the_benchmarks_as_they_are(
    shipped: dict[str, StoredRun],
) -> None:
    suite = find_suite("tiny")
    assert set(shipped) == {"GRPO", "random pair"}
    for name, run in shipped.items():
        assert run.card.suite == "tiny" and tuple(run.cards) == suite.benchmarks
        assert run.card.checkpoint.step == 300
        assert {
            "GRPO": "grpo on tiny, seed 0",
            "random pair": "random_pair on tiny, seed 0",
        }[name] == run.card.checkpoint.recipe
        for benchmark, card in run.cards.items():
            assert _rules(card) == _rules(find_card(benchmark)), "pack anew: nox -s baselines"
        for count in run.card.benchmarks.values():
            assert count.planned == count.expected
        assert has_training(run.folder / "training")
        assert not Path(run.card.command.split()[3]).is_absolute()


def _rules(card: Card) -> tuple[object, ...]:
    """What makes two runs of a benchmark comparable, where no answer carries tags."""
    own = {name: rule for name, rule in card.protocols.items() if rule.final_answer is None}
    scorers = {name: (rule.scorer, rule.metrics) for name, rule in own.items()}
    return (card.version, card.expected, card.decoding, card.judge, scorers)


def test_the_shipped_baselines_can_be_compared(shipped: dict[str, StoredRun]) -> None:
    ours, theirs = ((Tables(run),) for run in shipped.values())
    found = compare_page(ours, {"theirs": theirs})["theirs"]
    assert len(found.headlines) == len(find_suite("tiny").benchmarks)
    assert found.refusals == ()


def test_the_shipped_baselines_are_small() -> None:
    import pairuni_eval.catalog as catalog

    (root,) = (root for root in catalog.registry_roots() if (root / "tiny_wise").is_dir())
    files = list((root / "suites" / "baselines").rglob("*.zip"))
    assert len(files) == 2
    assert sum(path.stat().st_size for path in files) < 1.8e6


def test_a_cache_that_cannot_be_made_says_what_to_set(
    run: StoredRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    pack(run.folder, tmp_path / "a.zip")
    with pytest.raises(UserError, match="cannot be made: Not a directory") as refused:
        unpacked(tmp_path / "a.zip")
    assert "XDG_CACHE_HOME" in (refused.value.hint or "")


# A file from anywhere


def made_archive(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    """A zip with a run card and further members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("run.json", "{}")
        for name, content in members:
            made.writestr(name, content)
    return path


def refusal(path: Path, cache: Path) -> str:
    with pytest.raises(UserError) as refused:
        unpacked(path)
    assert list(cache.iterdir()) == [], "nothing half is left"
    assert refused.value.message.startswith(f"{path} is not a packed run: ")
    return refused.value.message


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "images/../../outside",
        "/etc/outside",
        "..\\outside",
        "C:\\outside",
        "images/./x",
        "images//x",
        "a\nb",
        "..",
    ],
)
def test_members_outside_of_the_folder_are_refused(tmp_path: Path, cache: Path, name: str) -> None:
    path = made_archive(tmp_path / "a.zip", (name, b"x"))
    assert "lies outside of the run" in refusal(path, cache)
    assert not any("outside" in one.name for one in tmp_path.rglob("*"))


def test_links_are_refused(tmp_path: Path, cache: Path) -> None:
    link = zipfile.ZipInfo("images")
    link.external_attr = 0o120777 << 16
    path = made_archive(tmp_path / "a.zip", (link, b"/etc"), ("images/passwd", b"x"))
    assert "'images' is a link or a device" in refusal(path, cache)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["cards/a", "cards/a/b"])
def test_two_members_of_one_name_are_refused(tmp_path: Path, cache: Path, second: str) -> None:
    path = made_archive(tmp_path / "a.zip", ("cards/a", b"x"), (second, b"y"))
    assert "two of its members have one name" in refusal(path, cache)


def test_an_encrypted_archive_is_refused(tmp_path: Path, cache: Path) -> None:
    data = bytearray(made_archive(tmp_path / "a.zip").read_bytes())
    for start, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(start) + offset] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    assert "'run.json' is encrypted" in refusal(tmp_path / "a.zip", cache)


# 77 is no method; 12 is bzip2 and 14 LZMA, which what was deflated is not.
@pytest.mark.parametrize(("method", "why"), [(77, "compression"), (12, "data stream"), (14, "")])
def test_another_method_is_refused(tmp_path: Path, cache: Path, method: int, why: str) -> None:
    data = bytearray(made_archive(tmp_path / "a.zip").read_bytes())
    for start, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(start) + offset] = method
    (tmp_path / "a.zip").write_bytes(data)
    assert why in refusal(tmp_path / "a.zip", cache)


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_archive_is_refused_or_still_the_run(
    run: StoredRun, tmp_path: Path, cache: Path, seed: int
) -> None:
    pack(run.folder, tmp_path / "a.zip", pictures=[])
    data = bytearray((tmp_path / "a.zip").read_bytes())
    rng = random.Random(seed)
    for _ in range(3):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    (tmp_path / "a.zip").write_bytes(data[: rng.choice([None, len(data) // 2])])
    try:
        again = StoredRun(unpacked(tmp_path / "a.zip"))
        assert again.scores.equals(run.scores) and again.cards == run.cards
    except UserError as refused:
        assert "a.zip" in refused.message or "a-" in refused.message


def test_a_bomb_is_stopped_whatever_its_header_says(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "SMALL", 2**20)
    path = made_archive(tmp_path / "a.zip", ("metrics.jsonl", bytes(8 * 2**20)))
    assert path.stat().st_size < 20_000
    assert "larger than is allowed (8 GiB, 200 times the file)" in refusal(path, cache)
    data = bytearray(path.read_bytes())
    central = data.rindex(b"PK\x01\x02")
    data[central + 24 : central + 28] = (100).to_bytes(4, "little")  # the size that it claims
    path.write_bytes(data)
    refusal(path, cache)


def test_very_many_members_are_refused(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MEMBERS", 3)
    path = made_archive(tmp_path / "a.zip", *((f"images/{n}", b"") for n in range(3)))
    assert "it has 4 members, more than 3" in refusal(path, cache)
