"""Drawing by flow matching: from noise at time 1 to a picture at time 0.

    x <- x - v (t_k - t_{k+1}),   t = s t' / (1 + (s - 1) t'),   t' evenly spaced from 1 to 0,

with the velocity v of the network, which points from data to noise. n points in time are n - 1
steps. Inside an interval of the time the velocity is guided: with c, u and i of the whole context,
of the one without the text and of the one without the picture,

    m = u + g (c - u),   v = i + k (m - i),

and its length is shrunk to that of c, never below a least share: over each position, over the whole
picture, or over each position before the picture's guidance. Without a text scale above 1 there is
no guidance at all, whatever the picture's.

Every branch and every request is a row of one forward pass; contexts do not change from step to
step. Where the picture's branch is the whole context (a picture from text alone), it is not
computed: i = c says the same.

Departure from the official code: a picture's length is its own, also where several are drawn
together; times, the latents and guidance are in float32, whatever the precision of the weights.

Legend: N requests of one size, T tokens of a picture, C numbers of a token.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.models.bagel.contexts import MARKS, Context, Marks, latent_block, read, stacked
from pairuni_eval.models.bagel.network import Bagel

Renorm = Literal["none", "global", "channel", "text_channel"]
_TINY = 1e-8
_ROWS = {"global": (-2, -1), "channel": (-1,), "text_channel": (-1,)}  # a length is taken over


class FlowGuidance(NamedTuple):
    """How velocities are guided.

    Attributes:
        text: Scale g; at most 1 is no guidance.
        image: Scale k; at most 1 leaves out the branch without the picture.
        low: Times above it are guided,
        high: up to this one.
        renorm: What the length is taken over.
        least: Least share that a velocity is shrunk to; 1 shrinks nothing.
    """

    text: float = 1.0
    image: float = 1.0
    low: float = 0.0
    high: float = 1.0
    renorm: Renorm = "global"
    least: float = 0.0

    @classmethod
    def of(cls, decoding: Decoding) -> FlowGuidance:
        """What a decoding asks for; what it leaves open is the official default.

        Raises:
            UserError: for a scale of the picture without one of the text, which does nothing.
        """
        default = cls()
        if (decoding.cfg_image_scale or 1.0) > 1.0 >= decoding.cfg_scale:
            raise UserError(
                f"cfg_image_scale: {decoding.cfg_image_scale} does nothing where cfg_scale is "
                f"{decoding.cfg_scale}: BAGEL guides by the picture only with the text.",
                hint="Give both, e.g. --set decoding.cfg_scale=4 --set decoding.cfg_image_scale=2",
            )
        low, high = decoding.cfg_interval or (default.low, default.high)
        least = default.least if decoding.cfg_renorm_min is None else decoding.cfg_renorm_min
        image = default.image if decoding.cfg_image_scale is None else decoding.cfg_image_scale
        renorm = decoding.cfg_renorm or default.renorm
        return cls(decoding.cfg_scale, image, low, high, renorm, least)

    def at(self, time: float) -> bool:
        """Whether a step at this time is guided."""
        return self.text > 1.0 and self.low < time <= self.high

    def mixed(self, whole: Tensor, wordless: Tensor, pictureless: Tensor) -> Tensor:
        """The guided velocity (N, T, C) of the three branches'."""
        guided = wordless + self.text * (whole - wordless)
        if self.renorm == "text_channel":
            return self._towards_picture(self._shrunk(guided, whole), pictureless)
        return self._shrunk(self._towards_picture(guided, pictureless), whole)

    def _towards_picture(self, guided: Tensor, pictureless: Tensor) -> Tensor:
        return pictureless + self.image * (guided - pictureless) if self.image > 1.0 else guided

    def _shrunk(self, guided: Tensor, whole: Tensor) -> Tensor:
        if self.renorm == "none":
            return guided
        over = _ROWS[self.renorm]
        lengths = [torch.linalg.vector_norm(one, dim=over, keepdim=True) for one in (whole, guided)]
        share: Tensor = (lengths[0] / (lengths[1] + _TINY)).clamp(self.least, 1.0)
        return guided * share


def timesteps(points: int, shift: float) -> list[float]:
    """Points in time from 1 to 0."""
    even = (1 - number / (points - 1) for number in range(points))
    return [shift * time / (1 + (shift - 1) * time) for time in even]


class FlowBranches(NamedTuple):
    """The contexts that velocities are computed in, N rows each.

    Attributes:
        whole: All of the request.
        wordless: Without its text.
        pictureless: Without its picture; None where that is the whole.
    """

    whole: Context
    wordless: Context
    pictureless: Context | None = None


class Canvas(NamedTuple):
    """Where pictures of one size are drawn.

    Attributes:
        places_T: Rows of the position table.
        marks: Set around each picture.
    """

    places_T: Tensor
    marks: Marks


class VelocityField:
    """The velocities of N pictures under guidance."""

    def __init__(
        self, network: Bagel, branches: FlowBranches, canvas: Canvas, guidance: FlowGuidance
    ) -> None:
        self._network, self._canvas, self._guidance = network, canvas, guidance
        self._whole = branches.whole
        aside = [branches.wordless]
        if branches.pictureless is not None and guidance.image > 1.0:
            aside.append(branches.pictureless)
        self._branches = 1 + len(aside)
        self._all = stacked([branches.whole, *aside]) if guidance.text > 1.0 else branches.whole

    def at(self, x_NTC: Tensor, time: float) -> Tensor:
        """Velocities (N, T, C) in float32."""
        return self._velocity(x_NTC, time, guided=self._guidance.at(time))

    def at_each(self, x_NTC: Tensor, times: Sequence[float]) -> Tensor:
        """Velocities (N, T, C) of pictures that stand at a time each."""
        guided = torch.tensor([self._guidance.at(time) for time in times], device=x_NTC.device)
        time_N = torch.tensor(times, device=x_NTC.device)
        if not bool(guided.any()):
            return self._velocity(x_NTC, time_N, guided=False)
        mixed = self._velocity(x_NTC, time_N, guided=True)
        if bool(guided.all()):
            return mixed
        plain = self._velocity(x_NTC, time_N, guided=False)
        return torch.where(guided[:, None, None], mixed, plain)

    def _velocity(self, x_NTC: Tensor, time: float | Tensor, *, guided: bool) -> Tensor:
        if not guided:
            return self._of(self._whole, x_NTC, time)
        every = time.repeat(self._branches) if isinstance(time, Tensor) else time
        x_RTC = x_NTC.repeat(self._branches, 1, 1)
        found = self._of(self._all, x_RTC, every).chunk(self._branches)
        return self._guidance.mixed(found[0], found[1], found[2] if len(found) > 2 else found[0])

    def _of(self, context: Context, x_RTC: Tensor, time: float | Tensor) -> Tensor:
        block = latent_block(self._network, self._canvas.marks, x_RTC, self._canvas.places_T, time)
        hidden_RLD, _ = read(self._network, context, block)
        velocity: Tensor = self._network.llm2vae(hidden_RLD[:, MARKS:])
        return velocity.float()


class FlowStep(NamedTuple):
    """A step that was taken: the latents before it, its time, and the velocity."""

    x_NTC: Tensor
    time: float
    velocity_NTC: Tensor


def euler(
    velocity: Callable[[Tensor, float], Tensor], noise_NTC: Tensor, times: Sequence[float]
) -> Iterator[FlowStep]:
    """The steps from noise to a picture; the last one has time 0 and no velocity of its own."""
    x_NTC = noise_NTC.float()
    for time, after in pairwise(times):
        found = velocity(x_NTC, time)
        yield FlowStep(x_NTC, time, found)
        x_NTC = x_NTC - found * (time - after)
    yield FlowStep(x_NTC, times[-1], torch.zeros_like(x_NTC))


def drawn(field: VelocityField, noise_NTC: Tensor, times: Sequence[float]) -> Tensor:
    """The latents at time 0."""
    (last,) = deque(euler(field.at, noise_NTC, times), maxlen=1)
    return last.x_NTC
