"""The options of a run: what `--set` changes, and how a run is called."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from msgspec.structs import replace

from pairuni_eval.cli.measure import _default_out
from pairuni_eval.cli.report import _asked_again
from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.models.bagel.decodings import PRESETS, preset_of
from pairuni_eval.models.base import LoadOptions, Memory, Model
from pairuni_eval.places import name_of
from pairuni_eval.records import Capability, ModelIdentity
from pairuni_eval.report.sections import further_in_words
from pairuni_eval.runner.memory import check_room
from pairuni_eval.runner.plan import _asked, _check_changes, _run_card, load_components
from pairuni_eval.runner.settings import RunSettings
from pairuni_eval.store import layout
from pairuni_eval.store.write import write_record


def settings(*changes: str) -> RunSettings:
    return RunSettings(
        checkpoint="tiny", out=Path("r"), benchmarks=("tiny-pope",), changes=tuple(changes)
    )


def test_changes_go_before_what_card_and_model_say() -> None:
    usual = Decoding(max_tokens=5, cfg_scale=4.0, steps=35)
    assert settings().decoding(usual) is usual
    made = settings("decoding.steps=50", "decoding.cfg_renorm=global", "decoding.size=[512,384]")
    assert made.decoding(usual) == Decoding(
        max_tokens=5, cfg_scale=4.0, steps=50, cfg_renorm="global", size=(512, 384)
    )


def test_the_command_that_repeats_a_run_has_its_changes() -> None:
    command = settings("decoding.steps=50", "decoding.cfg_scale=2.5").command()
    assert command.endswith("--set decoding.steps=50 --set decoding.cfg_scale=2.5")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("decoding.stepps=50", "unknown key 'stepps' in decoding. Did you mean 'steps'"),
        ("decoding.steps=0", "steps"),
        ("decoding.temperature=-1", r"temperature"),
        ("decoding.temperature=nan", r"temperature"),
        ("decoding.cfg_scale=inf", r"cfg_scale"),
        ("decoding.top_p=7", r"top_p"),
        ("decoding.top_k=-1", r"top_k"),
        ("decoding.max_tokens=0", r"max_tokens"),
        ("decoding.cfg_renorm=all", "'all' is not a value of decoding.cfg_renorm"),
        ("seed=3", "unknown key 'seed'"),
        ("decoding.steps", "not of the form KEY=VALUE"),
    ],
)
def test_a_change_that_cannot_be_is_refused_before_anything_is_loaded(
    change: str, told: str
) -> None:
    with pytest.raises(UserError, match=told):
        settings(change).cards()


def test_checkpoints_of_two_trainings_have_two_names() -> None:
    one, other = (_default_out(f"{arm}/checkpoint-100", "paper", (), None) for arm in "ab")
    assert (one, other) == (
        Path("runs/a-checkpoint-100-paper"),
        Path("runs/b-checkpoint-100-paper"),
    )
    assert _default_out("OWNER/Janus-Pro-1B", "paper", (), 4).name == "Janus-Pro-1B-paper-limit4"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("tiny", "tiny"),
        ("checkpoint-100", "checkpoint-100"),
        ("runs/grpo/global_step_40", "grpo-global_step_40"),
        ("runs/grpo/best", "best"),
        ("/checkpoint-7", "checkpoint-7"),
    ],
)
def test_a_step_is_called_by_its_training_too(path: str, name: str) -> None:
    assert name_of(path) == name


class Published(Model):
    """A model whose authors published settings for one benchmark."""

    capabilities = frozenset({Capability.UNDERSTAND})
    identity = ModelIdentity(adapter="published", name="published", weights="w")

    @classmethod
    def load(cls, checkpoint: str, options: LoadOptions) -> Published:
        return cls()

    def decoding(self, capability: Capability, benchmark: str, card: Decoding) -> Decoding:
        return replace(card, steps=35, cfg_scale=5.0) if benchmark == "tiny-pope" else card


def test_what_follows_a_run_that_reads_pictures_is_of_the_run_that_drew_them(
    tmp_path: Path,
) -> None:
    asked = dataclasses.replace(settings("decoding.cfg_scale=2"), limit=3)
    drew = _run_card(asked, load_components(asked), Published(), {})
    write_record(tmp_path / "drew" / layout.RUN_FILE, drew)
    command = f"pairuni-eval run --checkpoint tiny --painter {tmp_path / 'drew'}"
    reads = replace(drew, limit=None, command=command)
    cut = ["--limit", "3", "--set", "decoding.cfg_scale=2"]
    assert _asked_again(reads) == ["--benchmarks", "tiny-pope", *cut]
    gone = replace(reads, command=command.replace("drew", "gone"))
    assert _asked_again(gone) == ["--benchmarks", "tiny-pope"]


def test_a_models_published_settings_go_before_the_cards_and_behind_the_users() -> None:
    asked = settings("decoding.cfg_scale=2")
    card = _run_card(asked, load_components(asked), Published(), {})
    decoding = card.benchmarks["tiny-pope"].decoding
    assert decoding.further == {"steps": 35} and decoding.cfg_scale == 2
    assert _asked_again(card)[-2:] == ["--set", "decoding.cfg_scale=2"]
    usual = settings()
    others = _run_card(usual, load_components(usual), Published(), {}).benchmarks["tiny-pope"]
    assert others.decoding.cfg_scale == 5.0 and others.decoding.id != decoding.id


class Greedy(Published):
    """One that says what it reads: nothing but the length of an answer."""

    capabilities = frozenset({Capability.UNDERSTAND})

    def settings(self, capability: Capability) -> frozenset[str]:
        return frozenset({"max_tokens"}) if capability is Capability.UNDERSTAND else frozenset()


def test_a_change_that_would_change_nothing_is_refused() -> None:
    asked = settings("decoding.steps=4")
    with pytest.raises(UserError, match=r"decoding\.steps would change nothing.*max_tokens"):
        _check_changes(asked, load_components(asked), Greedy())
    read = settings("decoding.max_tokens=4")
    _check_changes(read, load_components(read), Greedy())
    _check_changes(asked, load_components(asked), Published())  # which does not say


def test_two_adapters_of_one_checkpoint_are_two_runs() -> None:
    usual = settings()
    card = _run_card(usual, load_components(usual), Published(), {})
    other = replace(card, checkpoint=replace(card.checkpoint, adapter="another"))
    differing = [key for key, one in _asked(card).items() if one != _asked(other)[key]]
    assert differing == ["adapter"]


class WithPresets(Published):
    """A model with two published decodings of answers."""

    PRESETS: ClassVar[dict[str, Decoding]] = {
        "published@short": Decoding(max_tokens=19),
        "published@long": Decoding(max_tokens=999, temperature=0.5),
    }

    def presets(self, capability: Capability) -> Mapping[str, Decoding]:
        return self.PRESETS if capability is Capability.UNDERSTAND else {}


def test_a_preset_takes_the_place_of_the_usual_settings_and_is_named() -> None:
    asked = settings("decoding.preset=published@long")
    card = _run_card(asked, load_components(asked), WithPresets(), {})
    part = card.benchmarks["tiny-pope"]
    assert (part.preset, part.decoding) == ("published@long", WithPresets.PRESETS[part.preset])
    assert card.command.endswith("--set decoding.preset=published@long")
    # What is changed beside it is no longer what was published.
    more = settings("decoding.preset=published@long", "decoding.max_tokens=7")
    other = _run_card(more, load_components(more), WithPresets(), {}).benchmarks["tiny-pope"]
    assert (other.preset, other.decoding.max_tokens, other.decoding.temperature) == ("", 7, 0.5)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (WithPresets, "Unknown preset 'published@lonk'.*published@long"),
        (Published, "the adapter 'published' has no presets"),
    ],
)
def test_an_unknown_preset_is_refused_with_the_nearest(model: type[Published], told: str) -> None:
    asked = settings("decoding.preset=published@lonk")
    with pytest.raises(UserError) as caught:
        _run_card(asked, load_components(asked), model(), {})
    assert re.search(told, f"{caught.value.message} {caught.value.hint}")


def test_bagels_own_settings_have_names() -> None:
    names = {name for known in PRESETS.values() for name in known}
    asked = {"geneval", "wise", "imgedit", "gedit", "app", "lmms-eval"}
    assert {f"bagel@{one}" for one in asked} <= names
    for capability, known in PRESETS.items():
        assert preset_of(capability, "no-such") in known
    assert preset_of(Capability.EDIT, "gedit") == "bagel@gedit"
    assert preset_of(Capability.GENERATE, "gedit") == "bagel@geneval"
    app = PRESETS[Capability.EDIT]["bagel@app"]
    assert (app.cfg_image_scale, app.cfg_renorm, app.cfg_interval) == (2, "text_channel", (0, 1))


def test_weights_that_do_not_fit_are_refused_with_both_figures() -> None:
    wide = Memory(58_400_000_000, "float32", "cuda")
    check_room(wide, None)
    check_room(wide, 80_000_000_000)
    with pytest.raises(UserError) as caught:
        check_room(wide, 40_000_000_000)
    told = "The weights take 58.4 GB in float32, and cuda has 40.0 GB."
    assert caught.value.message == told
    assert caught.value.hint == "In bfloat16 they take 29.2 GB: --dtype bfloat16"
    with pytest.raises(UserError) as caught:
        check_room(wide, 20_000_000_000)
    assert "more memory" in str(caught.value.hint)


def test_the_run_card_prints_what_only_some_models_have() -> None:
    assert further_in_words(Decoding(temperature=1.0)) == "-"
    made = Decoding(steps=50, cfg_interval=(0.4, 1.0), timestep_shift=3.0, thinking=True)
    words = "steps 50, cfg interval 0.4 to 1, timestep shift 3, thinking yes"
    assert further_in_words(made) == words
