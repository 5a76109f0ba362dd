"""One token after the other for all rows of a batch: the loop of both samplers.

A loop that is compiled is kept by its policy: its decoder and the code of a step are made once, and
every batch reads weights anew into the same memory. Rows and slots are rounded up to sizes that
many batches share. On a CPU a whole step is one piece of compiled code. On a GPU it is a CUDA graph
(`pairuni_eval.models.janus.captured_step`). Plain steps go through the same loop.

Legend: B rows, T tokens, V vocabulary or codebook, D hidden size, C rows of the decoder (2B under
guidance).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairuni_eval.errors import UserError
from pairuni_eval.finite import mark_of
from pairuni_eval.models.cast_weights import KeptCasts, autocast_precision, cast_once
from pairuni_eval.models.janus.captured_step import CapturedSteps, DrawnToken
from pairuni_eval.models.janus.decoder import StaticDecoder, many_shapes, shared_size
from pairuni_eval.models.janus.decoder_layers import places_of
from pairuni_eval.models.janus.kept_memory import KeptMemory
from pairuni_eval.models.janus.prefix import Prefix
from pairuni_eval.models.janus.prompts import Prompt
from pairuni_eval.models.sampling import guide, logp_of, pick, warp


@dataclass(frozen=True)
class TokenChoice:
    """From hidden states to tokens, in plain numbers that a compiler can read.

    Attributes:
        head: From hidden states to logits.
        cfg_scale: 1 without guidance.
        record_logp: Also give log-probs.
        banned_W: Tokens that may never be chosen; None for none.
    """

    head: Any
    temperature: float
    top_k: int
    top_p: float
    cfg_scale: float
    record_logp: bool
    banned_W: Tensor | None = None

    @property
    def guided(self) -> bool:
        """Whether the decoder has two rows for each, the conditional ones first."""
        return self.cfg_scale != 1.0

    @property
    def key(self) -> Hashable:
        """What tells code for one choice from code for another, beside the head."""
        numbers = (self.temperature, self.top_k, self.top_p, self.cfg_scale, self.record_logp)
        return numbers, _place_of(self.banned_W)

    def __call__(self, hidden_CD: Tensor, uniform_B: Tensor) -> DrawnToken:
        """The next token of each row."""
        logits_BV = self.head(hidden_CD).float()
        if self.guided:
            logits_BV = guide(logits_BV, self.cfg_scale)
        # Before anything is masked on purpose; what is not finite in either of the guided rows is
        # not finite in their difference.
        mark_B = mark_of(logits_BV)
        if self.banned_W is not None:
            logits_BV = logits_BV.index_fill(-1, self.banned_W, float("-inf"))
        logits_BV = warp(logits_BV, self.temperature, self.top_k, self.top_p)
        token_B = pick(logits_BV, uniform_B, greedy=self.temperature == 0.0)
        return DrawnToken(
            token_B, logp_of(logits_BV, token_B) if self.record_logp else None, mark_B
        )


def _place_of(one: Any) -> Hashable:
    return (one.data_ptr(), tuple(one.shape)) if isinstance(one, Tensor) else id(one)


# A table of embeddings (V, D), or the module that embeds.
Read = Tensor | nn.Module


class Batch(NamedTuple):
    """Prompts and the seeds of their rows, at a number of rows that the loop likes."""

    prompt: Prompt
    seeds: Sequence[int]


class TokenLoop:
    """From prompts to tokens.

    Args:
        compiled: Compile steps (needs a C++ compiler on the CPU) and keep what is made: the first
            batch of each shape takes seconds to minutes, the many after are faster. Else every
            batch begins with nothing.

    Attributes:
        made: Decoders that were made so far.
    """

    def __init__(self, *, compiled: bool = False) -> None:
        self.compiled = compiled
        self.made = 0
        self._kept: _Kept | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> TokenLoop:
        """What was made belongs to the weights of one network: a copy of it begins anew."""
        return TokenLoop(compiled=self.compiled)

    def batch(self, prompt: Prompt, seeds: Sequence[int]) -> Batch:
        """Rows to run: compiled, the last one is repeated up to a number that others share."""
        rows = len(seeds)
        wanted = shared_size(rows) if self.compiled else rows
        if wanted == rows:
            return Batch(prompt, seeds)
        row_N = torch.arange(wanted, device=prompt.ids_NP.device).clamp_(max=rows - 1)
        return Batch(prompt.rows(row_N), [*seeds, *[seeds[-1]] * (wanted - rows)])

    def run(
        self, llama: Any, prefix: Prefix, uniform_TB: Tensor, choose: TokenChoice, read: Read
    ) -> Generator[DrawnToken]:
        """The tokens of a batch, one position after the other; runs in inference mode.

        Args:
            llama: transformers' `LlamaModel`.
            prefix: What the C rows of the decoder begin with.
            uniform_TB: A number for each of at most T tokens; whoever has enough stops before.
            choose: How a token is chosen.
            read: What the network reads of tokens.
        """
        # A draw a row, so that every column is a tensor of its own: compiled code wants them alike.
        uniform_TB = uniform_TB.contiguous()
        slots = prefix.where_BP.shape[1] + len(uniform_TB) - 1
        with ExitStack() as held:
            if self.compiled:
                kept = self._kept_for(llama)
                held.enter_context(kept.casts.held(*kept.decoder.called, choose.head))
                decoder, go_on = kept.decoder, kept.steps(choose, read)
            else:
                held.enter_context(cast_once(llama, choose.head))
                decoder, go_on = StaticDecoder(llama), partial(advance, choose=choose, read=read)
                self.made += 1
            drawn = choose(decoder.prefill(prefix, slots=slots), uniform_TB[0])
            yield drawn
            for uniform_B in uniform_TB[1:]:
                decoder.expect_step()
                drawn = go_on(decoder, token_B=drawn.token_B, uniform_B=uniform_B)
                yield drawn

    def _kept_for(self, llama: Any) -> _Kept:
        """What is kept for a network; made anew where its weights lie elsewhere than before."""
        belongs_to = (llama, autocast_precision(llama.device), places_of(llama))
        if self._kept is None or self._kept.belongs_to != belongs_to:
            self._kept = None  # before as much memory again is asked for
            self._kept = _Kept(belongs_to, StaticDecoder(llama, kept=True))
            self.made += 1
        return self._kept


class _Kept:
    """What a compiled loop keeps for one network.

    Attributes:
        belongs_to: The network, its precision, and where its weights lie.
        casts: Cast weights of what is called as a module.
    """

    def __init__(self, belongs_to: Hashable, decoder: StaticDecoder) -> None:
        self.belongs_to = belongs_to
        self.decoder = decoder
        self.casts = KeptCasts()
        self._memory = KeptMemory()
        self._captured = CapturedSteps(advance)

    def steps(self, choose: TokenChoice, read: Read) -> Callable[..., DrawnToken]:
        """The steps of a batch, as the device has them; all that they read is in its place."""
        choose = replace(choose, banned_W=self._in_place("banned", choose.banned_W))
        read = self._in_place("read", read)
        if self.decoder.on_gpu:
            # Casts have taken their places by now.
            places = (choose.key, _place_of(read), places_of(choose.head), self._memory.moved)
            return partial(self._captured, places, choose=choose, read=read)
        return partial(_CompiledSteps(), choose=choose, read=read)

    def _in_place(self, name: str, one: Any) -> Any:
        return self._memory.keep(name, one) if isinstance(one, Tensor) else one


class _CompiledSteps:
    """The steps of one batch as compiled code.

    The first finds or makes the code that fits; others are of its shapes and objects, and run
    without asking.
    """

    def __init__(self) -> None:
        self._found = False

    def __call__(self, decoder: StaticDecoder, **given: Any) -> DrawnToken:
        with _trusting() if self._found else many_shapes():
            drawn = compiled_advance()(decoder, **given)
        self._found = True
        return drawn


def advance(
    decoder: StaticDecoder, choose: TokenChoice, read: Read, token_B: Tensor, uniform_B: Tensor
) -> DrawnToken:
    """One more token for every row."""
    x_BD = F.embedding(token_B, read) if isinstance(read, Tensor) else read(token_B)
    return choose(decoder.step(torch.cat((x_BD, x_BD)) if choose.guided else x_BD), uniform_B)


def _trusting() -> Any:
    """Compiled code runs without asking which fits; begins at the call."""
    return torch.compiler.set_stance(skip_guard_eval_unsafe=True)


def check_compiler(device: torch.device) -> None:
    """See that a device can have compiled steps, before anything is loaded.

    Raises:
        UserError: on a CPU without a C++ compiler.
    """
    if device.type != "cpu":
        return
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as missing:
        raise UserError(
            "Compiled steps need a C++ compiler on a CPU, and none was found.",
            hint="Install g++, name a compiler by the environment variable CXX, or leave out "
            "--compile and compiled = true.",
        ) from missing


@cache
def compiled_advance() -> Callable[..., DrawnToken]:
    """A whole step as one piece of code, of fixed sizes."""
    compiled: Callable[..., DrawnToken] = torch.compile(
        advance, fullgraph=True, dynamic=False, options={"cpp_wrapper": True}
    )
    return compiled
