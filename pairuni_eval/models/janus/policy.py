"""Janus as a policy: sampling, and log-probs with gradients by replay.

Replay teacher-forces [prompt ; completion] through transformers' own modules and reads the hidden
state one position before each token. In float32 it equals the sampler to 1e-5; in bfloat16 it does
not, and guidance amplifies the gap, so an old log-prob must come from `forward`, never from the
sampler.

`policy_logits` says whose probability an image token has: "conditional" (T2I-R1, CoRL), "cfg" (the
distribution that was sampled from) or "cfg_detached_uncond" (no gradient through the
unconditional rows). The paper does not say which it uses; conditional is the default of its
nearest relatives.

Every gradient goes through a call of this module as wrapped by the trainer; calling the inner
modules of a distributed wrapper would leave gradients unsynchronized without an error.

Legend: N rows, T completion positions, P prompt positions, V vocabulary or codebook, D hidden size.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pairuni_eval.decoding import Decoding
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
from pairuni_eval.models.cast_weights import autocast_precision, cast_once
from pairuni_eval.models.checkpoint import DECLARATION
from pairuni_eval.models.janus.codes import Guidance, code_embeddings, decode_codes, draw_codes
from pairuni_eval.models.janus.original_files import OriginalFiles
from pairuni_eval.models.janus.prompts import Prompt, encode, unconditional
from pairuni_eval.models.janus.teacher_forcing import hidden_before
from pairuni_eval.models.janus.text_sampler import Vocabulary, ban, sample_text
from pairuni_eval.models.janus.token_loop import TokenLoop
from pairuni_eval.models.logits import LazyLogits, scored_tokens
from pairuni_eval.models.policies import (
    eval_mode,
    finite_replies,
    parameters_by_block,
    shared_decoding,
    tensor_names,
)
from pairuni_eval.models.sampling import guide

if TYPE_CHECKING:
    from pairuni_eval.models.base import Policy

_OWN = "janus."  # what this module puts before the names of transformers' weights


class JanusPolicy(nn.Module):
    """A Janus model with its processor.

    Args:
        janus: transformers' `JanusForConditionalGeneration`.
        processor: The checkpoint's `JanusProcessor`.
        compiled: Sample by compiled steps; see `TokenLoop`.
        original: What is kept of the original format that it comes from.
    """

    tasks: frozenset[Task] = frozenset({"und", "gen"})

    def __init__(
        self,
        janus: Any,
        processor: Any,
        *,
        compiled: bool = False,
        original: OriginalFiles | None = None,
    ) -> None:
        super().__init__()
        self.original = original
        self._loop = TokenLoop(compiled=compiled)
        self.janus = janus
        self.processor = processor
        tokenizer = processor.tokenizer
        ids = {
            name: tokenizer.convert_tokens_to_ids(getattr(tokenizer, name))
            for name in ("image_token", "boi_token", "eoi_token")
        }
        pad = tokenizer.pad_token_id
        self.vocabulary = Vocabulary(
            end=tokenizer.eos_token_id, pad=pad, banned=(*ids.values(), pad, tokenizer.bos_token_id)
        )
        self.guidance = Guidance(keep=(tokenizer.bos_token_id, ids["boi_token"]), pad=pad)

    @property
    def compiled(self) -> bool:
        """Whether it samples by compiled steps."""
        return self._loop.compiled

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.janus.device
        return device

    def size(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def encode(self, task: Task, requests: Sequence[Request]) -> Prompt:
        """The padded inputs of a batch, on the model's device."""
        prompt = encode(self.processor, requests, to_image=task == "gen")
        return prompt.to(self.device, self.janus.dtype)

    @torch.no_grad()
    def sample(
        self, task: Task, requests: Sequence[Request], *, record_logp: bool = False
    ) -> Rollout:
        """Sample one completion per request; all requests share one decoding.

        Runs in eval mode and restores the mode it found.
        """
        decoding = shared_decoding(requests)
        with eval_mode(self):
            return self._sample(task, self.encode(task, requests), decoding, requests, record_logp)

    def _sample(
        self,
        task: Task,
        prompt: Prompt,
        decoding: Decoding,
        requests: Sequence[Request],
        record_logp: bool,
    ) -> Rollout:
        seeds = [request.seed for request in requests]
        conditions = {"prompt": prompt, "decoding": decoding}
        if task == "gen":
            codes_NT, logp_NT, finite_N = draw_codes(
                self.janus,
                prompt,
                guidance=self.guidance,
                decoding=decoding,
                seeds=seeds,
                record_logp=record_logp,
                loop=self._loop,
            )
            full_NT = torch.ones(codes_NT.shape, dtype=torch.bool, device=codes_NT.device)
            return Rollout(
                task,
                codes_NT.clone(),
                full_NT,
                conditions,
                True,
                sampler_logp_NT=_plain(logp_NT),
                finite_N=finite_N.clone(),
            )
        words = sample_text(
            self.janus,
            prompt,
            vocabulary=self.vocabulary,
            decoding=decoding,
            seeds=seeds,
            record_logp=record_logp,
            loop=self._loop,
        )
        return Rollout(
            task,
            words.tokens_BT.clone(),
            words.mask_BT.clone(),
            conditions,
            False,
            sampler_logp_NT=_plain(words.logp_BT),
            finite_N=words.finite_B.clone(),
        )

    def plan_views(
        self,
        rollout: Rollout,
        seeds: Sequence[int],  # noqa: ARG002
        plan: ViewPlan = TRACE,  # noqa: ARG002
    ) -> list[View]:
        """One view that targets every token: an autoregressive policy draws no masks."""
        return [View(rollout.mask_NT, torch.ones(len(rollout), device=rollout.mask_NT.device))]

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
        decoding: Decoding = rollout.conditions["decoding"]
        prompt: Prompt = rollout.conditions["prompt"]
        if rollout.task == "gen":
            logits = self._code_logits(rollout, prompt, decoding, policy_logits)
        else:
            logits = self._word_logits(rollout, prompt)
        temperature = decoding.temperature or 1.0
        logp_NT, entropy_NT = scored_tokens(
            logits, rollout.tokens_NT, temperature=temperature, with_entropy=with_entropy
        )
        return LogProbs(logp_NT.masked_fill(~view.target_NT, 0.0), entropy_NT)

    def decode(self, rollout: Rollout, *, together: int = 1) -> list[Reply]:
        """Images of a generation rollout, texts of an understanding rollout.

        `together` images go through the decoder at once; see `decode_codes` for what that costs. A
        row that was not sampled from finite numbers, or whose pixels are not finite, is an error.
        """
        made = self._pictures(rollout, together) if rollout.task == "gen" else self._texts(rollout)
        return finite_replies(rollout, made, self._precision())

    def _pictures(self, rollout: Rollout, together: int) -> list[Reply]:
        from PIL import Image

        with cast_once(self.janus.model.vqmodel):
            drawn = decode_codes(self.janus, rollout.tokens_NT, together=together)
        count = rollout.tokens_NT.shape[1]
        none = Reply(error=no_finite("pixels", self._precision()))
        return [
            Reply(image=Image.fromarray(pixels_HWC.numpy()), tokens=count) if finite else none
            for pixels_HWC, finite in zip(drawn.pixels_BHWC, drawn.finite_B.tolist(), strict=True)
        ]

    def _texts(self, rollout: Rollout) -> list[Reply]:
        replies = []
        for tokens_T, mask_T in zip(rollout.tokens_NT, rollout.mask_NT, strict=True):
            said = tokens_T[mask_T].tolist()
            text = self.processor.tokenizer.decode(said, skip_special_tokens=True)
            replies.append(Reply(text=text.strip(), tokens=len(said)))
        return replies

    def _precision(self) -> torch.dtype:
        """What the model computes in: its own precision, or that of an autocast around the call."""
        own: torch.dtype = self.janus.dtype
        return autocast_precision(self.device) or own

    def layers(self) -> Iterable[nn.Module]:
        """The decoder layers of the language model."""
        layers: Iterable[nn.Module] = self.janus.model.language_model.layers
        return layers

    def checkpoint_activations(self) -> None:
        """Run the decoder layers again in the backward pass, where the module is in train mode."""
        self.janus.activation_checkpointing_enable()

    def shared_parameters(self) -> dict[str, str]:
        """The language model's parameters by block: the part both tasks train.

        Generation never reaches the vision tower, its aligner or the text head; understanding never
        reaches the generation embeddings, aligner or head.
        """
        return parameters_by_block(self, f"{_OWN}model.language_model.", repeated="layers")

    def save(
        self,
        folder: Path,
        declaration: Mapping[str, Any],
        *,
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Write a folder that transformers and `JanusModel.load` read, with its `pairuni.json`.

        One that comes from the original format can be written back: `pairuni-eval convert`.

        `weights`, by the names of `state_dict`, are written instead of the model's own, e.g. where
        these are sharded.
        """
        own = weights and {name.removeprefix(_OWN): one for name, one in weights.items()}
        self.janus.save_pretrained(folder, state_dict=own)
        fast = getattr(self.processor.tokenizer, "backend_tokenizer", None)
        if fast is not None:  # it remembers how the last batch was padded, and would save that
            fast.no_padding()
            fast.no_truncation()
        self.processor.save_pretrained(folder)
        if self.original is not None:
            self.original.keep(folder)
        text = json.dumps(dict(declaration), indent=2) + "\n"
        (folder / DECLARATION).write_text(text, encoding="utf-8")

    def weight_files(self) -> dict[str, dict[str, str]]:
        """One file, and in it transformers' names."""
        return {"model.safetensors": {one: one.removeprefix(_OWN) for one in tensor_names(self)}}

    def _code_logits(
        self, rollout: Rollout, prompt: Prompt, decoding: Decoding, policy_logits: PolicyLogits
    ) -> LazyLogits:
        read = code_embeddings(self.janus).__getitem__
        head = self.janus.model.generation_head
        width = len(self.janus.model.generation_embeddings.weight)
        hidden_NTD = hidden_before(self.janus, prompt, rollout.tokens_NT, rollout.mask_NT, read)
        if policy_logits == "conditional" or decoding.cfg_scale == 1.0:
            return LazyLogits((hidden_NTD,), head, width)
        bare = unconditional(prompt, keep=self.guidance.keep, pad=self.guidance.pad)
        learns = torch.is_grad_enabled() and policy_logits == "cfg"
        with torch.set_grad_enabled(learns):
            bare_NTD = hidden_before(self.janus, bare, rollout.tokens_NT, rollout.mask_NT, read)

        def guided(hidden_NTD: Tensor, bare_NTD: Tensor) -> Tensor:
            conditional_NTV = head(hidden_NTD)
            with torch.set_grad_enabled(torch.is_grad_enabled() and learns):
                unconditional_NTV = head(bare_NTD)
            both = torch.cat((conditional_NTV.float(), unconditional_NTV.float()))
            return guide(both, decoding.cfg_scale)

        return LazyLogits((hidden_NTD, bare_NTD), guided, 2 * width)

    def _word_logits(self, rollout: Rollout, prompt: Prompt) -> LazyLogits:
        read = self.janus.get_input_embeddings()
        hidden_NTD = hidden_before(self.janus, prompt, rollout.tokens_NT, rollout.mask_NT, read)

        def words(hidden_NTD: Tensor) -> Tensor:
            return ban(self.janus.lm_head(hidden_NTD), self.vocabulary)

        return LazyLogits((hidden_NTD,), words, self.janus.lm_head.out_features)


def _conforms(policy: JanusPolicy) -> Policy:
    """Held by the type checker: the class keeps the whole protocol."""
    return policy


def _plain(tensor: Tensor | None) -> Tensor | None:
    """A copy that autograd may save: tensors made in inference mode may not be."""
    return None if tensor is None else tensor.clone()
