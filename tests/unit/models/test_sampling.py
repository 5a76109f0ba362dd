"""From logits to tokens: support, order of the filters, and the right frequencies."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from pairuni_eval.decoding import Decoding
from pairuni_eval.models.janus.text_sampler import Vocabulary, ban
from pairuni_eval.models.sampling import guide, logp_of, pick, uniforms, warp

INF = float("inf")


def logits(*rows: list[float]) -> Tensor:
    return torch.tensor(rows)


def draws(row_V: Tensor, count: int, seed: int = 0) -> Tensor:
    """Many draws from one row."""
    uniform_B = torch.rand(
        count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return pick(row_V.expand(count, -1), uniform_B, greedy=False)


def warped(row_1V: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    return warp(row_1V, temperature, top_k, top_p)


def test_the_default_decoding_filters_nothing() -> None:
    assert (Decoding().top_k, Decoding().top_p) == (0, 1.0)


def test_top_k_zero_keeps_every_token() -> None:
    row_1V = torch.linspace(-3, 3, 2000)[None]
    assert torch.equal(warped(row_1V), row_1V)
    assert len(draws(warped(torch.zeros(1, 200)), 20_000).unique()) == 200


@pytest.mark.parametrize("k", [1, 3, 50])
def test_top_k_keeps_the_k_likeliest(k: int) -> None:
    row_1V = torch.randn(1, 200, generator=torch.Generator().manual_seed(1))
    kept = warped(row_1V, top_k=k)[0].isfinite().nonzero()[:, 0]
    assert set(kept.tolist()) == set(row_1V[0].topk(k).indices.tolist())
    seen = draws(warped(row_1V, top_k=k), 5000).unique().tolist()
    assert set(seen) <= set(kept.tolist())


def test_top_k_beyond_the_vocabulary_keeps_all() -> None:
    row_1V = torch.randn(1, 5)
    assert torch.equal(warped(row_1V, top_k=9), row_1V)


@pytest.mark.parametrize(
    ("p", "kept"), [(0.4, {2}), (0.5, {2}), (0.51, {2, 0}), (0.8, {2, 0}), (0.81, {2, 0, 1})]
)
def test_top_p_keeps_the_smallest_set_with_that_mass(p: float, kept: set[int]) -> None:
    # Shares 0.3, 0.15, 0.5, 0.05; sums from the top 0.5, 0.8, 0.95, 1.
    row_1V = torch.tensor([[0.3, 0.15, 0.5, 0.05]], dtype=torch.float64).log()
    out_V = warped(row_1V, top_p=p - 1e-9 if p in (0.5, 0.8) else p)[0]
    assert set(out_V.isfinite().nonzero()[:, 0].tolist()) == kept
    assert torch.equal(out_V[out_V.isfinite()], row_1V[0][out_V.isfinite()])


def test_temperature_comes_before_the_filters() -> None:
    row_1V = torch.tensor([[0.6, 0.3, 0.1]]).log()
    # At temperature 0.25 the first token alone has more than 0.9 of the mass.
    out_V = warped(row_1V, temperature=0.25, top_p=0.9)[0]
    assert out_V.isfinite().tolist() == [True, False, False]
    assert out_V[0].item() == pytest.approx(4 * math.log(0.6))


def test_greedy_is_the_argmax_whatever_the_uniform_number() -> None:
    rows_BV = logits([0.0, 2.0, 1.0], [5.0, 2.0, 1.0])
    for number in (0.0, 0.5, 0.999999):
        uniform_B = torch.full((2,), number, dtype=torch.float64)
        assert pick(rows_BV, uniform_B, greedy=True).tolist() == [1, 0]
    assert torch.equal(warped(rows_BV, temperature=0.0, top_k=1), rows_BV)


def test_a_uniform_number_meets_the_inverse_of_the_distribution() -> None:
    row_1V = torch.tensor([[0.25, 0.5, 0.25]], dtype=torch.float64).log()
    for number, token in [
        (0.0, 0),
        (0.2499, 0),
        (0.2501, 1),
        (0.7499, 1),
        (0.7501, 2),
        (0.9999, 2),
    ]:
        picked = pick(row_1V, torch.tensor([number], dtype=torch.float64), greedy=False)
        assert picked.tolist() == [token], number


@pytest.mark.parametrize("number", [0.0, 0.5, 1.0 - 2**-53])
def test_a_token_without_mass_is_never_picked(number: float) -> None:
    row_1V = logits([-INF, 0.0, -INF, 0.0, -INF])
    uniform_B = torch.tensor([number], dtype=torch.float64)
    assert pick(row_1V, uniform_B, greedy=False).item() in (1, 3)


def test_frequencies_follow_the_softmax() -> None:
    row_1V = torch.randn(1, 20, generator=torch.Generator().manual_seed(3))
    counts = draws(row_1V, 50_000, seed=4).bincount(minlength=20)
    expected = row_1V[0].double().softmax(-1) * 50_000
    assert stats.chisquare(counts.numpy(), expected.numpy()).pvalue > 0.001
    flat = torch.full((20,), 2500.0)
    assert stats.chisquare(counts.numpy(), flat.numpy()).pvalue < 1e-9


def test_a_requests_numbers_are_its_own() -> None:
    here = torch.device("cpu")
    together = uniforms([5, 6, 7], 8, here)
    assert torch.equal(together[1:2], uniforms([6], 8, here))
    assert torch.equal(uniforms([6], 12, here)[:, :8], together[1:2])
    assert not torch.equal(together[0], together[1])
    assert float(together.min()) >= 0.0
    assert float(together.max()) < 1.0


def test_guidance_moves_from_unconditional_to_conditional_and_beyond() -> None:
    both_CV = logits([1.0, 2.0], [3.0, -2.0])
    assert torch.equal(guide(both_CV, 0.0), both_CV[1:])
    assert torch.equal(guide(both_CV, 1.0), both_CV[:1])
    assert guide(both_CV, 5.0).tolist() == [[3.0 + 5 * (1.0 - 3.0), -2.0 + 5 * (2.0 + 2.0)]]


def test_the_log_prob_is_that_of_the_picked_token() -> None:
    rows_BV = torch.tensor([[0.25, 0.75], [0.5, 0.5]]).log()
    found = logp_of(rows_BV, torch.tensor([1, 0])).exp()
    assert found.tolist() == pytest.approx([0.75, 0.5])


def test_banned_words_have_no_mass_whatever_their_logits() -> None:
    rows_BV = torch.zeros(4, 10)
    rows_BV[:, [2, 7]] = 1e30
    out_BV = ban(rows_BV, Vocabulary(end=0, pad=1, banned=(2, 7)))
    assert out_BV.softmax(-1)[:, [2, 7]].sum().item() == 0.0
    assert out_BV.argmax(-1).tolist() == [0, 0, 0, 0]
    assert rows_BV[0, 2] > 0  # the model's own logits are left alone
