"""Seconds of a PairGRPO step against a plain loop over transformers, in one run.

The plain loop does what trainers commonly do: `generate` for answers and for pictures, the old
log-probs in a pass of their own, the reference's log-probs in another, then forward, backward and
AdamW, every rollout a row by itself. Ours does the same step: same model, pairs, prompts, number of
rollouts, decoding, rewards, advantages, objective with a KL penalty, and optimizer. It leaves out
what changes no weight: the pass for old log-probs, which at one inner step are the log-probs that
train, and, where there is no penalty, rollouts of groups without spread. The two take turns, so a
machine that slows down slows both; medians over the steps, and of the paired ratios with quartiles.

    python tests/bench/pairgrpo_step.py [--checkpoint tiny] [--pairs 4] [--rollouts 8]
        [--cfg-scale 5] [--beta 0.01] [--rounds 9]

With `--beta 0` neither side has a reference.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from PIL import Image
from spread import ratios, spread
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from support import small_training as small

from pairuni_eval.adapters import load_model
from pairuni_eval.models.base import LoadOptions, Reply, Task
from pairuni_train.config import Arm, Recipe, find_recipe
from pairuni_train.grpo.advantages import normalize
from pairuni_train.grpo.objective import surrogate
from pairuni_train.grpo.optimizer import make_optimizer
from pairuni_train.grpo.rewards import Judged, load_rewards
from pairuni_train.grpo.rollouts import TASKS
from pairuni_train.grpo.trainable_parameters import select_trainable
from pairuni_train.pair_data.record import Pair
from pairuni_train.phase_timer import PhaseTimer

# Shapes: N rows, P prompt positions, T completion positions, D hidden size, V vocabulary.


class Plain:
    """The plain loop, on a model of its own."""

    def __init__(self, checkpoint: str, recipe: Recipe) -> None:
        loaded: Any = load_model(checkpoint, "janus", LoadOptions(device="cpu"))
        self.policy = loaded.policy
        self.janus, self.processor = self.policy.janus, self.policy.processor
        self.reference = (
            deepcopy(self.janus).requires_grad_(False) if recipe.objective.beta else None
        )
        self.recipe = recipe
        trained = select_trainable(self.policy, recipe.trainable)
        self.optimizer = make_optimizer(trained, recipe.optimizer)
        self.rewards = {task: load_rewards(recipe.task(task).rewards) for task in TASKS}

    def step(self, pairs: Sequence[Pair]) -> dict[str, float]:
        """One step; returns seconds by phase."""
        clock = PhaseTimer()
        tracks = {task: self.rollouts(task, pairs, clock) for task in TASKS}
        self.optimizer.zero_grad(set_to_none=True)
        for task, (inputs, tokens_NT, mask_NT, advantage_N) in tracks.items():
            with clock.phase("old"), torch.no_grad():
                old_NT = self.logp(self.janus, task, inputs, tokens_NT)
            reference_NT = None
            if self.reference is not None:
                with clock.phase("reference"), torch.no_grad():
                    reference_NT = self.logp(self.reference, task, inputs, tokens_NT)
            with clock.phase("update"):
                terms = surrogate(
                    self.logp(self.janus, task, inputs, tokens_NT),
                    mask_NT,
                    advantage_N,
                    self.recipe.objective,
                    sequences=len(tokens_NT),
                    old_logp_NT=old_NT,
                    reference_logp_NT=reference_NT,
                )
                terms.loss.backward()
        with clock.phase("update"):
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), 1.0)
            self.optimizer.step()
        return clock.seconds

    def rollouts(self, task: Task, pairs: Sequence[Pair], clock: PhaseTimer) -> tuple[Any, ...]:
        """Prompts, completions, what counts of them, and advantages."""
        count = self.recipe.task(task).rollouts
        halves = [p.understanding if task == "und" else p.generation for p in pairs]
        rows = [half for half in halves for _ in range(count)]
        sample = self.answers if task == "und" else self.pictures
        inputs, tokens_NT, mask_NT = sample(rows, clock)
        with clock.phase("decode"):
            replies = self.decoded(task, tokens_NT)
        with clock.phase("reward"):
            judged = [Judged(half, reply) for half, reply in zip(rows, replies, strict=True)]
            reward_N = torch.tensor(self.rewards[task](judged)["total"])
        group_N = torch.arange(len(halves)).repeat_interleave(count)
        return inputs, tokens_NT, mask_NT, normalize(reward_N, group_N).value_N

    def answers(self, rows: Sequence[Any], clock: PhaseTimer) -> tuple[Any, Tensor, Tensor]:
        """Answers by `generate`."""
        with clock.phase("sample/und"), torch.no_grad():
            images = [Image.open(io.BytesIO(row.image)).convert("RGB") for row in rows]
            parts = [[{"type": "image"}, {"type": "text", "text": row.question}] for row in rows]
            inputs = self.processor(
                text=[self.chat(part) for part in parts],
                images=images,
                padding=True,
                return_tensors="pt",
            )
            said = self.janus.generate(
                **inputs,
                generation_mode="text",
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                max_new_tokens=self.recipe.und.decoding.max_tokens,
            )
        tokens_NT = said[:, inputs["input_ids"].shape[1] :]
        ends_NT = (tokens_NT == self.processor.tokenizer.eos_token_id).int()
        return inputs, tokens_NT, ends_NT.cumsum(1) - ends_NT == 0

    def pictures(self, rows: Sequence[Any], clock: PhaseTimer) -> tuple[Any, Tensor, Tensor]:
        """Codes by `generate`."""
        with clock.phase("sample/gen"), torch.no_grad():
            inputs = self.processor(
                text=[self.chat([{"type": "text", "text": row.prompt}]) for row in rows],
                generation_mode="image",
                padding=True,
                return_tensors="pt",
            )
            codes_NT = self.janus.generate(
                **inputs,
                generation_mode="image",
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                guidance_scale=self.recipe.gen.decoding.cfg_scale,
            )
        return inputs, codes_NT, torch.ones_like(codes_NT, dtype=torch.bool)

    def chat(self, content: list[dict[str, str]]) -> str:
        """The prompt of a user's turn."""
        text: str = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return text

    @torch.no_grad()
    def decoded(self, task: Task, tokens_NT: Tensor) -> list[Reply]:
        """Texts or pictures."""
        if task == "und":
            texts = self.processor.tokenizer.batch_decode(tokens_NT, skip_special_tokens=True)
            return [Reply(text=text.strip()) for text in texts]
        pixels_NHWC = self.janus.decode_image_tokens(tokens_NT)
        bytes_NHWC = ((pixels_NHWC + 1) / 2 * 255).clamp(0, 255).byte().numpy()
        return [Reply(image=Image.fromarray(one)) for one in bytes_NHWC]

    def logp(self, janus: Any, task: Task, inputs: Any, tokens_NT: Tensor) -> Tensor:
        """Log-probs of completions, every row with its prompt."""
        mask_NS = torch.cat((inputs["attention_mask"], torch.ones_like(tokens_NT)[:, :-1]), 1)
        if task == "und":
            ids_NS = torch.cat((inputs["input_ids"], tokens_NT[:, :-1]), 1)
            logits_NTV = janus(
                input_ids=ids_NS,
                pixel_values=inputs["pixel_values"],
                attention_mask=mask_NS,
                use_cache=False,
                logits_to_keep=tokens_NT.shape[1],
            ).logits
        else:
            model = janus.model
            codes_NTD = model.generation_aligner(model.generation_embeddings(tokens_NT))
            prompt_NPD = janus.get_input_embeddings()(inputs["input_ids"])
            hidden_NSD = model.language_model(
                inputs_embeds=torch.cat((prompt_NPD, codes_NTD[:, :-1]), 1),
                attention_mask=mask_NS,
                use_cache=False,
            ).last_hidden_state
            logits_NTV = model.generation_head(hidden_NSD[:, -tokens_NT.shape[1] :])
        logp_NTV = logits_NTV.float().log_softmax(-1)
        return logp_NTV.gather(-1, tokens_NT[..., None])[..., 0]


def ours(checkpoint: str, recipe: Recipe, pairs: Sequence[Pair]) -> Any:
    """Our trainer on a model of its own."""
    loaded: Any = load_model(checkpoint, "janus", LoadOptions(device="cpu"))
    reference = deepcopy(loaded.policy).requires_grad_(False) if recipe.objective.beta else None
    rewards = {task: load_rewards(recipe.task(task).rewards) for task in TASKS}
    arm = Arm(name="bench", summary="", pairs="random")
    return small.small_trainer(
        loaded.policy, recipe, pairs, arm=arm, rewards=rewards, reference=reference
    )


def show(name: str, steps: Sequence[dict[str, float]]) -> None:
    """Medians of the phases."""
    phases = {
        phase: statistics.median(step.get(phase, 0.0) for step in steps)
        for phase in dict.fromkeys(key for step in steps for key in step)
    }
    total = statistics.median(sum(step.values()) for step in steps)
    words = "  ".join(f"{phase} {seconds:.3f}" for phase, seconds in phases.items())
    print(f"  {name:6} {total:.3f} s   {words}")


class Setting(NamedTuple):
    """What a step is made of."""

    checkpoint: str = "tiny"
    pairs: int = 4
    rollouts: int = 8
    cfg_scale: float = 5.0
    beta: float = 0.01

    def recipe(self) -> Recipe:
        """The recipe of both sides."""
        changes = {
            "pairs_per_step": self.pairs,
            "und.rollouts": self.rollouts,
            "gen.rollouts": self.rollouts,
            "gen.decoding.cfg_scale": self.cfg_scale,
            "beta": self.beta,
            "dead_groups": "left_out",
            "probe.every": 0,
        }
        return find_recipe("tiny", changes)


class Phases(NamedTuple):
    """Seconds by phase of every step, of the plain loop and ours."""

    theirs: list[dict[str, float]]
    mine: list[dict[str, float]]

    @property
    def ratios(self) -> list[float]:
        """How many times as long the plain loop took, step by step."""
        return ratios(*([sum(step.values()) for step in side] for side in self))


def measured(setting: Setting, rounds: int) -> Phases:
    """Both sides by turns, after a step that warms up."""
    torch.manual_seed(0)
    recipe, pairs = setting.recipe(), small.tiny_pairs(4 * setting.pairs)
    plain = Plain(setting.checkpoint, recipe)
    trainer = ours(setting.checkpoint, recipe, pairs)
    theirs: list[dict[str, float]] = []
    mine: list[dict[str, float]] = []
    for step in range(rounds + 1):
        theirs.append(plain.step(trainer.parts.sampler.of_step(step)))
        mine.append(trainer.step(step).seconds)
    return Phases(theirs[1:], mine[1:])


def main() -> None:
    """Print seconds by phase and the ratio."""
    usual = Setting()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default=usual.checkpoint)
    parser.add_argument("--pairs", type=int, default=usual.pairs)
    parser.add_argument("--rollouts", type=int, default=usual.rollouts)
    parser.add_argument("--cfg-scale", type=float, default=usual.cfg_scale)
    parser.add_argument("--beta", type=float, default=usual.beta)
    parser.add_argument("--rounds", type=int, default=9)
    given = vars(parser.parse_args())
    rounds = given.pop("rounds")
    transformers.logging.set_verbosity_error()
    setting = Setting(**given)
    found = measured(setting, rounds)
    print(
        f"{setting.pairs} pairs x {setting.rollouts} + {setting.rollouts} rollouts, CFG "
        f"{setting.cfg_scale:g}, beta {setting.beta:g}, {torch.get_num_threads()} thread, medians "
        f"of {rounds} steps"
    )
    show("plain", found.theirs)
    show("ours", found.mine)
    print(f"  ratio  {spread(found.ratios).words('.2f')}")


if __name__ == "__main__":
    main()
