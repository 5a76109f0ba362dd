"""`pairuni-train` as a person meets it: options, what it prints, what it refuses."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import small_training as small
from support.command_line import Cli, command_line, is_light

from pairuni_train.pair_data.dataset import write_pairs


@pytest.fixture
def train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Cli:
    """`pairuni-train ARGUMENTS` in this process, in a folder of its own."""
    from pairuni_train.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return command_line("pairuni-train", main, monkeypatch, capfd)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    pairs = small.tiny_pairs(8)
    write_pairs(folder / "pairug.parquet", pairs)
    write_pairs(folder / "unpaired.parquet", small.unpaired(pairs))
    return folder


@pytest.fixture
def strangers_weightings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with a weighting that no pair can have, and one that is not there."""
    info = tmp_path / "site" / "acme_weightings-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-weightings\nVersion: 1\n")
    lines = ("weighty = support.small_training:negative", "nothing = operator:nothing")
    (info / "entry_points.txt").write_text("\n".join(("[pairuni.weightings]", *lines)))
    monkeypatch.syspath_prepend(str(info.parent))


@pytest.fixture(scope="module")
def settings(untrained: Path) -> list[str]:
    """The untrained model and small batches."""
    values = {**small.SMALL, "checkpoint": untrained, "checkpoint_every": 1}
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def two_steps(folder: Path, settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that has ended after two steps."""
    from pairuni_train.cli import main

    out = tmp_path_factory.mktemp("ended") / "out"
    words = ["run", "--pairs", folder, "--steps", 2, "--out", out, *settings]
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(SystemExit):
        patch.setattr(sys, "argv", ["pairuni-train", *map(str, words)])
        main()
    assert (out / "checkpoint-2").is_dir()
    return out


@pytest.fixture
def ended(train: Cli, two_steps: Path) -> Path:
    """A copy of that training, which the working folder has as `out`."""
    return Path(shutil.copytree(two_steps, "out"))


def test_help_is_quick_and_loads_no_model_code() -> None:
    code = (
        "import sys; from pairuni_train.cli import app\n"
        "assert not {'torch', 'transformers', 'pyarrow', 'accelerate'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert is_light("-m", "pairuni_train.cli", "--help"), "not once in twelve times"


def test_list_names_arms_recipes_and_experiments(train: Cli) -> None:
    ran = train("list")
    assert ran.code == 0
    assert "pairuni_linear" in ran.out
    assert "janus-pro-7b" in ran.out
    assert "How pairs are made (table 5)" in ran.out
    tables = re.findall(r"^  (table\w+)", ran.out, re.MULTILINE)
    assert tables == [f"table{n}" for n in ("1", "2", "3", "4", "4b", *range(5, 11))]
    assert ran.next == "pairuni-train run --arm pairuni --recipe tiny"


def test_a_format_that_no_figure_has_is_refused_before_anything_runs(train: Cli) -> None:
    ran = train("reproduce", "table2", "--figures", "gif")
    assert ran.code == 2 and "'gif' is not one of" in ran.err
    assert not Path("runs").exists()


def test_a_run_ends_with_its_checkpoint_and_the_command_that_measures_it(
    train: Cli, folder: Path, settings: list[str]
) -> None:
    ran = train("run", "--pairs", folder, "--steps", 2, "--seed", 3, *settings)
    assert ran.code == 0, ran.err
    checkpoint = "runs/pairuni-tiny-seed3/checkpoint-2"
    assert f"Checkpoint: {checkpoint}\n" in ran.out
    assert ran.next == f"pairuni-eval run --checkpoint {checkpoint} --suite tiny"
    assert "und reward 0.00 (0% live, 0.0% clipped)" in ran.err
    declared = json.loads((Path(checkpoint) / "pairuni.json").read_text())
    assert declared["recipe"] == "pairuni on tiny, seed 3"
    assert declared["step"] == 2
    assert len(declared["parent"]) == 64
    kept = json.loads(Path("runs/pairuni-tiny-seed3/settings.json").read_text())
    assert kept["arm"]["weighting"] == "sqrt"
    assert kept["recipe"]["steps"] == 2
    assert kept["seed"] == 3
    metrics = Path("runs/pairuni-tiny-seed3/metrics.jsonl")
    before = metrics.read_bytes()
    again = train("run", "--pairs", folder, "--steps", 2, "--seed", 3, *settings)
    assert again.out == ran.out, "a finished run says so again"
    assert metrics.read_bytes() == before


def test_a_checkpoint_is_a_model_to_measure_and_to_train_on(
    train: Cli, folder: Path, settings: list[str], ended: Path
) -> None:
    from pairuni_eval.adapters import load_model
    from pairuni_eval.models.base import LoadOptions

    model = load_model(f"{ended}/checkpoint-2", None, LoadOptions(device="cpu"))
    assert model.identity.step == 2
    assert model.identity.recipe == "pairuni on tiny, seed 0"
    again = ["--set", f"checkpoint={ended}/checkpoint-2"]
    ran = train("run", "--pairs", folder, "--steps", 1, "--out", "b", *settings, *again)
    assert ran.code == 0, ran.err
    declared = json.loads(Path("b/checkpoint-1/pairuni.json").read_text())
    assert declared["parent"] == model.identity.weights


@pytest.mark.parametrize(
    ("former", "now", "notes"),
    [
        (["--recipe", "grpo"], ("grpo", "tiny"), ["--recipe grpo is now --arm grpo"]),
        (["--recipe", "tiny"], ("pairuni", "tiny"), []),
        (["--backbone", "mine"], ("pairuni", "mine"), ["--backbone mine is now --recipe mine"]),
        (
            ["--recipe", "a.toml", "--backbone", "tiny"],
            ("a.toml", "tiny"),
            ["--recipe a.toml is now --arm a.toml", "--backbone tiny is now --recipe tiny"],
        ),
        (["--arm", "grpo", "--recipe", "mine"], ("grpo", "mine"), []),
    ],
)
def test_former_options_are_taken_with_a_note(
    former: list[str],
    now: tuple[str, str],
    notes: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    from pairuni_train.former_options import read_names

    given = dict(zip(former[::2], former[1::2], strict=True))
    found = read_names(given.get("--arm"), given.get("--recipe"), given.get("--backbone"))
    assert tuple(found) == now
    assert capsys.readouterr().err.splitlines() == [f"Note: {note}." for note in notes]


def test_the_file_of_an_arm_is_taken_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pairuni_train.former_options import read_names

    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nsummary = "s"\npairs = "half"\n')
    assert read_names(None, str(path), None) == (str(path), "tiny")
    assert capsys.readouterr().err == f"Note: --recipe {path} is now --arm {path}.\n"
    assert read_names("grpo", str(path), None) == ("grpo", str(path))  # refused where it is read


def test_a_former_command_line_does_what_it_did(train: Cli, folder: Path) -> None:
    ran = train("run", "--recipe", "random_pair", "--backbone", "tiny", "--pairs", folder)
    assert ran.code == 2
    assert "Note: --recipe random_pair is now --arm random_pair." in ran.err
    assert "There is no pair set" in ran.err and "random.parquet" in ran.err
    twice = train("run", "--recipe", "tiny", "--backbone", "janus-pro-1b")
    assert twice.code == 2 and "both name the recipe" in twice.err
    for command in (("reproduce", "table2"), ("baselines", "--out", "o"), ("probe",)):
        more = ("--checkpoint", "tiny", "--pairs", folder) if command == ("probe",) else ()
        ran = train(*command, *more, "--backbone", "janus-1b")
        assert ran.code == 2 and "Note: --backbone janus-1b is now --recipe janus-1b." in ran.err
        assert "Did you mean 'janus-pro-1b'" in ran.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--lr", "0.5"], "recipe.lr is 0.0001, now it is 0.5"),
        (["--seed", "4"], "seed is 0, now it is 4"),
        (["--arm", "pairuni_linear"], "arm.name is 'pairuni', now it is 'pairuni_linear'"),
        (["--set", "gen.rollouts=6"], "recipe.gen.rollouts is 4, now it is 6"),
        (["--steps", "1"], "recipe.steps is 2, now it is 1"),
    ],
)
def test_another_run_is_not_written_over(
    train: Cli, folder: Path, settings: list[str], ended: Path, change: list[str], message: str
) -> None:
    common = ["run", "--pairs", folder, "--out", ended, *settings]
    before = Path("out/metrics.jsonl").read_bytes()
    ran = train(*common, "--steps", 2, *change)
    assert ran.code == 2
    assert message in ran.error
    assert "--out" in ran.next
    assert Path("out/metrics.jsonl").read_bytes() == before


def test_other_pairs_are_another_run(train: Cli, settings: list[str], ended: Path) -> None:
    write_pairs(Path("other.parquet"), small.tiny_pairs(8, seed=1))
    ran = train("run", "--out", ended, "--steps", 2, *settings, "--pairs", "other.parquet")
    assert ran.code == 2
    assert "pairs is" in ran.error


def test_a_run_may_go_on_for_more_steps(
    train: Cli, folder: Path, settings: list[str], ended: Path
) -> None:
    ran = train("run", "--pairs", folder, "--out", ended, *settings, "--steps", 3)
    assert ran.code == 0, ran.err
    metrics = map(json.loads, Path("out/metrics.jsonl").read_text().splitlines())
    assert [one["step"] for one in metrics] == [0, 1, 2]
    checkpoints = sorted(Path("out").glob("c*"))
    assert [path.name for path in checkpoints] == [f"checkpoint-{step}" for step in (1, 2, 3)]
    can_go_on = [path.name for path in checkpoints if (path / "trainer").exists()]
    assert can_go_on == ["checkpoint-3"], "only the newest"


def test_a_checkpoint_of_another_size_cannot_go_on(
    train: Cli, folder: Path, settings: list[str], ended: Path, tiny_weights: Path
) -> None:
    for name in ("model.safetensors", "config.json"):
        (ended / "checkpoint-2" / name).write_bytes((tiny_weights / name).read_bytes())
    ran = train("run", "--pairs", folder, "--out", ended, *settings, "--steps", 3)
    assert ran.code == 2
    assert "is not a parameter of that shape" in ran.error


def test_adapters_go_on_from_a_file_of_their_own(
    train: Cli, folder: Path, settings: list[str]
) -> None:
    pytest.importorskip("peft")
    lora = [
        *settings,
        "--set",
        "lora.rank=2",
        "--set",
        "gen.rewards=[{name='scorer:tiny-geneval'}]",
    ]
    for out, stops in (("straight", (2,)), ("stopped", (1, 2))):
        for steps in stops:
            ran = train("run", "--pairs", folder, "--out", out, "--steps", steps, *lora)
            assert ran.code == 0, ran.err
    for name in ("model.safetensors", "trainer/adapters.safetensors", "pairuni.json"):
        one, two = (Path(out) / "checkpoint-2" / name for out in ("straight", "stopped"))
        assert one.read_bytes() == two.read_bytes()


def test_a_damaged_optimizer_is_named(
    train: Cli, folder: Path, settings: list[str], ended: Path
) -> None:
    state = ended / "checkpoint-2/trainer/optimizer.safetensors"
    state.write_bytes(state.read_bytes()[:100])
    ran = train("run", "--pairs", folder, "--out", ended, *settings, "--steps", 3)
    assert ran.code == 2
    assert "checkpoint-2/trainer/optimizer.safetensors: training cannot go on" in ran.error
    assert ran.next.endswith("--set checkpoint=out/checkpoint-2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "checkpoint=nowhere"], "There is no checkpoint 'nowhere'"),
        (["--set", "trainable=['janus.model.language.']"], "No parameter's name begins with 'ja"),
        (["--set", "gen.rewards=[{name='scorer:tiny-genevl'}]"], "Did you mean 'tiny-geneval'"),
        (["--pairs-per-step", "9"], "The pair set has 8 rows, a step takes 9"),
        (["--arm", "weighty.toml"], "gives pair pair0 the weight -1.0"),
        (["--arm", "nothing.toml"], "The weighting 'nothing' cannot be imported"),
        (["--arm", "words.toml"], "Unknown weighting 'sqr'. Did you mean 'sqrt'"),
        (["--tracker", "tensorbord"], "Did you mean 'tensorboard'"),
        (["--tracker", "comet_ml"], "'comet_ml' is not installed"),
        (["--arm", "grpo", "--pairs", "."], "There is no pair set unpaired.parquet"),
    ],
)
@pytest.mark.usefixtures("strangers_weightings")
def test_what_cannot_be_trained_is_refused(
    train: Cli, folder: Path, settings: list[str], arguments: list[str], message: str
) -> None:
    for name, weighting in {"weighty": "weighty", "nothing": "nothing", "words": "sqr"}.items():
        Path(f"{name}.toml").write_text(
            f'name = "{name}"\nsummary = ""\npairs = "pairug"\nweighting = "{weighting}"\n'
        )
    ran = train("run", "--pairs", folder, "--steps", 1, "--out", "out", *settings, *arguments)
    assert ran.code == 2
    assert message in ran.error


def test_a_model_that_only_evaluates_cannot_be_trained(
    train: Cli, folder: Path, settings: list[str]
) -> None:
    Path("script.jsonl").write_text('{"prompt": "a", "text": "b"}\n')
    only = ["--set", "checkpoint=scripted:script.jsonl"]
    ran = train("run", "--pairs", folder, "--steps", 1, *settings, *only)
    assert ran.code == 2
    assert "has no policy that could be trained" in ran.error


def test_a_reward_that_fails_stops_the_run_and_is_named(
    train: Cli, folder: Path, settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pairuni_train.grpo.scorer_reward import ScorerReward

    monkeypatch.setattr(ScorerReward, "__call__", lambda self, batch: [1.0] * 3)
    # Without a form it is asked about every question, whichever pairs the first step drew.
    only = ["--set", "und.rewards=[{name='scorer:tiny-mme'}]"]
    ran = train("run", "--pairs", folder, "--steps", 1, *settings, *only)
    assert ran.code == 2
    assert ran.error.startswith("The reward 'scorer:tiny-mme' gave 3 values for ")


def test_an_alarm_that_stops_keeps_the_checkpoints_before_it(
    train: Cli, folder: Path, settings: list[str]
) -> None:
    # An untrained model gives no right answer, and a rule for answers declines its pictures.
    dead = ["gen.rewards=[{name='scorer:tiny-mme'}]", "pairs_per_step=1", "gen.rollouts=2"]
    changes = [part for one in dead for part in ("--set", one)]
    ran = train("run", "--pairs", folder, "--steps", 12, "--out", "out", *settings, *changes)
    assert ran.code == 2
    assert ran.error.startswith("Stopped at step 9: the gradient has been exactly zero for 10 s")
    assert len(list(Path("out").glob("checkpoint-*"))) == 9


def test_without_pairs_a_recipe_builds_its_own_once(
    train: Cli, settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pairuni_train import pair_files
    from pairuni_train.config import find_recipe
    from pairuni_train.pair_data import config

    few = config.find_preset("tiny")
    few = few._replace(config=config.PairConfig(**{**fields(few.config), **SMALLER}))
    monkeypatch.setattr(config, "find_preset", lambda name: few)
    file = pair_files.find_pairs(None, "random", find_recipe("tiny"))
    assert file.is_file()
    before = file.stat().st_mtime_ns
    assert pair_files.find_pairs(None, "random", find_recipe("tiny")) == file
    assert file.stat().st_mtime_ns == before


def fields(config: object) -> dict[str, object]:
    return {name: getattr(config, name) for name in config.__struct_fields__}  # type: ignore[attr-defined]


SMALLER: dict[str, object] = {"pairs": 4}


def test_a_large_recipe_says_how_to_build_pairs(train: Cli) -> None:
    ran = train("run", "--recipe", "janus-pro-1b")
    assert ran.code == 2
    assert "give them with --pairs" in ran.error
    assert ran.next.startswith("pairuni-train pairs build --preset orsta-blip3o --arms pairug")


def test_a_folder_is_claimed_only_when_everything_is_there(
    train: Cli, folder: Path, settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails before the first step leaves nothing that stands in another command's way."""
    common = ["run", "--pairs", folder, "--out", "out", "--steps", 1, *settings]
    for missing in (["--set", "checkpoint=nowhere"], ["--pairs-per-step", "9"]):
        assert train(*common, *missing).code == 2
        assert not Path("out/settings.json").exists()
    ran = train(*common, "--seed", 1)
    assert ran.code == 0, ran.err
    assert json.loads(Path("out/settings.json").read_text())["seed"] == 1


def test_a_missing_reward_is_found_before_a_row_is_read(
    train: Cli, folder: Path, settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pairuni_train import run

    def read(path: Path) -> None:
        raise AssertionError("a row was read")

    monkeypatch.setattr(run, "StoredPairs", read)
    reward = ["--set", 'gen.rewards=[{name="clipscore"}]']
    ran = train("run", "--pairs", folder, "--out", "out", *settings, *reward)
    assert ran.code == 2
    assert "The reward 'clipscore' needs `files`" in ran.error
    assert not Path("out").exists()


def test_training_tells_a_log_how_far_it_is(
    train: Cli, folder: Path, settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairuni_eval.progress.EVERY", 0.005)
    ran = train("run", "--pairs", folder, "--steps", 2, *settings)
    assert ran.code == 0, ran.err
    assert re.search(r"(?m)^pairuni on tiny: \d of 2 done, [\d.]+/(min|s), \d left", ran.err)


def test_building_pairs_tells_a_log_how_far_it_is(
    train: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from support import pair_sources

    monkeypatch.setattr("pairuni_eval.progress.EVERY", 0.0005)
    rows = [{"kind": "tiny", "rows": 20}]
    few: dict[str, object] = {"understanding": rows, "generation": rows, "pairs": 6}
    config = pair_sources.write_config(tmp_path / "pairs.toml", **few)
    ran = train("pairs", "build", "--config", config, "--arms", "random", "--out", "built")
    assert ran.code == 0, ran.err
    assert re.search(r"(?m)^understanding: reading rows: ", ran.err)
    # Six rows may be written between two lines of the log; the last one says so all the same.
    assert re.search(r"(?m)^random: writing\b.* (6 of 6 done|6/6)", ran.err)


@pytest.mark.parametrize("module", ["endpoint", "encoder"])
def test_who_writes_and_who_embeds_are_found_before_rows_are_read(
    train: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str
) -> None:
    from support import pair_sources

    from pairuni_train.pair_data import builder

    def read(*arguments: object) -> None:
        raise AssertionError("a row was read")

    monkeypatch.setattr(builder, "read_source", read)
    monkeypatch.setattr(builder, "write_rows", read)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    changes: dict[str, object] = (
        {"completion": {"completer": "endpoint", "writer": {"snapshot": "m"}}}
        if module == "endpoint"
        else {"encoder": {"name": "resnet50", "checkpoint": str(tmp_path)}}
    )
    config = pair_sources.write_config(tmp_path / "pairs.toml", **changes)
    ran = train("pairs", "build", "--config", config, "--out", "built")
    assert ran.code == 2
    wanted = {"endpoint": "OPENAI_API_KEY is not set", "encoder": "is not a checkpoint"}
    assert wanted[module] in ran.error


def test_a_matrix_of_single_pairs_from_the_command_line(train: Cli, tmp_path: Path) -> None:
    pairs = tmp_path / "my pairs"
    write_pairs(pairs / "aligned.parquet", small.tiny_pairs(10))
    common = ["--matrix", "--checkpoint", "tiny", "--pairs", pairs, "--matrix-pairs", 6]
    sizes = ["--set", "und.rollouts=6", "--set", "gen.rollouts=4", "--project", 5000]
    ran = train("probe", *common, *sizes, "--out", "out")
    assert ran.code == 0, ran.err
    head = ran.out.splitlines()[0].split()
    assert head[:4] == ["scenario", "answers", "class", "cosines"]
    for words in ("within the pair", "same concept, another picture", "nothing in common"):
        assert words in ran.out
    assert "p values are corrected by Holm" in ran.out
    assert "Controls, what was found and what is right: same 1.0000 (1), flip -1.0000" in ran.out
    assert "Gradients were projected to at most 5000 numbers of each block" in ran.out
    assert "\nMatrix: out\n" in ran.out
    summary = json.loads(Path("out/matrix.json").read_text())
    assert (summary["rollouts"], summary["pairs"]) == ({"und": 6, "gen": 4}, 6)
    assert "--seed 1 --out out-seed1 --beside out" in ran.next
    assert "--set und.rollouts=6" in ran.next and "--project 5000" in ran.next

    alone = train("probe", *common[1:5], "--project", 5000)
    assert alone.code == 2 and "options of a matrix" in alone.error
    missing = train("probe", *common, *sizes, "--out", "new", "--beside", "nowhere")
    assert missing.code == 2 and "There is no gradient matrix" in missing.error


FEW = ("--set", "pairs=6", "--set", "understanding.0.rows=40", "--set", "generation.0.rows=40")


def test_pair_sets_of_names_are_built_with_another_overlap(train: Cli) -> None:
    build = ("pairs", "build", "--preset", "tiny-names", "--arms", "random", "--out", "out")
    ran = train(*build, *FEW, "--set", "overlap=0.5")
    assert (ran.code, "SHORT" in ran.out) == (0, False)
    assert ran.next == "pairuni-train pairs check out/random.parquet --against tiny-heldout"
    assert json.loads(Path("out/config.json").read_text())["overlap"] == 0.5
    wrong = train(*build, *FEW, "--set", "overlap=0.55")
    assert wrong.code == 2
    assert "overlap 0.55: the nearest of 24 names is 0.583" in wrong.error


@pytest.mark.slow
def test_a_base_may_begin_with_tiny_and_stop_early(train: Cli) -> None:
    ran = train("pretrain-tiny", "--early", "--from-tiny", "--steps", 1, "--out", "base")
    assert ran.code == 0
    assert ran.next == "pairuni-eval run --checkpoint base"
    vocabulary = json.loads(Path("base/tokenizer.json").read_text())["model"]["vocab"]
    assert "bafem" in vocabulary
    assert json.loads(Path("base/pairuni.json").read_text())["step"] == 1
