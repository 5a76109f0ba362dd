"""Answers, drawings and edits of BAGEL for a batch of requests.

What a request puts into its contexts follows the official inferencer:

| | whole | without the text | without the picture |
|---|---|---|---|
| draw | [prompt] | nothing | the whole |
| edit | [latents][picture][instruction] | [latents][picture] | [instruction] |

A request that thinks has the system's sentence as its first text everywhere, and its thought, read
again from its text, as the last one of the whole. Questions put all pictures before the text, as
the official `chat` does.

Departures from the official code: every request has a generator of its own, on the CPU, which first
gives the noise of an edit's latents and then that of its picture; a prompt is read once for all its
draws, and a picture is looked at once for everything that is asked about it.

Legend: N requests, R rows that differ, T tokens of a picture, C numbers of a token, Z latents.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.finite import mark_of, no_finite
from pairuni_eval.models.bagel import pictures as pics
from pairuni_eval.models.bagel.contexts import (
    Context,
    latent_block,
    picture_block,
    read,
    text_block,
)
from pairuni_eval.models.bagel.flow import (
    Canvas,
    FlowBranches,
    FlowGuidance,
    VelocityField,
    drawn,
    timesteps,
)
from pairuni_eval.models.bagel.loading import LoadedBagel
from pairuni_eval.models.bagel.text_sampler import Written, write
from pairuni_eval.models.base import Reply, Request
from pairuni_eval.seeds import seed_for

THINK_THEN_ANSWER = (
    "You should first think about the reasoning process in the mind and then provide the user with "
    "the answer. \nThe reasoning process is enclosed within <think> </think> tags, i.e. <think> "
    "reasoning process here </think> answer here"
)
THINK_THEN_DRAW = (
    "You should first think about the planning process in the mind and then generate the image. \n"
    "The planning process is enclosed within <think> </think> tags, i.e. <think> planning process "
    "here </think> image here"
)
POINTS, SHIFT = 50, 3.0  # of the official scripts, where a decoding leaves them open


class _Kinds(NamedTuple):
    """Which rows of a batch differ: the first of each kind, and the kind of each row."""

    first: list[int]
    kind_N: Tensor


class BagelInference:
    """A loaded model that replies.

    Args:
        loaded: Weights, tokenizer and sizes.
    """

    def __init__(self, loaded: LoadedBagel) -> None:
        self._loaded = loaded
        self._network, self._autoencoder = loaded.network, loaded.autoencoder

    @torch.inference_mode()
    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Texts; all requests share their decoding."""
        written = self._write(self.asked(requests), requests)
        return [
            Reply(text=self.text_of(ids), tokens=len(ids)) if finite else self._not_finite()
            for ids, finite in zip(written.ids, written.finite_R.tolist(), strict=True)
        ]

    def noise_of(self, request: Request, grid: tuple[int, int]) -> Tensor:
        """The noise (T, C) that a picture from text alone begins with."""
        shape = (grid[0] * grid[1], self._loaded.config.token)
        return torch.randn(shape, generator=_generator(request))

    @torch.inference_mode()
    def draw(self, requests: Sequence[Request]) -> list[Reply]:
        """Pictures from text alone; all requests share their decoding."""
        decoding = requests[0].decoding
        if decoding.sde_level is not None:
            raise UserError(
                "decoding.sde_level draws noise that training scores; a picture that is measured "
                "has none.",
                hint="Leave sde_level and sde_window out.",
            )
        grid = self.drawn_grid(decoding)
        noises = [self.noise_of(request, grid) for request in requests]
        branches, thoughts = self.branches_of_prompts(requests)
        return self._paint(branches, torch.stack(noises), grid, decoding, thoughts)

    @torch.inference_mode()
    def edit(self, requests: Sequence[Request]) -> list[Reply]:
        """Pictures changed as their texts say; all requests share their decoding."""
        sources = [
            pics.resized(pics.on_white(_only_picture(request)), self._loaded.shapes.source)
            for request in requests
        ]
        replies: list[Reply] = [Reply()] * len(requests)
        for size in dict.fromkeys(source.size for source in sources):
            places = [place for place, source in enumerate(sources) if source.size == size]
            some = [requests[place] for place in places]
            for place, reply in zip(
                places, self._edit(some, [sources[p] for p in places]), strict=True
            ):
                replies[place] = reply
        return replies

    def asked(self, requests: Sequence[Request]) -> Context:
        """The contexts of questions: system, pictures, text."""
        images = [[part for part in one.parts if isinstance(part, Image.Image)] for one in requests]
        keys = [tuple(map(_content, some)) for some in images]
        kinds = _kinds(keys, self._network.device)
        context = self._system(len(kinds.first), requests[0].decoding, THINK_THEN_ANSWER)
        seen = self._seen_of([images[row] for row in kinds.first])
        for number in range(max(map(len, seen), default=0)):
            row = [some[number] if number < len(some) else None for some in seen]
            block = picture_block(self._network, self._loaded.marks, row)
            _, context = read(self._network, context, block)
        context = context.rows(kinds.kind_N)
        return self._say(context, [request.text for request in requests])

    def branches_of_prompts(self, requests: Sequence[Request]) -> tuple[FlowBranches, list[str]]:
        """The contexts of prompts, and what was thought of each."""
        decoding = requests[0].decoding
        kinds = _kinds([request.text for request in requests], self._network.device)
        wordless = self._system(1, decoding, THINK_THEN_DRAW)
        texts = [requests[row].text for row in kinds.first]
        prompts = self._say(self._repeat(wordless, len(texts)), texts).rows(kinds.kind_N)
        whole, thoughts = self._think(prompts, requests)
        pictureless = prompts if decoding.thinking else None
        return FlowBranches(whole, self._repeat(wordless, len(requests)), pictureless), thoughts

    def text_of(self, ids: Sequence[int]) -> str:
        """An answer in words."""
        return self._text(ids).strip()

    def branches_of_edits(
        self, requests: Sequence[Request], sources: Sequence[Image.Image], latents_NTC: Tensor
    ) -> tuple[FlowBranches, list[str]]:
        """The contexts of edits of pictures of one size, and what was thought of each.

        Args:
            requests: N.
            sources: Their pictures, at the size that latents are made of.
            latents_NTC: Their latents.
        """
        loaded, decoding = self._loaded, requests[0].decoding
        texts = [request.text for request in requests]
        system = self._system(len(requests), decoding, THINK_THEN_DRAW)
        grid = self._grid(*sources[0].size)
        clean = latent_block(self._network, loaded.marks, latents_NTC, self._places(grid), 0.0)
        _, wordless = read(self._network, system, clean)
        seen = [some[0] for some in self._seen_of([[source] for source in sources], editing=True)]
        _, wordless = read(
            self._network, wordless, picture_block(self._network, loaded.marks, seen)
        )
        whole, thoughts = self._think(self._say(wordless, texts), requests)
        return FlowBranches(whole, wordless, self._say(system, texts)), thoughts

    def latents_of(self, sources: Sequence[Image.Image], noise_NZhw: Tensor) -> Tensor:
        """Latent tokens (N, T, C) of pictures of one size; an equal picture is encoded once."""
        kinds = _kinds([_content(one) for one in sources], self._network.device)
        pixels = torch.stack([pics.to_pixels(sources[row]) for row in kinds.first])
        moments = self._autoencoder.moments(pixels.to(self._network.device))[kinds.kind_N]
        latents = self._autoencoder.drawn(moments, noise_NZhw.to(moments.device))
        return pics.patches(latents, self._loaded.config.latent_patch)

    def drawn_grid(self, decoding: Decoding) -> tuple[int, int]:
        """Rows and columns of the tokens of a picture from text alone."""
        width, height = decoding.size or self._loaded.shapes.drawn
        return self._grid(width, height)

    def canvas(self, grid: tuple[int, int]) -> Canvas:
        """Where pictures of a grid of tokens are drawn."""
        return Canvas(self._places(grid), self._loaded.marks)

    def pixels_of(self, latents_NTC: Tensor, grid: tuple[int, int]) -> Tensor:
        """Decoded pixels (N, 3, H, W), one picture at a time: a value depends on its own alone."""
        maps = pics.unpatched(latents_NTC.float(), grid, self._loaded.config.latent_patch)
        return torch.cat([self._autoencoder.decode(one[None]) for one in maps])

    def _edit(self, requests: Sequence[Request], sources: Sequence[Image.Image]) -> list[Reply]:
        decoding, config = requests[0].decoding, self._loaded.config
        width, height = sources[0].size
        grid, factor = self._grid(width, height), config.autoencoder.factor
        of_latents, of_picture = [], []
        shape = (config.autoencoder.latents, height // factor, width // factor)
        for request in requests:
            generator = _generator(request)
            of_latents.append(torch.randn(shape, generator=generator))
            of_picture.append(torch.randn(grid[0] * grid[1], config.token, generator=generator))
        latents_NTC = self.latents_of(sources, torch.stack(of_latents))
        branches, thoughts = self.branches_of_edits(requests, sources, latents_NTC)
        return self._paint(branches, torch.stack(of_picture), grid, decoding, thoughts)

    def _paint(
        self,
        branches: FlowBranches,
        noise_NTC: Tensor,
        grid: tuple[int, int],
        decoding: Decoding,
        thoughts: Sequence[str],
    ) -> list[Reply]:
        field = VelocityField(self._network, branches, self.canvas(grid), FlowGuidance.of(decoding))
        times = timesteps(decoding.steps or POINTS, decoding.timestep_shift or SHIFT)
        latents_NTC = drawn(field, noise_NTC.to(self._network.device), times)
        pixels = self.pixels_of(latents_NTC, grid)
        finite = mark_of(pixels.flatten(1)).isfinite().tolist()
        return [
            Reply(text=thought or None, image=image, tokens=grid[0] * grid[1])
            if whole
            else self._not_finite("pixels")
            for image, thought, whole in zip(pics.to_images(pixels), thoughts, finite, strict=True)
        ]

    def _system(self, rows: int, decoding: Decoding, sentence: str) -> Context:
        """The context before a request: the system's sentence where there is to be a thought."""
        context = Context.empty(rows, self._network.device)
        return self._say(context, [sentence] * rows) if decoding.thinking else context

    def _say(self, context: Context, texts: Sequence[str]) -> Context:
        """One more text in every row."""
        ids = [self._ids(text) for text in texts]
        return read(self._network, context, text_block(self._network, self._loaded.marks, ids))[1]

    def _think(self, context: Context, requests: Sequence[Request]) -> tuple[Context, list[str]]:
        """Contexts with their thoughts, which are read again from their texts."""
        if not requests[0].decoding.thinking:
            return context, [""] * len(requests)
        written = self._write(context, requests)
        thoughts = [self._text(ids) for ids in written.ids]
        return self._say(context, thoughts), thoughts

    def _write(self, context: Context, requests: Sequence[Request]) -> Written:
        seeds = [seed_for(one.seed, one.uid, 0, "words") for one in requests]
        decoding = requests[0].decoding
        return write(self._network, context, self._loaded.marks, decoding, seeds)

    def _seen_of(
        self, images: Sequence[Sequence[Image.Image]], *, editing: bool = False
    ) -> list[list[Tensor]]:
        """What the vision tower makes of the pictures of every row; an equal one is seen once."""
        rule = self._loaded.shapes.edited if editing else self._loaded.shapes.asked
        scaled = [
            [pics.resized(pics.on_white(one), rule, pictures=len(some)) for one in some]
            for some in images
        ]
        different = {_content(one): one for some in scaled for one in some}
        found: dict[Hashable, Tensor] = {}
        for size in dict.fromkeys(one.size for one in different.values()):
            same = {key: one for key, one in different.items() if one.size == size}
            found.update(self._look(same))
        return [[found[_content(one)] for one in some] for some in scaled]

    def _look(self, images: Mapping[Hashable, Image.Image]) -> Iterable[tuple[Hashable, Tensor]]:
        """What the tower makes of different pictures of one size."""
        side = self._loaded.config.vision.patch_size
        pixels = torch.stack([pics.to_pixels(one) for one in images.values()])
        grid = (pixels.shape[-2] // side, pixels.shape[-1] // side)
        self._fits(grid, self._loaded.config.vision_side, side)
        places = pics.places(grid, self._loaded.config.vision_side).to(self._network.device)
        seen = self._network.seen(pics.patches(pixels, side).to(self._network.device), places)
        return zip(images, seen, strict=True)

    def _grid(self, width: int, height: int) -> tuple[int, int]:
        """Rows and columns of the latent tokens of a picture.

        Raises:
            UserError: for a size that is not in whole tokens, or larger than the position table.
        """
        cell = self._loaded.config.cell
        if width % cell or height % cell:
            raise UserError(
                f"size: {width}x{height} is not in multiples of {cell} pixels.",
                hint=f"The nearest is {max(cell, round(width / cell) * cell)}x"
                f"{max(cell, round(height / cell) * cell)}.",
            )
        grid = (height // cell, width // cell)
        self._fits(grid, self._loaded.config.latent_side, cell)
        return grid

    def _fits(self, grid: tuple[int, int], side: int, cell: int) -> None:
        if max(grid) > side:
            raise UserError(
                f"size: {grid[1] * cell}x{grid[0] * cell} is more than the {side * cell} pixels of "
                "a side that the model has positions for."
            )

    def _places(self, grid: tuple[int, int]) -> Tensor:
        return pics.places(grid, self._loaded.config.latent_side).to(self._network.device)

    def _repeat(self, context: Context, rows: int) -> Context:
        return context.rows(torch.zeros(rows, dtype=torch.long, device=self._network.device))

    def _ids(self, text: str) -> list[int]:
        return list(self._loaded.tokenizer.encode(text, add_special_tokens=False).ids)

    def _text(self, ids: Sequence[int]) -> str:
        return str(self._loaded.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _not_finite(self, what: str = "logits") -> Reply:
        return Reply(error=no_finite(what, self._network.dtype))


def _kinds(keys: Sequence[Hashable], device: torch.device) -> _Kinds:
    number: dict[Hashable, int] = {}
    first = []
    for row, key in enumerate(keys):
        if key not in number:
            number[key] = len(number)
            first.append(row)
    return _Kinds(first, torch.tensor([number[key] for key in keys], device=device))


def _content(image: Image.Image) -> Hashable:
    return image.mode, image.size, image.tobytes(), "transparency" in image.info


def _generator(request: Request) -> torch.Generator:
    return torch.Generator().manual_seed(request.seed)


def _only_picture(request: Request) -> Image.Image:
    """The picture of an edit: the first, where there are several."""
    return next(part for part in request.parts if isinstance(part, Image.Image))
