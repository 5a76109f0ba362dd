"""BAGEL as a policy: answers word by word, pictures by a few noisy steps of flow matching.

Of a picture's steps some, one after the other, draw noise of their own (`stochastic`); these are
what has a probability, and a rollout's "tokens" are their numbers. All other steps are those of
evaluation. `policy_logits` says whether the velocity is the guided one ("cfg", as in flow-GRPO) or
that of the prompt alone ("conditional"); without guidance both are the same.

Departures from flow-GRPO: where the noisy steps begin, in the first half, is drawn for each rollout
from its own seed, not for a whole batch, so that a rollout does not depend on its neighbors; all of
them are replayed in one pass.

The entropy of a noisy step is that of its normal distribution, of one number: it depends on the
step alone.

Legend: N rows, T completion positions, or tokens of a picture where C follows, W noisy steps, C
numbers of a token, V vocabulary.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.models.bagel import pictures as pics
from pairuni_eval.models.bagel.contexts import ContextBlock, read
from pairuni_eval.models.bagel.flow import (
    FlowBranches,
    FlowGuidance,
    VelocityField,
    timesteps,
)
from pairuni_eval.models.bagel.inference import POINTS, SHIFT, BagelInference
from pairuni_eval.models.bagel.loading import LoadedBagel
from pairuni_eval.models.bagel.stochastic import score_step, stochastic_step
from pairuni_eval.models.bagel.text_sampler import write
from pairuni_eval.models.bagel.trained import BagelWeights
from pairuni_eval.models.base import (
    TRACE,
    LogProbs,
    NormalSteps,
    PolicyLogits,
    Reply,
    Request,
    Rollout,
    Task,
    View,
    ViewPlan,
)
from pairuni_eval.models.policies import entropy, eval_mode, finite_replies, shared_decoding
from pairuni_eval.seeds import seed_for

if TYPE_CHECKING:
    from pairuni_eval.models.base import Policy

_LEVEL, _WINDOW = 1.3, 3  # of flow-GRPO's recipe for BAGEL


class AskedRows(NamedTuple):
    """The requests of a rollout, by row."""

    requests: tuple[Request, ...]

    def rows(self, index: slice | Tensor) -> AskedRows:
        """Some of them."""
        if isinstance(index, slice):
            return AskedRows(self.requests[index])
        return AskedRows(tuple(self.requests[row] for row in index.tolist()))


class NoisySteps(NamedTuple):
    """What replay needs of pictures.

    Attributes:
        x_NWTC: Latents before each noisy step,
        next_NWTC: and after it.
        latents_NTC: At the end of all steps.
    """

    x_NWTC: Tensor
    next_NWTC: Tensor
    latents_NTC: Tensor

    def rows(self, index: slice | Tensor) -> NoisySteps:
        """Some of the pictures."""
        return NoisySteps(*(one[index] for one in self))


class BagelPolicy(BagelWeights):
    """A BAGEL that is reinforced.

    Args:
        loaded: Weights, tokenizer and sizes.
    """

    tasks: frozenset[Task] = frozenset({"und", "gen"})

    def __init__(self, loaded: LoadedBagel) -> None:
        super().__init__(loaded)
        self._inference = BagelInference(loaded)

    @torch.no_grad()
    def sample(
        self, task: Task, requests: Sequence[Request], *, record_logp: bool = False
    ) -> Rollout:
        """Sample one completion per request; all requests share one decoding.

        Runs in eval mode and restores the mode it found.
        """
        shared_decoding(requests)
        with eval_mode(self):
            return self._draw(requests, record_logp) if task == "gen" else self._answer(requests)

    def _answer(self, requests: Sequence[Request]) -> Rollout:
        decoding, end = requests[0].decoding, self.loaded.marks.text_end
        seeds = [seed_for(one.seed, one.uid, 0, "words") for one in requests]
        context = self._inference.asked(requests)
        written = write(self.network, context, self.loaded.marks, decoding, seeds)
        # The end is a word that was chosen, unless the limit came first.
        rows = [[*ids, end][: decoding.max_tokens] for ids in written.ids]
        width = max(map(len, rows))
        device = self.network.device
        tokens = [[*row, *[end] * (width - len(row))] for row in rows]
        lengths_N1 = torch.tensor([[len(row)] for row in rows], device=device)
        return Rollout(
            "und",
            torch.tensor(tokens, device=device),
            torch.arange(width, device=device) < lengths_N1,
            {"asked": AskedRows(tuple(requests))},
            False,
            finite_N=written.finite_R,
        )

    def _draw(self, requests: Sequence[Request], record_logp: bool) -> Rollout:
        decoding = requests[0].decoding
        times, window = _times(decoding), decoding.sde_window or _WINDOW
        starts = [_start(one, len(times) - 1, window) for one in requests]
        grid = self._inference.drawn_grid(decoding)
        x_NTC = torch.stack([self._inference.noise_of(one, grid) for one in requests])
        x_NTC = x_NTC.to(self.network.device)
        noise_NWTC = torch.stack([_noise(one, window, x_NTC.shape[1:]) for one in requests])
        noise_NWTC = noise_NWTC.to(x_NTC.device)
        field = self._field(self._branches(requests), decoding, grid)
        before, after = torch.zeros_like(noise_NWTC), torch.zeros_like(noise_NWTC)
        logp_NW = noise_NWTC.new_zeros(noise_NWTC.shape[:2])
        for number, (time, then) in enumerate(pairwise(times)):
            velocity_NTC = field.at(x_NTC, time)
            next_NTC = x_NTC - velocity_NTC * (time - then)
            noisy = [
                (n, number - one) for n, one in enumerate(starts) if 0 <= number - one < window
            ]
            if noisy:
                row_M, which_M = torch.tensor(noisy, device=x_NTC.device).unbind(1)
                step = stochastic_step(
                    x_NTC[row_M],
                    velocity_NTC[row_M],
                    noise_NWTC[row_M, which_M],
                    times=(time, then),
                    cap=times[1],
                    level=decoding.sde_level or _LEVEL,
                )
                next_NTC[row_M] = step.next_NTC
                before[row_M, which_M], after[row_M, which_M] = x_NTC[row_M], step.next_NTC
                logp_NW[row_M, which_M] = step.logp_N
            x_NTC = next_NTC
        first_N1 = torch.tensor(starts, device=x_NTC.device)[:, None]
        tokens_NW = first_N1 + torch.arange(window, device=x_NTC.device)
        return Rollout(
            "gen",
            tokens_NW,
            torch.ones_like(tokens_NW, dtype=torch.bool),
            {
                "asked": AskedRows(tuple(requests)),
                "steps": NoisySteps(before, after, x_NTC),
                "grid": grid,
            },
            True,
            sampler_logp_NT=logp_NW if record_logp else None,
            finite_N=x_NTC.flatten(1).isfinite().all(1),
        )

    def plan_views(
        self,
        rollout: Rollout,
        seeds: Sequence[int],  # noqa: ARG002
        plan: ViewPlan = TRACE,  # noqa: ARG002
    ) -> list[View]:
        """One view that targets every word, or every noisy step."""
        return [View(rollout.mask_NT, torch.ones(len(rollout), device=rollout.mask_NT.device))]

    def forward(
        self,
        rollout: Rollout,
        view: View,
        *,
        policy_logits: PolicyLogits = "conditional",
        with_entropy: bool = False,
    ) -> LogProbs:
        """Log-probs (N, T) of the words or noisy steps of a rollout, 0 off target.

        The entropy carries no gradient.

        Raises:
            UserError: for a part of the guidance without a gradient: its branches are one pass.
        """
        if policy_logits == "cfg_detached_uncond":
            raise UserError(
                "policy_logits = 'cfg_detached_uncond' is not for BAGEL, whose branches are one "
                "pass.",
                hint="--set policy_logits=cfg, or conditional",
            )
        score = self._steps if rollout.task == "gen" else self._words
        found = score(rollout, policy_logits)
        entropy_NT = found.entropy_NT if with_entropy else None
        return LogProbs(found.logp_NT.masked_fill(~view.target_NT, 0.0), entropy_NT, found.steps)

    def _words(self, rollout: Rollout, policy_logits: PolicyLogits) -> LogProbs:  # noqa: ARG002
        asked: AskedRows = rollout.conditions["asked"]
        start = self.loaded.marks.text_start
        begin_N1 = torch.full_like(rollout.tokens_NT[:, :1], start)
        read_NT = torch.cat((begin_N1, rollout.tokens_NT[:, :-1]), dim=1)
        block = ContextBlock(self.network.words(read_NT), torch.ones_like(rollout.mask_NT), True)
        hidden_NTD, _ = read(self.network, self._inference.asked(asked.requests), block)
        logits_NTV = self.network.language_model.lm_head(hidden_NTD).float()
        temperature = asked.requests[0].decoding.temperature or 1.0
        logp_NTV = (logits_NTV / temperature).log_softmax(-1)
        logp_NT = logp_NTV.gather(-1, rollout.tokens_NT[..., None])[..., 0]
        return LogProbs(logp_NT, entropy(logp_NTV.detach()))

    def _steps(self, rollout: Rollout, policy_logits: PolicyLogits) -> LogProbs:
        asked: AskedRows = rollout.conditions["asked"]
        steps: NoisySteps = rollout.conditions["steps"]
        decoding = asked.requests[0].decoding
        rows, window = rollout.tokens_NT.shape
        # Every noisy step is a row of one pass, with the context of its picture.
        repeat_M = torch.arange(rows, device=self.network.device).repeat_interleave(window)
        branches = self._branches(asked.requests)
        branches = FlowBranches(branches.whole.rows(repeat_M), branches.wordless.rows(repeat_M))
        guided = policy_logits == "cfg"
        field = self._field(branches, decoding, rollout.conditions["grid"], guided=guided)
        times = _times(decoding)
        x_MTC, next_MTC = steps.x_NWTC.flatten(0, 1), steps.next_NWTC.flatten(0, 1)
        number_M = rollout.tokens_NT.flatten()
        time_K = torch.tensor(times, dtype=torch.float64, device=x_MTC.device)
        found = score_step(
            x_MTC,
            field.at_each(x_MTC, [times[number] for number in number_M.tolist()]),
            next_MTC,
            times=(time_K[number_M], time_K[number_M + 1]),
            cap=times[1],
            level=decoding.sde_level or _LEVEL,
        )
        entropy_M = found.width.flatten().log() + 0.5 * math.log(2 * math.pi * math.e)
        return LogProbs(
            found.logp_N.view(rows, window),
            entropy_M.view(rows, window),
            NormalSteps(
                found.mean_NTC.view(rows, window, *found.mean_NTC.shape[1:]),
                found.width.view(rows, window),
            ),
        )

    def decode(self, rollout: Rollout, *, together: int = 1) -> list[Reply]:  # noqa: ARG002
        """Pictures or texts; a row that was not sampled from finite numbers is an error."""
        made = self._pictures(rollout) if rollout.task == "gen" else self._texts(rollout)
        return finite_replies(rollout, made, self.network.dtype)

    @torch.no_grad()
    def _pictures(self, rollout: Rollout) -> list[Reply]:
        steps: NoisySteps = rollout.conditions["steps"]
        grid: tuple[int, int] = rollout.conditions["grid"]
        pixels = self._inference.pixels_of(steps.latents_NTC.nan_to_num(), grid)
        return [Reply(image=one, tokens=grid[0] * grid[1]) for one in pics.to_images(pixels)]

    def _texts(self, rollout: Rollout) -> list[Reply]:
        end = self.loaded.marks.text_end
        rows = [
            [id_ for id_ in tokens_T[mask_T].tolist() if id_ != end]
            for tokens_T, mask_T in zip(rollout.tokens_NT, rollout.mask_NT, strict=True)
        ]
        return [Reply(text=self._inference.text_of(ids), tokens=len(ids)) for ids in rows]

    def _branches(self, requests: Sequence[Request]) -> FlowBranches:
        if requests[0].decoding.thinking:
            raise UserError(
                "A thought before a picture is not trained: its words have no log-probs here.",
                hint="--set gen.decoding.thinking=false",
            )
        return self._inference.branches_of_prompts(requests)[0]

    def _field(
        self,
        branches: FlowBranches,
        decoding: Decoding,
        grid: tuple[int, int],
        *,
        guided: bool = True,
    ) -> VelocityField:
        guidance = FlowGuidance.of(decoding) if guided else FlowGuidance()
        return VelocityField(self.network, branches, self._inference.canvas(grid), guidance)


def _conforms(policy: BagelPolicy) -> Policy:
    """Held by the type checker: the class keeps the whole protocol."""
    return policy


def _times(decoding: Decoding) -> list[float]:
    return timesteps(decoding.steps or POINTS, decoding.timestep_shift or SHIFT)


def _start(request: Request, steps: int, window: int) -> int:
    """The first noisy step of a rollout, in the first half of all.

    Raises:
        UserError: if there are fewer steps than shall be noisy.
    """
    last = min(steps // 2, steps - window)
    if last < 0:
        raise UserError(
            f"decoding.sde_window is {window}, and {steps + 1} points in time are {steps} steps.",
            hint=f"--set gen.decoding.sde_window={steps}",
        )
    return random.Random(seed_for(request.seed, request.uid, 0, "sde window")).randint(0, last)


def _noise(request: Request, window: int, shape: Sequence[int]) -> Tensor:
    generator = torch.Generator().manual_seed(seed_for(request.seed, request.uid, 0, "sde noise"))
    return torch.randn(window, *shape, generator=generator)
