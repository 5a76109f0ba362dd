"""The sampler against replay, against transformers, and against itself in other company.

Everything runs on the shipped tiny weights in float32 on the CPU.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import JanusForConditionalGeneration

from pairuni_eval import prompts as forms
from pairuni_eval.decoding import Decoding
from pairuni_eval.models import joint_products
from pairuni_eval.models.base import PolicyLogits, Request, Rollout, Task, View
from pairuni_eval.models.janus import JanusPolicy, decoder_layers, token_loop
from pairuni_eval.models.janus.token_loop import TokenLoop
from pairuni_eval.tiny import edits, janus, prompts, questions, world

TEXT = Decoding(temperature=1.0, max_tokens=24)
GREEDY = Decoding(temperature=0.0, cfg_scale=5.0)
TOLERANCE = 1e-5


def allowed(cfg_scale: float) -> float:
    """The tolerance under guidance: u + w (c - u) multiplies both branches' rounding."""
    return TOLERANCE * (2 * cfg_scale - 1)


def drawing(cfg_scale: float) -> Decoding:
    return Decoding(temperature=1.0, cfg_scale=cfg_scale)


@pytest.fixture(scope="module")
def tiny(tiny_weights: Path) -> janus.Tiny:
    torch.set_num_threads(1)
    return janus.load(tiny_weights)


@pytest.fixture(scope="module")
def policy(tiny: janus.Tiny) -> JanusPolicy:
    return JanusPolicy(tiny.model, tiny.processor).eval()


def request(parts: Sequence[Any], decoding: Decoding, number: int) -> Request:
    return Request(tuple(parts), decoding, 1000 + number, f"request-{number}")


def draw_requests(count: int, decoding: Decoding) -> list[Request]:
    """Prompts of every task, of many lengths."""
    rows = [prompts.geneval_rows(tag) for tag in prompts.TAGS]
    turns = [row["prompt"] for turn in zip(*rows, strict=False) for row in turn]
    texts = [turns[i % len(turns)] for i in range(count)]
    return [request([text], decoding, i) for i, text in enumerate(texts)]


def edit_requests(count: int, decoding: Decoding) -> list[Request]:
    rng = random.Random(7)
    pairs = [edits.random_edit(rng) for _ in range(count)]
    return [
        request([world.render(scene), edit.prompt], decoding, i)
        for i, (scene, edit) in enumerate(pairs)
    ]


def text_requests(count: int, decoding: Decoding) -> list[Request]:
    rng = random.Random(8)
    found = []
    for i in range(count):
        scene, question = questions.random_question(rng)
        text = forms.mmmu_prompt(question.text, question.options("B") if i % 3 else ())
        if i % 3 == 2:  # a long answer
            text = janus.READ_GRID.format("color shape")
        found.append(request([world.render(scene), text], decoding, i))
    return found


def requests_of(kind: str, count: int, cfg_scale: float) -> tuple[Task, list[Request]]:
    if kind == "answer":
        return "und", text_requests(count, TEXT)
    make = draw_requests if kind == "draw" else edit_requests
    return "gen", make(count, drawing(cfg_scale))


def view_of(policy: JanusPolicy, rollout: Rollout) -> View:
    (view,) = policy.plan_views(rollout, range(len(rollout)))
    return view


def replay(policy: JanusPolicy, rollout: Rollout, logits: PolicyLogits = "cfg") -> Tensor:
    with torch.no_grad():
        return policy(rollout, view_of(policy, rollout), policy_logits=logits).logp_NT


def changed(rollout: Rollout, tokens_NT: Tensor) -> Rollout:
    return Rollout(
        rollout.task, tokens_NT, rollout.mask_NT, rollout.conditions, rollout.fixed_length
    )


# Replay


@pytest.mark.parametrize(
    ("kind", "cfg_scale"),
    [("draw", 1.0), ("draw", 5.0), ("edit", 1.0), ("edit", 5.0), ("answer", 1.0)],
)
def test_replay_gives_the_samplers_log_probs(
    policy: JanusPolicy, kind: str, cfg_scale: float
) -> None:
    task, asked = requests_of(kind, 18, cfg_scale)
    rollout = policy.sample(task, asked, record_logp=True)
    assert rollout.sampler_logp_NT is not None
    gap_NT = (replay(policy, rollout) - rollout.sampler_logp_NT).abs()
    assert rollout.mask_NT.any(dim=1).all()
    # Behind an answer stand a vision tower and a longer prompt: against float64 the sampler and
    # transformers' forward are each off by up to 1e-5, by the kernels of the machine.
    assert float(gap_NT.max()) <= allowed(cfg_scale) * (2 if kind == "answer" else 1)
    assert float(gap_NT[rollout.mask_NT].quantile(0.95)) <= TOLERANCE


@pytest.mark.parametrize("kind", ["draw", "edit", "answer"])
def test_replay_divides_by_the_temperature(policy: JanusPolicy, kind: str) -> None:
    task, asked = requests_of(kind, 6, 5.0)
    warm = Decoding(temperature=0.7, cfg_scale=asked[0].decoding.cfg_scale, max_tokens=24)
    rollout = policy.sample(task, [r._replace(decoding=warm) for r in asked], record_logp=True)
    assert rollout.sampler_logp_NT is not None
    gap_NT = (replay(policy, rollout) - rollout.sampler_logp_NT).abs()
    assert float(gap_NT.max()) <= allowed(5.0)


def test_answers_end_at_different_places_and_padding_counts_nothing(policy: JanusPolicy) -> None:
    rollout = policy.sample("und", text_requests(18, TEXT), record_logp=True)
    lengths_N = rollout.mask_NT.sum(dim=1)
    assert len(lengths_N.unique()) > 1, "the case needs answers of several lengths"
    assert (replay(policy, rollout)[~rollout.mask_NT] == 0).all()
    ends_N = rollout.tokens_NT.gather(1, (lengths_N - 1)[:, None])[:, 0]
    whole = ends_N == policy.vocabulary.end
    assert (whole | (lengths_N == rollout.tokens_NT.shape[1])).all()


def test_guided_and_conditional_log_probs_differ(policy: JanusPolicy) -> None:
    guided = policy.sample("gen", draw_requests(12, drawing(5.0)))
    gap_NT = replay(policy, guided, "cfg") - replay(policy, guided, "conditional")
    assert float(gap_NT.abs().max()) > 0.05
    detached_NT = replay(policy, guided, "cfg_detached_uncond")
    assert torch.equal(replay(policy, guided, "cfg"), detached_NT)
    plain = policy.sample("gen", draw_requests(12, drawing(1.0)))
    assert torch.equal(replay(policy, plain, "cfg"), replay(policy, plain, "conditional"))


@pytest.mark.parametrize("kind", ["draw", "edit", "answer"])
def test_tokens_shifted_by_one_are_clearly_less_likely(policy: JanusPolicy, kind: str) -> None:
    task, asked = requests_of(kind, 18, 5.0)
    rollout = policy.sample(task, asked)
    own_NT = -replay(policy, rollout)
    for step in (1, -1):
        shifted = changed(rollout, rollout.tokens_NT.roll(step, dims=1))
        other_NT = -replay(policy, shifted)
        moved_NT = rollout.mask_NT & (shifted.tokens_NT != rollout.tokens_NT)
        moved_NT &= other_NT.isfinite()  # padding that moved in is banned
        assert int(moved_NT.sum()) > 20
        assert float(other_NT[moved_NT].mean()) > float(own_NT[moved_NT].mean()) + 0.5


# Gradients


def gradients(policy: JanusPolicy, rollout: Rollout, logits: PolicyLogits) -> dict[str, float]:
    """The largest gradient of each part of the model; 0 where none arrives."""
    policy.zero_grad(set_to_none=True)
    policy(rollout, view_of(policy, rollout), policy_logits=logits).logp_NT.sum().backward()
    found: dict[str, float] = {}
    for name, parameter in policy.janus.named_parameters():
        part = name.removeprefix("model.").split(".")[0]
        size = 0.0 if parameter.grad is None else float(parameter.grad.abs().max())
        assert size == size, f"{name} has a gradient that is not a number"
        found[part] = max(found.get(part, 0.0), size)
    policy.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("logits", ["conditional", "cfg", "cfg_detached_uncond"])
def test_drawing_trains_the_language_model_and_its_own_head(
    policy: JanusPolicy, logits: PolicyLogits
) -> None:
    found = gradients(policy, policy.sample("gen", draw_requests(4, drawing(5.0))), logits)
    for part in ("language_model", "generation_head", "generation_aligner"):
        assert found[part] > 0, part
    for part in ("vision_model", "aligner", "lm_head", "vqmodel"):
        assert found[part] == 0, part


def test_answering_trains_the_language_model_the_eye_and_the_text_head(
    policy: JanusPolicy,
) -> None:
    rollout = policy.sample("und", text_requests(6, TEXT))
    found = gradients(policy, rollout, "conditional")
    for part in ("language_model", "vision_model", "aligner", "lm_head"):
        assert found[part] > 0, part
    for part in ("generation_head", "generation_aligner", "generation_embeddings", "vqmodel"):
        assert found[part] == 0, part


def test_a_detached_unconditional_row_carries_no_gradient(policy: JanusPolicy) -> None:
    rollout = policy.sample("gen", draw_requests(4, drawing(5.0)))
    both, one = (gradients(policy, rollout, x) for x in ("cfg", "cfg_detached_uncond"))  # type: ignore[arg-type]
    assert abs(both["language_model"] - one["language_model"]) > 1e-3 * one["language_model"]


def test_shared_parameters_are_exactly_those_both_tasks_reach(policy: JanusPolicy) -> None:
    shared = policy.shared_parameters()
    assert {name.split(".")[1:3] == ["model", "language_model"] for name in shared} == {True}
    inner = policy.janus.model.language_model
    assert len(shared) == len(list(inner.parameters()))


# Against transformers


def theirs(tiny: janus.Tiny, texts: Sequence[str], scale: float) -> Tensor:
    """transformers' own greedy codes."""
    inputs = tiny.processor(
        text=[janus.chat(text) for text in texts],
        generation_mode="image",
        padding=True,
        return_tensors="pt",
    )
    return tiny.model.generate(
        **inputs, generation_mode="image", do_sample=False, guidance_scale=scale
    )


@pytest.mark.parametrize("scale", [5.0, 2.0])
def test_greedy_codes_are_transformers(tiny: janus.Tiny, policy: JanusPolicy, scale: float) -> None:
    asked = draw_requests(12, Decoding(temperature=0.0, cfg_scale=scale))
    ours_NT = policy.sample("gen", asked).tokens_NT
    assert torch.equal(ours_NT, theirs(tiny, [r.text for r in asked], scale))
    assert len({tuple(row) for row in ours_NT.tolist()}) > 6, "the case needs different images"


def test_greedy_answers_are_transformers(tiny: janus.Tiny, policy: JanusPolicy) -> None:
    asked = text_requests(8, Decoding(temperature=0.0, max_tokens=12))
    images = [r.parts[0] for r in asked]
    inputs = tiny.processor(
        text=[janus.chat(r.text, images=1) for r in asked],
        images=images,
        padding=True,
        return_tensors="pt",
    )
    said = tiny.model.generate(**inputs, generation_mode="text", do_sample=False, max_new_tokens=12)
    words = tiny.processor.tokenizer.batch_decode(
        said[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    replies = policy.decode(policy.sample("und", asked))
    assert [reply.text for reply in replies] == [text.strip() for text in words]


def test_pictures_are_transformers(tiny: janus.Tiny, policy: JanusPolicy) -> None:
    rollout = policy.sample("gen", draw_requests(4, drawing(5.0)))
    pixels = tiny.model.decode_image_tokens(rollout.tokens_NT)
    arrays = tiny.processor.postprocess(
        list(pixels.float().permute(0, 3, 1, 2)), return_tensors="pt"
    )["pixel_values"]
    expected = torch.stack(list(arrays)).round().to(torch.int16)
    for reply, theirs_CHW in zip(policy.decode(rollout), expected, strict=True):
        assert reply.image is not None
        ours = torch.tensor(list(reply.image.tobytes()), dtype=torch.int16)
        other = theirs_CHW if theirs_CHW.shape[-1] == 3 else theirs_CHW.permute(1, 2, 0)
        assert int((ours - other.reshape(-1)).abs().max()) <= 1


def small_policy(*, kv_heads: int, codes: int = 32) -> tuple[janus.Tiny, JanusPolicy]:
    """An untrained model with grouped heads and many codes."""
    size = janus.TinySize(
        hidden=64, layers=2, heads=4, feed_forward=64, vision_hidden=32, codes=codes
    )
    processor = janus.build_processor()
    config = janus.build_config(processor.tokenizer, size)
    config.text_config.num_key_value_heads = kv_heads
    torch.manual_seed(3)
    model = JanusForConditionalGeneration(config).eval()
    torch.manual_seed(4)
    for parameter in model.model.language_model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.3)
    for part in (model.model.generation_head, model.model.generation_embeddings):
        for parameter in part.parameters():
            nn.init.normal_(parameter, std=0.5)
    built = janus.build(0, size)
    model.generation_config = built.model.generation_config
    return janus.Tiny(model, processor), JanusPolicy(model, processor).eval()


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_grouped_heads_give_transformers_codes(kv_heads: int) -> None:
    tiny, policy = small_policy(kv_heads=kv_heads)
    asked = draw_requests(6, GREEDY)
    ours_NT = policy.sample("gen", asked).tokens_NT
    assert torch.equal(ours_NT, theirs(tiny, [r.text for r in asked], 5.0))
    assert len(ours_NT.unique()) > 4, "the case needs varied codes"


# Support


def nearly_flat(policy: JanusPolicy, codes: int) -> None:
    """Make every code nearly as likely as the next, the same at every step."""
    last = [m for m in policy.janus.model.generation_head.modules() if isinstance(m, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.linspace(0, 0.01, codes))


def test_without_top_k_every_code_can_be_drawn() -> None:
    _, policy = small_policy(kv_heads=4, codes=200)
    nearly_flat(policy, 200)
    text = draw_requests(1, drawing(1.0))[0].text
    for top_k, support in ((0, 200), (50, 50)):
        decoding = Decoding(temperature=1.0, top_k=top_k)
        asked = [request([text], decoding, i) for i in range(300)]
        codes_NT = policy.sample("gen", asked).tokens_NT
        assert len(codes_NT.unique()) == support
        assert len(codes_NT[:, 0].unique()) > 0.7 * min(support, 200)


class Loud(nn.Module):
    """A head that shouts some ids."""

    def __init__(self, inner: nn.Module, ids: Sequence[int]) -> None:
        super().__init__()
        self.inner, self.ids = inner, list(ids)

    def forward(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.inner(hidden)
        return logits.index_fill(-1, torch.tensor(self.ids), 1e4)


@contextmanager
def shouting(policy: JanusPolicy, ids: Sequence[int]) -> Iterator[None]:
    quiet = policy.janus.lm_head
    policy.janus.lm_head = Loud(quiet, ids)
    try:
        yield
    finally:
        policy.janus.lm_head = quiet


@pytest.mark.parametrize("decoding", [TEXT, Decoding(temperature=0.0, max_tokens=24)])
def test_banned_ids_are_never_said(policy: JanusPolicy, decoding: Decoding) -> None:
    asked = text_requests(8, decoding)
    quiet = policy.sample("und", asked)
    tokenizer = policy.processor.tokenizer
    banned = [tokenizer.convert_tokens_to_ids(x) for x in (janus.IMAGE, janus.BOI, janus.EOI)]
    assert set(banned) <= set(policy.vocabulary.banned)
    with shouting(policy, banned):
        loud = policy.sample("und", asked)
    assert not torch.isin(loud.tokens_NT[loud.mask_NT], torch.tensor(banned)).any()
    assert torch.equal(loud.tokens_NT, quiet.tokens_NT)


# Company


def replies(
    policy: JanusPolicy, task: Task, batches: Sequence[Sequence[Request]]
) -> dict[str, Any]:
    """What each request got, by its id: code rows or texts."""
    found: dict[str, Any] = {}
    for batch in batches:
        rollout = policy.sample(task, list(batch))
        if task == "gen":
            given: list[Any] = [tuple(row) for row in rollout.tokens_NT.tolist()]
        else:
            given = [reply.text for reply in policy.decode(rollout)]
        found.update({r.uid: one for r, one in zip(batch, given, strict=True)})
    return found


def cut(asked: Sequence[Request], size: int) -> list[Sequence[Request]]:
    return [asked[i : i + size] for i in range(0, len(asked), size)]


@pytest.mark.parametrize("kind", ["draw", "edit", "answer"])
def test_batch_size_and_order_change_nothing(policy: JanusPolicy, kind: str) -> None:
    task, asked = requests_of(kind, 12, 5.0)
    base = replies(policy, task, cut(asked, 8))
    assert len(set(base.values())) > 3, "the case needs different replies"
    shuffled = random.Random(1).sample(asked, len(asked))
    for batches in (cut(asked[::3], 1), cut(asked, 3), cut(shuffled, 8)):
        other = replies(policy, task, batches)
        same = sum(base[uid] == reply for uid, reply in other.items())
        assert same == len(other) >= len(asked) // 3, f"{same} of {len(other)}"


def test_neighbors_in_the_batch_do_not_matter(policy: JanusPolicy) -> None:
    asked = draw_requests(24, drawing(5.0))
    mine = asked[0]
    long = request(["please draw " + asked[3].text + " and " + asked[9].text], mine.decoding, 99)
    alone = replies(policy, "gen", [[mine]])[mine.uid]
    for batch in ([mine, *asked[1:6]], [*asked[12:20], mine], [long, mine], [mine] * 3):
        assert replies(policy, "gen", [batch])[mine.uid] == alone


def test_a_request_follows_its_seed(policy: JanusPolicy) -> None:
    one = draw_requests(1, drawing(1.0))[0]
    batch = [one._replace(seed=i % 4, uid=str(i)) for i in range(8)]
    found = replies(policy, "gen", [batch])
    assert all(found[str(i)] == found[str(i + 4)] for i in range(4))
    assert len(set(found.values())) > 1


def test_a_training_mode_is_kept_and_does_not_matter(policy: JanusPolicy) -> None:
    asked = draw_requests(4, drawing(5.0))
    base = policy.sample("gen", asked).tokens_NT
    policy.train()
    try:
        assert torch.equal(policy.sample("gen", asked).tokens_NT, base)
        assert policy.training
    finally:
        policy.eval()


def test_mixed_decodings_in_one_rollout_are_refused(policy: JanusPolicy) -> None:
    with pytest.raises(ValueError, match="share their decoding"):
        policy.sample("gen", [*draw_requests(1, GREEDY), *draw_requests(1, drawing(1.0))])


# The two ways through a layer


def test_fused_and_module_by_module_decoding_agree(
    policy: JanusPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, asked = requests_of("edit", 12, 5.0)
    fused = policy.sample(task, asked, record_logp=True)
    seen: list[bool] = []
    layer = decoder_layers._layer

    def watched(one: nn.Module, together: Any) -> Any:
        seen.append(together is not decoder_layers._SideBySide)
        return layer(one, together)

    monkeypatch.setattr(decoder_layers, "_layer", watched)
    monkeypatch.setattr(joint_products, "JOINED_BELOW", 0)
    plain = policy.sample(task, asked, record_logp=True)
    assert seen and not any(seen), "the second way was not taken"
    assert torch.equal(fused.tokens_NT, plain.tokens_NT)
    assert fused.sampler_logp_NT is not None
    assert plain.sampler_logp_NT is not None
    assert float((fused.sampler_logp_NT - plain.sampler_logp_NT).abs().max()) <= allowed(5.0)


# The compiled loop


def check_compiled_steps(policy: JanusPolicy) -> None:
    """Compiled steps draw the codes and words of plain ones, whichever shape comes next."""
    # Two shapes by turns: after its first step a loop no longer asks which code fits.
    network, loop, drawn = policy.janus.model.language_model, TokenLoop(compiled=True), []
    weight = network.layers[0].mlp.up_proj.weight
    for rows in (4, 9, 3):
        if len(drawn) == 2:  # weights that change are read anew, however they change
            weight.data.mul_(-1)
        asked = {"gen": draw_requests(rows, drawing(5.0)), "und": text_requests(rows, TEXT)}
        for task, requests in asked.items():
            plain, compiled = (
                replaced(policy, one).sample(task, requests, record_logp=True)
                for one in (TokenLoop(), loop)
            )
            assert torch.equal(plain.tokens_NT, compiled.tokens_NT)
            assert torch.equal(plain.mask_NT, compiled.mask_NT)
            assert torch.equal(plain.finite_N, compiled.finite_N)
            assert apart(plain, compiled) <= 1e-4
            drawn += [plain.tokens_NT[:3]] * (task == "gen")
    weight.data.mul_(-1)
    assert not torch.equal(drawn[0], drawn[2]), "the case needs weights that matter"
    assert loop.made == 1, "a decoder is made once"


def replaced(policy: JanusPolicy, loop: TokenLoop) -> JanusPolicy:
    """The same weights, sampled through another loop."""
    other = JanusPolicy(policy.janus, policy.processor, compiled=loop.compiled).eval()
    other._loop = loop
    return other


def apart(one: Rollout, other: Rollout) -> float:
    """How far the log-probs of two samplers are apart at most."""
    assert one.sampler_logp_NT is not None
    assert other.sampler_logp_NT is not None
    return float((one.sampler_logp_NT - other.sampler_logp_NT).abs().max())


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """As compiled: one graph a shape, found by the same rules; its operations are torch's own."""
    step = torch.compile(token_loop.advance, fullgraph=True, dynamic=False, backend="eager")
    monkeypatch.setattr(token_loop, "compiled_advance", lambda: step)


@pytest.fixture
def untrained_policy(untrained: Path) -> JanusPolicy:
    loaded = janus.load(untrained)
    return JanusPolicy(loaded.model, loaded.processor).eval()


@pytest.mark.usefixtures("captured")
def test_steps_that_are_captured_whole_draw_the_same_tokens(untrained_policy: JanusPolicy) -> None:
    check_compiled_steps(untrained_policy)


@pytest.mark.slow  # a minute where the compiled code is not kept from an earlier run
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling on the CPU needs g++")
def test_compiled_steps_draw_the_same_tokens(policy: JanusPolicy) -> None:
    check_compiled_steps(policy)
