"""Lumina-DiMOO's network with joined products: the plain one's logits, and when it stands in."""

from __future__ import annotations

import pytest
import torch

from pairuni_eval.models import joint_products
from pairuni_eval.models.lumina_dimoo.joint_network import JointNetwork, for_sampling
from pairuni_eval.models.lumina_dimoo.network import Network, VocabularySlice
from pairuni_eval.tiny import dimoo

SMALL = dimoo.TinyDimooSize(hidden=32, layers=3, heads=2, feed_forward=48, vq_channels=8)
CODES = VocabularySlice(100, 132)


@pytest.fixture
def network() -> Network:
    """A small one whose norms scale, so that a scale that is left out would show."""
    made = dimoo.build(0, SMALL).network.eval()
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for block in made.blocks:
            for norm in (block.attn_norm, block.ff_norm):
                norm.weight.uniform_(0.5, 2.0, generator=draws)
    return made


def asked(rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens, and five places of each row, in no order."""
    draws = torch.Generator().manual_seed(2)
    ids = torch.randint(0, 200, (rows, length), generator=draws)
    places = [torch.randperm(length - 4, generator=draws)[:5] for _ in range(rows)]
    return ids, torch.stack(places)


@pytest.mark.parametrize(("rows", "length"), [(2, 9), (20, 21)], ids=["few", "more-than-words"])
def test_logits_are_those_of_the_network(network: Network, rows: int, length: int) -> None:
    ids, places = asked(rows, length)
    keep = torch.ones(rows, length, dtype=torch.bool)
    keep[::2, -3:] = False
    joint = JointNetwork(network)
    for mask in (None, keep):
        with torch.no_grad():
            wanted = network(ids, mask, places_BP=places, columns=CODES)
        assert wanted.shape == (rows, 5, 32)
        torch.testing.assert_close(
            joint(ids, mask, places_BP=places, columns=CODES), wanted, rtol=1e-5, atol=1e-5
        )


def test_padding_is_never_looked_at(network: Network) -> None:
    ids, places = asked(3, 12)
    keep = torch.ones(3, 12, dtype=torch.bool)
    keep[:, -3:] = False
    joint = JointNetwork(network)
    before = joint(ids, keep, places_BP=places)
    ids[:, -3:] = (ids[:, -3:] + 1) % 200
    assert torch.equal(joint(ids, keep, places_BP=places), before)


@pytest.mark.parametrize("name", ["q_proj", "v_proj", "attn_norm", "up_proj", "ff_out"])
def test_a_sampling_sees_the_weights_of_its_beginning(network: Network, name: str) -> None:
    ids, places = asked(20, 21)
    before = for_sampling(network)(ids, places_BP=places)
    with torch.no_grad():
        network.blocks[0].get_submodule(name).get_parameter("weight").mul_(1.5)
        wanted = network(ids, places_BP=places)
    assert (wanted - before).abs().max() > 1e-3
    torch.testing.assert_close(
        for_sampling(network)(ids, places_BP=places), wanted, rtol=1e-5, atol=1e-5
    )


def test_the_network_stands_for_itself_where_it_is_large_wrapped_cast_or_not_in_float32(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(for_sampling(network), JointNetwork)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert for_sampling(network) is network
    plain = network.blocks[1].up_proj
    network.blocks[1].up_proj = type("Wrapped", (torch.nn.Linear,), {})(32, 48, bias=False)
    assert for_sampling(network) is network
    network.blocks[1].up_proj = plain
    with monkeypatch.context() as patch:
        numbers = sum(one.numel() for one in network.model.transformer.blocks.parameters())
        patch.setattr(joint_products, "JOINED_BELOW", numbers)
        assert for_sampling(network) is network
        patch.setattr(joint_products, "JOINED_BELOW", numbers + 1)
        assert isinstance(for_sampling(network), JointNetwork)
    assert for_sampling(network.bfloat16()) is network
