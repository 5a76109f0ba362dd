"""Steps as CUDA graphs: all of a step's kernels in one call of the host.

A step of a billion weights takes a GPU a millisecond, and the host several to launch its hundreds
of kernels. Graphs are captured by hand, with static tensors for what comes in, because
`torch.compile(mode="reduce-overhead")` would copy every weight that is no parameter of a module
before each step, and refuses steps that change what they are given, as the cache is. What is
captured may itself be made of compiled pieces (`pairuni_eval.models.janus.decoder.compiled_layer`).

A graph knows addresses: whatever it reads has to stay in its place, and the caller names what it
depends on. One exists per shape and per reach of the attention; they share the memory of what comes
and goes within a step, for one runs at a time.

Legend: B rows.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pairuni_eval.models.janus.decoder import StaticDecoder, many_shapes

_WARMING_UP = 2  # steps: the first compiles, the second is as all others are
_MOST = 256  # graphs


class DrawnToken(NamedTuple):
    """A token of each row, its log-prob if asked for, and a number that is finite if logits are."""

    token_B: Tensor
    logp_B: Tensor | None
    mark_B: Tensor


Step = Callable[[StaticDecoder, Any, Any, Tensor, Tensor], DrawnToken]


class CapturedSteps:
    """The graphs of one decoder.

    Args:
        step: What is captured: from a decoder, a choice, what is read of tokens, the tokens of the
            rows and a uniform number for each to the next tokens.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._graphs: dict[Hashable, _Captured] = {}
        self._moved = 0
        self._pool: Any = None
        self._aside: torch.cuda.Stream | None = None

    def __call__(
        self,
        places: Hashable,
        decoder: StaticDecoder,
        choose: Any,
        read: Any,
        token_B: Tensor,
        uniform_B: Tensor,
    ) -> DrawnToken:
        """The next tokens, by the graph that fits; it is captured where there is none.

        Args:
            places: Whatever the step depends on beside the decoder's shape, addresses among it.
            decoder: As for a step.
            choose: As for a step.
            read: As for a step.
            token_B: As for a step.
            uniform_B: As for a step.
        """
        if decoder.moved != self._moved or len(self._graphs) >= _MOST:
            self._graphs.clear()
            self._pool = None
            self._moved = decoder.moved
        key = (places, decoder.shape)
        if key not in self._graphs:
            with torch.cuda.device(token_B.device), many_shapes():
                self._graphs[key] = self._capture(decoder, choose, read, token_B, uniform_B)
        return self._graphs[key](token_B, uniform_B)

    def _capture(
        self, decoder: StaticDecoder, choose: Any, read: Any, token_B: Tensor, uniform_B: Tensor
    ) -> _Captured:
        """Run the step until it is as it will be, then record it; the decoder stands as before."""
        static_token_B, static_uniform_B = token_B.clone(), uniform_B.clone()

        def step() -> DrawnToken:
            return self._step(decoder, choose, read, static_token_B, static_uniform_B)

        around, aside = torch.cuda.current_stream(), self._stream()
        aside.wait_stream(around)
        with torch.cuda.stream(aside):
            for _ in range(_WARMING_UP):
                step()
                decoder.again()
        around.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # What other threads do meanwhile, as those of a launcher, is none of the graph's business.
        with torch.cuda.graph(
            graph, pool=self._pool, stream=aside, capture_error_mode="thread_local"
        ):
            drawn = step()
        self._pool = graph.pool()
        return _Captured(graph, static_token_B, static_uniform_B, drawn)

    def _stream(self) -> torch.cuda.Stream:
        if self._aside is None:
            stream: Any = torch.cuda.Stream  # untyped
            self._aside = stream()
        return self._aside


class _Captured(NamedTuple):
    """A step, its inputs and its outputs."""

    graph: torch.cuda.CUDAGraph
    token_B: Tensor
    uniform_B: Tensor
    drawn: DrawnToken

    def __call__(self, token_B: Tensor, uniform_B: Tensor) -> DrawnToken:
        self.token_B.copy_(token_B)
        self.uniform_B.copy_(uniform_B)
        self.graph.replay()
        logp_B = None if self.drawn.logp_B is None else self.drawn.logp_B.clone()
        return DrawnToken(self.drawn.token_B.clone(), logp_B, self.drawn.mark_B.clone())
