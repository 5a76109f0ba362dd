"""`push` of both command lines against a hub on loopback: it gets what the dry run showed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import yaml
from huggingface_hub import parse_eval_result_entries
from support import example_run as example
from support import small_training as small
from support.fork_server import run_captured
from support.hub_server import HubServer, hub_server
from support.training_fork_server import Starter

from pairuni_eval.cards import DataSpec
from pairuni_train.config import Arm, as_written, find_arm, find_recipe
from pairuni_train.pair_data.dataset import write_pairs

TOKEN = "hf_made-up-0123456789"
ANEW = ("huggingface_hub", "pairuni_eval", "pairuni_train", "pairuni_registry")
Command = Callable[..., subprocess.CompletedProcess[str]]
CARD = "# pairug: eight pairs\n\n![plot](pairug.svg)\n\n## Rejects\n"
LINE = re.compile(r" *([\d,]+)  (\S+) +(\S+)")


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with hub_server(TOKEN) as running:
        yield running


@pytest.fixture
def command(tmp_path: Path, hub: HubServer, fork_server: str) -> Command:
    """A command in a process of its own, with that hub; without `token=` nobody is known."""

    def command(line: str, *arguments: object, token: str | None = None) -> object:
        environment = os.environ | {
            "HF_HOME": str(tmp_path / "home"),
            "HF_ENDPOINT": hub.url,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            **({"HF_TOKEN": token} if token else {}),
        }
        module = f"{line.replace('-', '_')}.cli"
        return run_captured(
            fork_server, ["push", *arguments], environment, tmp_path, module=module, anew=ANEW
        )

    return command  # type: ignore[return-value]


@pytest.fixture(scope="module")
def training(fork_server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of a run that measured its checkpoints, and its pair set with a card."""
    folder = tmp_path_factory.mktemp("training")
    write_pairs(folder / "pairug.parquet", small.tiny_pairs(8))
    (folder / "pairug.md").write_text(CARD)
    (folder / "pairug.svg").write_text("<svg/>\n")
    settings = {**small.SMALL, "pairs_per_step": 2, "checkpoint_every": 1}
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    words = ["run", "--pairs", folder / "pairug.parquet", "--out", folder / "out", *sets]
    watched = ["--evaluate", "tiny-tuning", "--every", 2, "--limit", 2]
    with contextlib.chdir(folder):  # where it writes its page
        assert Starter(fork_server).run([*words, "--steps", 2, *watched]) == 0
    return folder / "out"


def shown(said: str) -> dict[str, dict[str, Path]]:
    """The files of every repository by path, as a dry run lists them."""
    found: dict[str, dict[str, Path]] = {}
    repo = ""
    for line in said.splitlines():
        if head := re.fullmatch(r"(\S+) \((model|dataset)\): (\d+) files, ([\d,]+) bytes", line):
            repo, found[head[1]] = head[1], {}
            continue
        if row := LINE.fullmatch(line):
            found[repo][row[2]] = Path(row[3])
            assert int(row[1].replace(",", "")) >= 0
    return found


def sizes(said: str) -> list[int]:
    rows = (LINE.fullmatch(line) for line in said.splitlines())
    return [int(row[1].replace(",", "")) for row in rows if row]


def test_the_hub_gets_what_the_dry_run_showed_byte_for_byte(
    command: Command, hub: HubServer, training: Path, tmp_path: Path
) -> None:
    pairs = training.parent / "pairug.parquet"
    asked = [training, "--to", "acme/model", "--step", 2, "--pairs", pairs]
    asked += ["--pairs-to", "acme/pairs"]
    dry = command("pairuni-train", *asked)
    assert dry.returncode == 0, dry.stderr
    assert "Nothing was sent" in dry.stdout and hub.asked == []
    listed = shown(dry.stdout)
    expected = {
        repo: {path: (tmp_path / source).read_bytes() for path, source in files.items()}
        for repo, files in listed.items()
    }
    assert sizes(dry.stdout) == [
        len(data) for files in expected.values() for data in files.values()
    ]
    model = set(listed["acme/model"])
    assert model >= {"README.md", "training/recipe.toml", "model.safetensors", "config.json"}
    assert not any("trainer" in path or "optimizer" in path for path in model)
    assert set(listed["acme/pairs"]) == {"README.md", "pairug.parquet", "pairug.svg"}

    sent = command("pairuni-train", *asked, "--yes", token=TOKEN)
    assert sent.returncode == 0, sent.stderr
    got = {
        repo: {path: data for path, data in files.items() if path != ".gitattributes"}
        for repo, files in hub.files.items()
    }
    assert got == expected
    assert hub.kinds == {"acme/model": "model", "acme/pairs": "dataset"}
    assert any(one.startswith("PUT /objects/") for one in hub.asked), "weights go by LFS"
    for said in (sent.stdout, sent.stderr):
        assert TOKEN not in said
    for path in (one for root in (tmp_path, training) for one in root.rglob("*")):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


def test_the_card_says_how_and_on_what_and_how_well(
    command: Command, training: Path, tmp_path: Path
) -> None:
    pairs = training.parent / "pairug.parquet"
    dry = command("pairuni-train", training, "--to", "acme/model", "--step", 2, "--pairs", pairs)
    assert dry.returncode == 0, dry.stderr
    made = tmp_path / "hub/acme/model"
    card = (made / "README.md").read_text()
    assert card.startswith('---\ntags: ["pairuni"]\n---\n')
    for words in (
        "Trained by PairGRPO from tiny: pairuni on tiny, seed 0, step 2.",
        "### pairug: eight pairs",
        "95 % interval",
        "tiny tuning drawings, tiny, PARTIAL",
        "pairuni-train run --arm training/arm.toml --recipe training/recipe.toml --seed 0",
        "pairuni-eval run --checkpoint acme/model --suite tiny-tuning --limit 2 --seed 0",
    ):
        assert words in card
    assert "pairug.svg" not in card and str(training.parent) not in card
    # What the printed command takes is the recipe of the training.
    recipe = find_recipe(str(made / "training/recipe.toml"))
    stored = msgspec.json.decode((training / "settings.json").read_bytes())
    assert msgspec.json.decode(msgspec.json.encode(as_written(recipe))) == stored["recipe"]
    arm = msgspec.convert(stored["arm"], Arm)
    assert find_arm(str(made / "training/arm.toml")) == arm


def test_results_go_where_the_hub_reads_them(
    command: Command, hub: HubServer, tmp_path: Path
) -> None:
    data = DataSpec(hub="made/up", revision="0f" * 20)
    real = msgspec.structs.replace(example.geneval_card(6), data=data)
    rows = example.graded(real, 6, 1.0, example.random.Random(1))
    graded = [row._replace(scores={"correct": 1.0}, skipped=None) for row in rows]
    example.store(tmp_path / "run", [real], {real.name: graded}, name="run")
    asked = ["run", "--to", "acme/model", "--out", "staged"]
    dry = command("pairuni-eval", *asked)
    assert dry.returncode == 0, dry.stderr
    assert set(shown(dry.stdout)["acme/model"]) == {"README.md", ".eval_results/pairuni.yaml"}
    assert command("pairuni-eval", *asked, "--yes", token=TOKEN).returncode == 0
    text = hub.files["acme/model"][".eval_results/pairuni.yaml"]
    assert text == (tmp_path / "staged/.eval_results/pairuni.yaml").read_bytes()
    (entry,) = parse_eval_result_entries(yaml.safe_load(text))
    assert (entry.dataset_id, entry.value) == ("made/up", 100.0)


def test_what_is_there_is_replaced_only_if_asked(
    command: Command, hub: HubServer, training: Path
) -> None:
    asked = [training, "--to", "acme/model", "--step", 1, "--yes"]
    assert command("pairuni-train", *asked, token=TOKEN).returncode == 0
    before = dict(hub.files["acme/model"])
    again = command(
        "pairuni-train", training, "--to", "acme/model", "--step", 2, "--yes", token=TOKEN
    )
    assert again.returncode == 2 and hub.files["acme/model"] == before
    assert "acme/model has README.md" in again.stderr and "--replace" in again.stderr
    asked = [training, "--to", "acme/model", "--step", 2, "--yes", "--replace"]
    assert command("pairuni-train", *asked, token=TOKEN).returncode == 0
    assert hub.files["acme/model"]["model.safetensors"] != before["model.safetensors"]


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (None, "HF_TOKEN is not set"),
        ("hf_somebody-elses-token", "the hub refuses"),
    ],
)
def test_whoever_may_not_write_is_told_without_the_token(
    command: Command, hub: HubServer, training: Path, token: str | None, words: str
) -> None:
    ran = command("pairuni-train", training, "--to", "acme/model", "--yes", token=token)
    assert ran.returncode == 2 and words in ran.stderr
    assert "HF_TOKEN" in ran.stderr and "Traceback" not in ran.stderr
    assert hub.files == {}
    assert token is None or token not in ran.stdout + ran.stderr


def test_a_file_that_holds_a_secret_is_not_sent(
    command: Command, hub: HubServer, training: Path, tmp_path: Path
) -> None:
    copied = shutil.copytree(training, tmp_path / "copied")
    path = copied / "checkpoint-2/config.json"
    path.write_text(path.read_text().replace("{", f'{{"_note": "{TOKEN}",', 1))
    ran = command("pairuni-train", copied, "--to", "acme/model", "--step", 2, "--yes", token=TOKEN)
    assert ran.returncode == 2 and hub.asked == []
    assert "config.json holds the value of the environment variable HF_TOKEN" in ran.stderr
    assert TOKEN not in ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["--to", "model"], "does not name a repository"),
        (["--to", "acme/mo del"], "--to OWNER/NAME"),
        (["--to", "acme/model", "--step", 7], "no checkpoint of step 7"),
        (["--to", "acme/model", "--pairs-to", "acme/pairs"], "name it by --pairs"),
    ],
)
def test_what_cannot_be_sent_is_said_before_anything_is(
    command: Command, hub: HubServer, training: Path, asked: list[object], words: str
) -> None:
    ran = command("pairuni-train", training, *asked, token=TOKEN)
    assert ran.returncode == 2 and words in ran.stderr and hub.asked == []


def test_other_pairs_and_runs_of_other_weights_are_refused(
    command: Command, training: Path, tmp_path: Path
) -> None:
    write_pairs(tmp_path / "other.parquet", small.tiny_pairs(4))
    other = command("pairuni-train", training, "--to", "acme/m", "--pairs", "other.parquet")
    assert other.returncode == 2 and "is not the pair set that" in other.stderr
    run = training / "evaluations/tiny-tuning/step-0"
    base = command("pairuni-train", training, "--to", "acme/m", "--step", 2, "--run", run)
    assert base.returncode == 2 and "measured another checkpoint" in base.stderr
    runs = [run, training / "evaluations/tiny-tuning/step-2"]
    two = command("pairuni-eval", *runs, "--to", "acme/m")
    assert two.returncode == 2 and "measured other weights" in two.stderr
