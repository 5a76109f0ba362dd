"""Supervised fine-tuning and the stochastic step of BAGEL, against recorded official numbers.

The recorded arrays are described beside them, in shared/data/models/bagel/README.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from pairuni_eval.models.bagel import pictures as pics
from pairuni_eval.models.bagel.loading import LoadedBagel, load_bagel
from pairuni_eval.models.bagel.packing import (
    Dropped,
    LatentPicture,
    Pack,
    SamplePart,
    SeenPicture,
    Words,
    pack,
)
from pairuni_eval.models.bagel.stochastic import stochastic_step
from pairuni_eval.models.bagel.supervised import losses, noised_time
from pairuni_eval.models.bagel.trained import shared_weights
from pairuni_eval.models.base import LoadOptions

CLOSE = 1e-4
Arrays = Mapping[str, "np.ndarray[Any, Any]"]


class Recorded(NamedTuple):
    folder: Path
    loaded: LoadedBagel

    def arrays(self, name: str) -> Arrays:
        with np.load(self.folder / f"{name}.npz") as found:
            return dict(found)

    def table(self, name: str) -> Any:
        return json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def recorded(shared: Path) -> Recorded:
    folder = shared / "data" / "models" / "bagel"
    if not folder.is_dir():
        pytest.skip(f"no recorded outputs of BAGEL in {folder}")
    return Recorded(folder, load_bagel(folder / "checkpoint", LoadOptions(device="cpu")))


def close(ours: Tensor, theirs: np.ndarray[Any, Any], within: float = CLOSE) -> None:
    torch.testing.assert_close(ours.detach(), torch.from_numpy(theirs), rtol=0, atol=within)


def words_in(ids: list[int]) -> list[list[int]]:
    """The texts between their marks in a row of words and marks."""
    texts: list[list[int]] = []
    for id_ in ids:
        if id_ == 367:
            texts.append([])
        elif id_ == 368 and texts:
            texts[-1].append(-1)
        elif id_ < 367 and texts and (not texts[-1] or texts[-1][-1] != -1):
            texts[-1].append(id_)
    return [text[:-1] for text in texts]


class Pictures:
    """The recorded pictures of a pack, in order."""

    def __init__(self, arrays: Arrays, shift: float) -> None:
        self._arrays, self._shift = arrays, shift
        self._seen = self._latent = self._tokens = self._patches = self._noise = 0

    def seen(self) -> SeenPicture:
        count = int(self._arrays["vit_token_seqlens"][self._seen])
        here = slice(self._patches, self._patches + count)
        self._seen, self._patches = self._seen + 1, here.stop
        return SeenPicture(
            torch.from_numpy(self._arrays["packed_vit_tokens"][here]),
            torch.from_numpy(self._arrays["packed_vit_position_ids"][here]),
        )

    def latent(self) -> LatentPicture:
        rows, columns = self._arrays["patchified_vae_latent_shapes"][self._latent].tolist()
        here = slice(self._tokens, self._tokens + rows * columns)
        latent = self._arrays["padded_latent"][self._latent][:, : 2 * rows, : 2 * columns]
        self._latent, self._tokens = self._latent + 1, here.stop
        raw = float(self._arrays["packed_timesteps"][here.start])
        tokens = pics.patches(torch.from_numpy(latent), 2)
        places = torch.from_numpy(self._arrays["packed_latent_position_ids"][here])
        if raw == -np.inf:
            return LatentPicture(tokens, places)
        noise = torch.from_numpy(self._arrays["noise"][here])
        time = noised_time(raw, self._shift)
        assert time == pytest.approx(float(self._arrays["t"][here.start]), abs=1e-6)
        return LatentPicture(tokens, places, time, noise)


def packed(recorded: Recorded, name: str) -> Pack:
    arrays, shift = recorded.arrays(name), recorded.table("sft")[name]["timestep_shift"]
    shown = Pictures(arrays, shift)
    texts = iter(words_in(arrays["packed_text_ids"].tolist()))

    def asked() -> list[SamplePart]:
        return [shown.seen(), Words(next(texts)), Words(next(texts), taught=True)]

    def drawn() -> list[SamplePart]:
        return [Words(next(texts)), shown.latent()]

    def edited() -> list[SamplePart]:
        return [shown.latent(), shown.seen(), Words(next(texts)), shown.latent()]

    both = [asked(), asked()] if name != "sft_mixed_sizes" else [asked()]
    return pack([*both, drawn(), edited()], recorded.loaded.marks)


@pytest.mark.parametrize("name", ["sft_packed", "sft_packed_shift4", "sft_mixed_sizes"])
def test_a_pack_is_laid_out_and_scored_as_officially(recorded: Recorded, name: str) -> None:
    arrays, case = recorded.arrays(name), recorded.table("sft")[name]
    made = packed(recorded, name)
    length = len(made)
    assert made.ids_W.tolist() == arrays["packed_text_ids"][: len(made.ids_W)].tolist()
    assert made.words_W.tolist() == arrays["packed_text_indexes"][: len(made.ids_W)].tolist()
    assert made.positions_L.tolist() == arrays["packed_position_ids"][:length].tolist()
    assert made.taught_E.tolist() == arrays["ce_loss_indexes"].tolist()
    assert made.labels_E.tolist() == arrays["packed_label_ids"].tolist()
    close(made.weight_E, arrays["ce_loss_weights"], 1e-6)
    seen = made.visible()
    first = 0
    for number in range(int(made.sample_L.max()) + 1):
        mask = arrays[f"mask_{number}"]
        here = slice(first, first + len(mask))
        assert np.array_equal(seen[here, here].numpy(), mask), number
        assert not bool(seen[here, here.stop :].any())
        first = here.stop
    found = losses(recorded.loaded.network, made)
    close(found.words_E, arrays["ce_per_token"])
    close(found.velocities_TC, arrays["mse_per_token_channel"])
    ce, mse = found.words_E.mean(), found.velocities_TC.mean()
    assert ce.item() == pytest.approx(case["ce"], abs=CLOSE)
    assert mse.item() == pytest.approx(case["mse"], abs=CLOSE)
    reweighted = (found.words_E * made.weight_E).sum() / made.weight_E.sum()
    assert reweighted.item() == pytest.approx(case["ce_reweighted"], abs=CLOSE)


def test_every_weight_has_the_official_gradients(recorded: Recorded) -> None:
    network, table = recorded.loaded.network, recorded.table("sft_packed_grads")
    weights = {name: one for name, one in network.named_parameters() if one.requires_grad}
    assert set(table) == set(weights)
    found = losses(network, packed(recorded, "sft_packed"))
    grads = []
    for loss in (found.words_E.mean(), found.velocities_TC.mean()):
        taken = torch.autograd.grad(
            loss, list(weights.values()), retain_graph=True, allow_unused=True
        )
        grads.append(dict(zip(weights, taken, strict=True)))
    shared = []
    for name, expected in table.items():
        ce, mse = (one[name] for one in grads)
        norms = [0.0 if one is None else float(one.norm()) for one in (ce, mse)]
        np.testing.assert_allclose(norms, [expected["ce"], expected["mse"]], rtol=1e-4, atol=1e-7)
        if norms[0] and norms[1]:
            shared.append(name)
            assert float((ce * mse).sum()) == pytest.approx(
                expected["dot"], rel=1e-3, abs=1e-5 * norms[0] * norms[1] + 1e-7
            )
    assert (len(table), len(shared)) == (109, 62)
    layers = recorded.loaded.config.language.num_hidden_layers
    assert sorted(shared_weights(weights, layers)) == sorted(shared)
    arrays = recorded.arrays("sft_packed")
    for key in (key for key in arrays if key.startswith("grad_total/")):
        name = key.partition("/")[2]
        total = sum(one[name] for one in grads if one[name] is not None)
        assert isinstance(total, Tensor)
        close(total, arrays[key])


@pytest.mark.parametrize("dropped", ["text", "vit", "vae", "all"])
def test_a_dropped_picture_keeps_its_position(recorded: Recorded, dropped: str) -> None:
    arrays, expected = recorded.arrays("sft_packed"), recorded.table("sft")
    shown = Pictures(arrays, 1.0)
    shown.seen(), shown.seen(), shown.latent()  # of the samples before the edit
    parts: dict[str, SamplePart] = {
        "vae": shown.latent(),
        "vit": shown.seen(),
        "text": Words(words_in(arrays["packed_text_ids"].tolist())[-1]),
    }
    left: list[SamplePart] = []
    for name, part in parts.items():
        if dropped not in {name, "all"}:
            left.append(part)
        elif name != "text":
            left.append(Dropped())
    made = pack([[*left, shown.latent()]], recorded.loaded.marks)
    case = expected[f"pack_edit_drop_{dropped}"]
    assert made.positions_L.tolist() == case["position_ids"]
    assert made.ids_W.tolist() == case["text_ids"]
    assert made.words_W.tolist() == case["text_indexes"]
    assert [len(made)] == case["sample_lens"]


@pytest.mark.parametrize("level", [0.7, 1.3])
@pytest.mark.parametrize("step", [0, 2, 4])
def test_a_stochastic_step(recorded: Recorded, level: float, step: int) -> None:
    arrays = recorded.arrays("sde_step")
    times = arrays["sigmas"].tolist()

    def array(name: str) -> Any:
        return arrays[f"noise{level}_step{step}_{name}"]

    made = stochastic_step(
        torch.from_numpy(array("x"))[None],
        torch.from_numpy(array("v"))[None],
        torch.from_numpy(array("noise"))[None],
        times=(times[step], times[step + 1]),
        cap=times[1],
        level=level,
    )
    close(made.next_NTC[0], array("next"))
    close(made.mean_NTC[0], array("mean"))
    close(made.logp_N[0], array("logp_bagel"))
    assert float(made.spread) == pytest.approx(float(array("std")[0]), abs=1e-5)
