"""Lumina-DiMOO as a policy: sampling by unmasking, and log-probs with gradients by views.

Log-probs of a picture are taken over the codes, those of an answer over the words: that is what is
drawn from. `policy_logits` says whether guidance enters them, as for Janus. Training takes exact
noise alone.

Legend: N rows, T completion places, P scored ones, V columns.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor, nn

from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.finite import no_finite
from pairuni_eval.models.base import (
    TRACE,
    LogProbs,
    PolicyLogits,
    Reply,
    Request,
    Rollout,
    Task,
    View,
    ViewPlan,
)
from pairuni_eval.models.folder_files import FolderFiles
from pairuni_eval.models.lumina_dimoo import prompts
from pairuni_eval.models.lumina_dimoo.cache import CachedLogits, CachePlan
from pairuni_eval.models.lumina_dimoo.config import DimooConfig
from pairuni_eval.models.lumina_dimoo.files import VQ_WEIGHTS, WEIGHTS
from pairuni_eval.models.lumina_dimoo.image_sampler import (
    FreshLogits,
    ImagePlan,
    LogitSource,
    draw_codes,
    draw_weights,
    edit_weights,
    guided_sum,
)
from pairuni_eval.models.lumina_dimoo.joint_network import for_sampling
from pairuni_eval.models.lumina_dimoo.layout import CodeGrid, Layout
from pairuni_eval.models.lumina_dimoo.masked_batch import Branches, MaskedBatch, masked_batch
from pairuni_eval.models.lumina_dimoo.network import Network, VocabularySlice
from pairuni_eval.models.lumina_dimoo.noise import Noise, OfficialNoise, UniformNoise
from pairuni_eval.models.lumina_dimoo.pictures import (
    Size,
    ask_size,
    cropped,
    edit_size,
    to_pixels,
)
from pairuni_eval.models.lumina_dimoo.text_sampler import (
    TextPlan,
    UniformWords,
    fill_text,
    no_words,
)
from pairuni_eval.models.lumina_dimoo.views import plan_views
from pairuni_eval.models.lumina_dimoo.vq import Vq, to_bytes
from pairuni_eval.models.policies import (
    entropy,
    eval_mode,
    finite_replies,
    parameters_by_block,
    shared_decoding,
    tensor_names,
)

if TYPE_CHECKING:
    from pairuni_eval.models.base import Policy

_NETWORK, _VQ = "network.", "vq."  # what this module puts before the official names
_FILES = ((WEIGHTS, _NETWORK), (VQ_WEIGHTS, _VQ))
_KEPT = 64  # pictures whose codes are remembered
_HIDDEN = -1  # an unknown code in a view's inputs


class DimooPolicy(nn.Module):
    """A Lumina-DiMOO model with its tokenizer.

    Args:
        network: Gives the logits.
        vq: Pictures to codes and back; in float32.
        layout: Builds sequences.
        config: Of the checkpoint.
        files: What a trained checkpoint is written with.
    """

    tasks: frozenset[Task] = frozenset({"und", "gen"})

    def __init__(
        self, network: Network, vq: Vq, layout: Layout, config: DimooConfig, files: FolderFiles
    ) -> None:
        super().__init__()
        self.network, self.vq = network, vq.requires_grad_(False)
        self.layout, self.config, self.files = layout, config, files
        ids = config.ids
        self._codes = VocabularySlice(ids.image_offset, ids.image_offset + ids.codebook_size)
        self._seen: OrderedDict[tuple[Size, bytes], list[list[int]]] = OrderedDict()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.network.device

    def size(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    @torch.no_grad()
    def sample(
        self,
        task: Task,
        requests: Sequence[Request],
        *,
        record_logp: bool = False,  # noqa: ARG002 - they come for nothing
    ) -> Rollout:
        """Sample one completion per request; all requests share one decoding, pictures one grid.

        Runs in eval mode and restores the mode it found.
        """
        decoding = shared_decoding(requests)
        with eval_mode(self):
            if task == "gen":
                return self._draw(requests, decoding)
            return self._answer(requests, decoding)

    def _draw(self, requests: Sequence[Request], decoding: Decoding) -> Rollout:
        if len(self.alike("gen", requests)) > 1:
            raise ValueError("the pictures of one rollout must share their grid")
        grid, weights = self.grid_of(requests[0]), self._weights(requests[0])
        batch = masked_batch([self._asked_to_draw(one) for one in requests], self.device)
        steps = decoding.steps or grid.size
        plan = ImagePlan(grid.size, steps, decoding.temperature, weights)
        noise = self._noise(requests, len(plan.schedule), grid.size)
        ids = self.config.ids
        drawn = draw_codes(
            *(self._source(decoding, steps), batch, plan, noise),
            mask=ids.mask,
            offset=ids.image_offset,
        )
        full_NT = torch.ones_like(drawn.codes_BN, dtype=torch.bool)
        return Rollout(
            *("gen", drawn.codes_BN, full_NT),
            {"batch": batch, "decoding": decoding, "grid": grid, "weights": weights},
            True,
            trace_NT=drawn.trace_BN,
            sampler_logp_NT=drawn.logp_BN,
            finite_N=drawn.finite_B,
        )

    def _source(self, decoding: Decoding, steps: int) -> LogitSource:
        if decoding.cache_ratio is None:
            return FreshLogits(for_sampling(self.network), self._codes)
        return CachedLogits(self.network, self._codes, steps, CachePlan(decoding.cache_ratio))

    def alike(self, task: Task, requests: Sequence[Request]) -> list[list[int]]:
        """Which requests can be sampled together, by their places: pictures of one grid."""
        if task == "und":
            return [list(range(len(requests)))]
        found: dict[CodeGrid, list[int]] = {}
        for place, request in enumerate(requests):
            found.setdefault(self.grid_of(request), []).append(place)
        return list(found.values())

    def grid_of(self, request: Request) -> CodeGrid:
        """The grid of the picture that a request asks for: the last source's, or the size's."""
        shapes = self.config.shapes
        sources = [part for part in request.parts if isinstance(part, Image.Image)]
        if sources:
            return self._grid(edit_size(Size(*sources[-1].size), shapes))
        width, height = request.decoding.size or (shapes.drawn, shapes.drawn)
        return self._grid(Size(width, height))

    def _noise(self, requests: Sequence[Request], steps: int, places: int) -> Noise:
        seeds = [request.seed for request in requests]
        if requests[0].decoding.noise == "official-bf16":
            return OfficialNoise(seeds, self.device)
        return UniformNoise(seeds, steps, places, self.device)

    def _asked_to_draw(self, request: Request) -> Branches:
        sources = [part for part in request.parts if isinstance(part, Image.Image)]
        guided, grid = len(self._weights(request)) > 1, self.grid_of(request)
        if not sources:
            said = prompts.draw(request.text)
            prefixes = [self.layout.words(said)]
            prefixes += [self.layout.unconditional(said)] if guided else []
        else:
            said = prompts.edit(request.text)
            sizes = [edit_size(Size(*one.size), self.config.shapes) for one in sources]
            codes = self._encoded(sources, sizes)
            words = self.layout.words(said)
            prefixes = [self.layout.with_pictures(words, codes)]
            if guided:
                bare = self.layout.unconditional(said)
                prefixes += [self.layout.with_pictures(bare, codes), words]
        return Branches(tuple(prefixes), self.layout.drawing(grid))

    def _grid(self, size: Size) -> CodeGrid:
        factor = self.config.vq.factor
        if size.width % factor or size.height % factor:
            raise UserError(
                f"decoding.size is {size.width} x {size.height}; both are multiples of {factor} px "
                "here, which one code stands for.",
                hint=f"--set decoding.size=[{_nearest(size.width, factor)},"
                f"{_nearest(size.height, factor)}]",
            )
        return CodeGrid(size.height // factor, size.width // factor)

    def _weights(self, request: Request) -> tuple[float, ...]:
        """Of the guidance branches: `cfg_scale` is 1 + s of the official settings."""
        decoding = request.decoding
        text = decoding.cfg_scale - 1
        if any(isinstance(part, Image.Image) for part in request.parts):
            image = 1.0 if decoding.cfg_image_scale is None else decoding.cfg_image_scale
            return edit_weights(text, image - 1)
        return draw_weights(text)

    def _answer(self, requests: Sequence[Request], decoding: Decoding) -> Rollout:
        shapes = self.config.shapes
        tokens = decoding.answer_tokens or 1
        steps, block = decoding.steps or 1, decoding.block_tokens or tokens
        if tokens > shapes.answer:
            raise UserError(
                f"decoding.answer_tokens is {tokens}; this model has answers of {shapes.answer}.",
                hint=f"--set decoding.answer_tokens={shapes.answer}",
            )
        tail = self.layout.single(shapes.answer) if tokens == 1 else self.layout.answer(tokens)
        prefixes = [self._asked(request) for request in requests]
        batch = masked_batch([Branches((one,), tail) for one in prefixes], self.device)
        plan = TextPlan(tokens, block, steps, decoding.temperature)
        noise = UniformWords([one.seed for one in requests], steps, tokens, self.device)
        ids = self.config.ids
        filled = fill_text(
            *(for_sampling(self.network), batch, plan, noise),
            mask=ids.mask,
            banned_V=self._no_words(),
        )
        ends_NT = (filled.tokens_BN == ids.answer_end) | (filled.tokens_BN == ids.pad)
        # What follows the first end counts for nothing; the end itself does.
        before_NT = ends_NT.cumsum(1) - ends_NT.long() == 0
        return Rollout(
            *("und", filled.tokens_BN, before_NT),
            {"batch": batch, "decoding": decoding},
            False,
            trace_NT=filled.trace_BN,
            sampler_logp_NT=filled.logp_BN,
            finite_N=filled.finite_B,
        )

    def _asked(self, request: Request) -> tuple[int, ...]:
        words = self.layout.words(prompts.ask(request.text))
        images = [part for part in request.parts if isinstance(part, Image.Image)]
        sizes = [
            ask_size(
                Size(*one.size),
                self.config.shapes,
                several=len(images) > 1,
                factor=self.config.vq.factor,
            )
            for one in images
        ]
        return self.layout.with_pictures(words, self._encoded(images, sizes))

    def _no_words(self) -> Tensor:
        return no_words(self.config.ids, self.config.network.vocab_size, self.device)

    def _encoded(
        self, images: Sequence[Image.Image], sizes: Sequence[Size]
    ) -> list[list[list[int]]]:
        """Codes of pictures at their sizes; a picture that was seen is not encoded again."""
        found = []
        for image, size in zip(images, sizes, strict=True):
            fitting = cropped(image, size)
            key = (size, fitting.tobytes())
            if key not in self._seen:
                pixels = to_pixels(fitting)[None].to(self.device)
                self._seen[key] = self.vq.encode(pixels)[0].tolist()
                if len(self._seen) > _KEPT:
                    self._seen.popitem(last=False)
            found.append(self._seen[key])
        return found

    def plan_views(
        self, rollout: Rollout, seeds: Sequence[int], plan: ViewPlan = TRACE
    ) -> list[View]:
        """The noisy inputs that a rollout is scored by; see `views`."""
        masked = _HIDDEN if rollout.task == "gen" else self.config.ids.mask
        return plan_views(rollout, seeds, plan, masked=masked)

    def forward(
        self,
        rollout: Rollout,
        view: View,
        *,
        policy_logits: PolicyLogits = "conditional",
        with_entropy: bool = False,
    ) -> LogProbs:
        """Log-probs (N, T) of the rollout's tokens under the current weights, 0 off target.

        The entropy carries no gradient.
        """
        assert view.inputs_NT is not None
        decoding: Decoding = rollout.conditions["decoding"]
        batch: MaskedBatch = rollout.conditions["batch"]
        most = max(1, int(view.target_NT.sum(1).max()))
        index_NP = view.target_NT.byte().argsort(dim=1, descending=True, stable=True)[:, :most]
        if rollout.task == "gen":
            ids = self.config.ids
            known_NT = view.inputs_NT != _HIDDEN
            inputs_NT = (view.inputs_NT + ids.image_offset).where(known_NT, ids.mask)
            logits_NPV = self._code_logits(
                rollout, batch.written(inputs_NT), index_NP, policy_logits
            )
        else:
            logits_NPV = batch.written(view.inputs_NT).logits(self.network, index_NP)[0].float()
            logits_NPV = logits_NPV.masked_fill(self._no_words(), float("-inf"))
        logp_NPV = (logits_NPV / (decoding.temperature or 1.0)).log_softmax(-1)
        tokens_NP1 = rollout.tokens_NT.gather(1, index_NP)[..., None]
        aimed_NP = view.target_NT.gather(1, index_NP)
        logp_NP = logp_NPV.gather(-1, tokens_NP1)[..., 0].masked_fill(~aimed_NP, 0.0)
        blank_NT = torch.zeros(view.target_NT.shape, device=logp_NP.device)
        logp_NT = blank_NT.scatter(1, index_NP, logp_NP)
        if not with_entropy:
            return LogProbs(logp_NT)
        entropy_NP = entropy(logp_NPV.detach()).masked_fill(~aimed_NP, 0.0)
        return LogProbs(logp_NT, blank_NT.scatter(1, index_NP, entropy_NP))

    def _code_logits(
        self,
        rollout: Rollout,
        batch: MaskedBatch,
        index_NP: Tensor,
        policy_logits: PolicyLogits,
    ) -> Tensor:
        weights: tuple[float, ...] = rollout.conditions["weights"]
        if policy_logits == "conditional" or len(weights) == 1:
            return batch.branches(1).logits(self.network, index_NP, self._codes)[0].float()
        if policy_logits == "cfg":
            return guided_sum(batch.logits(self.network, index_NP, self._codes), weights)
        own_GNPV = batch.branches(1).logits(self.network, index_NP, self._codes)
        with torch.no_grad():
            others = batch.branches(len(weights), 1)
            others_GNPV = others.logits(self.network, index_NP, self._codes)
        return guided_sum(torch.cat((own_GNPV, others_GNPV)), weights)

    def decode(self, rollout: Rollout, *, together: int = 1) -> list[Reply]:
        """Images of a generation rollout, texts of an understanding rollout.

        A row that was not sampled from finite numbers, or whose pixels are not finite, is an error.
        """
        made = self._pictures(rollout, together) if rollout.task == "gen" else self._texts(rollout)
        return finite_replies(rollout, made, self.network.dtype)

    def _pictures(self, rollout: Rollout, together: int) -> list[Reply]:
        grid: CodeGrid = rollout.conditions["grid"]
        codes_Nhw = rollout.tokens_NT.view(-1, *grid)
        none = Reply(error=no_finite("pixels", torch.float32))
        replies = []
        for part in torch.split(codes_Nhw, together):
            pixels = self.vq.decode(part)
            finite = pixels.flatten(1).isfinite().all(1).tolist()
            for picture_HWC, sound in zip(to_bytes(pixels).cpu().numpy(), finite, strict=True):
                drawn = Reply(image=Image.fromarray(picture_HWC), tokens=grid.size)
                replies.append(drawn if sound else none)
        return replies

    def _texts(self, rollout: Rollout) -> list[Reply]:
        rows = rollout.tokens_NT.tolist()
        counts = rollout.mask_NT.sum(1).tolist()
        return [
            Reply(text=self.layout.text(row).strip(), tokens=count)
            for row, count in zip(rows, counts, strict=True)
        ]

    def layers(self) -> Iterable[nn.Module]:
        """The blocks of the network."""
        return self.network.model.transformer.blocks

    def checkpoint_activations(self) -> None:
        """Run blocks again in the backward pass."""
        self.network.recomputes = True

    def shared_parameters(self) -> dict[str, str]:
        """All of the network by block: "blocks.3", "wte", "ln_f", "ff_out" (the head).

        Both tasks train all of it. In `wte` understanding touches codes as what it reads, and in
        `ff_out` generation as what it says.
        """
        return parameters_by_block(self, f"{_NETWORK}model.transformer.", repeated="blocks")

    def weight_files(self) -> dict[str, dict[str, str]]:
        """The official names of the network's tensors, and of those of the VQ beside it."""
        return {
            file: {
                name: name.removeprefix(prefix)
                for name in tensor_names(self)
                if name.startswith(prefix)
            }
            for file, prefix in _FILES
        }

    def save(
        self,
        folder: Path,
        declaration: Mapping[str, Any],
        *,
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Write a folder of the official format, with its `pairuni.json`.

        `weights`, by the names of `state_dict`, are written instead of the model's own.
        """
        state = self.state_dict() if weights is None else weights
        tensors = {
            file: {
                name.removeprefix(prefix): one
                for name, one in state.items()
                if name.startswith(prefix)
            }
            for file, prefix in _FILES
        }
        self.files.write(folder, declaration, tensors)


def _conforms(policy: DimooPolicy) -> Policy:
    """Held by the type checker: the class keeps the whole protocol."""
    return policy


def _nearest(pixels: int, factor: int) -> int:
    return max(factor, round(pixels / factor) * factor)
