"""The tiny world: scenes of colored shapes on a 4x4 grid, drawn and read back exactly.

An image is 32x32 px, light gray, cut into 16 cells of 8 px. A cell is empty or holds one of
4 shapes in one of 6 colors, so it has 25 states: 0 is empty, `1 + 6 * shape + color` a thing.
`render` draws a scene, `read` takes any picture back to what it shows: in every cell the nearest
template, by mean absolute difference (the residual, 0 to 1). `read(render(scene)) == scene` for
every scene. The checker judges whatever a model drew and never fails.

A cell shows a thing only if its template fits: the residual is at most `FIT`, and at most
`BEYOND_PLAIN` of what is left when the cell is taken for one plain color. A cell that fits neither
a thing nor the ground is garbled: it holds nothing, and is not empty either. Measured residuals,
and their share of what a plain color leaves:

- 2,881 things in 1,519 pictures of the shipped model and of two trained ones: at most 0.082, share
  at most 0.60; their ground: at most 0.035. Not one reading changes for `FIT`;
- scenes of one to eight things drawn by the VQ: at most 0.066, share at most 0.54; ground 0.056;
- scenes enlarged by bilinear scaling: at most 0.058, share at most 0.48;
- uniform noise: 0.20 and more; models with random weights: 0.16 and more; plain white 0.137, gray
  0.208, black 0.432;
- plain red, yellow, ...: 0.05 to 0.10; gradients and patches of random colors: 0.06 and more. Those
  below `FIT` have a share of 1.9 and more, for a plain color describes them better than any thing.

What is lost: a third of the things of a 32x32 picture that went through JPEG, whose colors bleed.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

# Shapes: B images, N = 16 cells in raster order, P = 8*8*3 values of a cell, S = 25 cell states.

SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "cross")
COLORS: tuple[str, ...] = ("red", "green", "blue", "yellow", "purple", "orange")
GRID = 4
CELL = 8
SIZE = GRID * CELL
CELLS = GRID * GRID
STATES = 1 + len(SHAPES) * len(COLORS)
MAX_THINGS = 6
UNREAD = -1  # the state of a garbled cell
_READ_TOGETHER = 16  # pictures: their differences from the templates stay in the cache
# How far a cell may be from its template; the module's docstring says what was measured.
FIT = 0.1
BEYOND_PLAIN = 0.75

RGB: dict[str, tuple[int, int, int]] = {
    "red": (214, 39, 40),
    "green": (44, 150, 60),
    "blue": (40, 80, 214),
    "yellow": (244, 212, 40),
    "purple": (140, 50, 170),
    "orange": (250, 128, 20),
}
GROUND: tuple[int, int, int] = (220, 220, 220)

_BITMAPS: dict[str, str] = {
    "circle": "..####.. .######. ######## ######## ######## ######## .######. ..####..",
    "square": "........ .######. .######. .######. .######. .######. .######. ........",
    "triangle": "...##... ...##... ..####.. ..####.. .######. .######. ######## ########",
    "cross": "...##... ...##... ...##... ######## ######## ...##... ...##... ...##...",
}

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
ByteArray = npt.NDArray[np.uint8]


@dataclass(frozen=True, order=True)
class Thing:
    """One thing: a shape of a color in the cell (row, col), both counted from 0 at the top left."""

    shape: str
    color: str
    row: int
    col: int

    def __post_init__(self) -> None:
        """Refuse names and cells that the world does not have."""
        if self.shape not in SHAPES or self.color not in COLORS:
            raise ValueError(f"no such thing in the tiny world: {self.color} {self.shape}")
        if not (0 <= self.row < GRID and 0 <= self.col < GRID):
            raise ValueError(f"cell ({self.row}, {self.col}) is outside the {GRID}x{GRID} grid")

    @property
    def cell(self) -> tuple[int, int]:
        """The cell as (row, col)."""
        return (self.row, self.col)

    @property
    def name(self) -> str:
        """Color and shape in words, such as "red circle"."""
        return f"{self.color} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """Things in distinct cells, always held in raster order; may be empty.

    `garbled` are the cells (row, col) of a picture that show nothing the world knows; a scene that
    was not read from a picture has none.

    Raises:
        ValueError: two things share a cell, or a thing stands in a garbled one.
    """

    things: tuple[Thing, ...]
    garbled: frozenset[tuple[int, int]] = frozenset()

    def __post_init__(self) -> None:
        """Put the things in raster order."""
        cells = {thing.cell for thing in self.things}
        if len(cells) != len(self.things):
            raise ValueError("two things share a cell")
        if cells & self.garbled:
            raise ValueError("a garbled cell holds no thing")
        object.__setattr__(self, "things", tuple(sorted(self.things, key=lambda t: t.cell)))

    def at(self, row: int, col: int) -> Thing | None:
        """The thing in a cell, or None if it holds none."""
        return next((thing for thing in self.things if thing.cell == (row, col)), None)

    def select(self, shape: str | None = None, color: str | None = None) -> tuple[Thing, ...]:
        """The things of a shape and a color; None admits all."""
        return tuple(
            t for t in self.things if shape in (None, t.shape) and color in (None, t.color)
        )

    def free_cells(self) -> tuple[tuple[int, int], ...]:
        """The empty cells in raster order."""
        taken = {thing.cell for thing in self.things} | self.garbled
        cells = ((row, col) for row in range(GRID) for col in range(GRID))
        return tuple(cell for cell in cells if cell not in taken)

    def without(self, row: int, col: int) -> Scene:
        """The same scene with one cell emptied."""
        kept = tuple(thing for thing in self.things if thing.cell != (row, col))
        return Scene(kept, self.garbled - {(row, col)})

    def with_thing(self, thing: Thing) -> Scene:
        """The same scene with `thing` put into its cell, in place of what was there."""
        rest = self.without(*thing.cell)
        return Scene((*rest.things, thing), rest.garbled)


@dataclass(frozen=True)
class Detection:
    """A thing found in a picture.

    `box` is (x0, y0, x1, y1) in pixels of the 32x32 picture, inclusive, round the shape itself.
    `residual` is the mean absolute difference of the cell from its template, 0 exact, at most 1.
    """

    shape: str
    color: str
    row: int
    col: int
    box: tuple[int, int, int, int]
    residual: float

    @property
    def score(self) -> float:
        """Confidence in [0, 1], one minus the residual: 1 for a perfect drawing."""
        return 1.0 - self.residual

    @property
    def thing(self) -> Thing:
        """The thing that was found."""
        return Thing(self.shape, self.color, self.row, self.col)


# States: the 25 things a cell can be


def state_of(shape: str, color: str) -> int:
    """The state, in 1..24, of a cell that holds this shape in this color."""
    return 1 + len(COLORS) * SHAPES.index(shape) + COLORS.index(color)


def thing_of(state: int, row: int, col: int) -> Thing:
    """The thing of a state in 1..24, put into a cell."""
    shape, color = divmod(state - 1, len(COLORS))
    return Thing(SHAPES[shape], COLORS[color], row, col)


def states_of(scene: Scene) -> IntArray:
    """The (16,) cell states of a scene in raster order, `UNREAD` where it is garbled."""
    states_N = np.zeros(CELLS, dtype=np.int64)
    for row, col in scene.garbled:
        states_N[row * GRID + col] = UNREAD
    for thing in scene.things:
        states_N[thing.row * GRID + thing.col] = state_of(thing.shape, thing.color)
    return states_N


def scene_of(states_N: Sequence[int] | IntArray) -> Scene:
    """The scene whose 16 cells are in these states, in raster order."""
    placed = [(int(state), divmod(cell, GRID)) for cell, state in enumerate(states_N)]
    things = (thing_of(state, *cell) for state, cell in placed if state > 0)
    return Scene(tuple(things), frozenset(cell for state, cell in placed if state == UNREAD))


# Drawing


def _bitmap(shape: str) -> npt.NDArray[np.bool_]:
    return np.array([[mark == "#" for mark in line] for line in _BITMAPS[shape].split()])


@cache
def templates() -> ByteArray:
    """The (25, 8, 8, 3) pictures of the cell states; do not write into the result."""
    cells = np.empty((STATES, CELL, CELL, 3), dtype=np.uint8)
    cells[:] = GROUND
    for shape in SHAPES:
        for color in COLORS:
            cells[state_of(shape, color)][_bitmap(shape)] = RGB[color]
    cells.flags.writeable = False
    return cells


def render_states(states_BN: IntArray) -> ByteArray:
    """Draw a batch of cell states (B, 16) as (B, 32, 32, 3) bytes."""
    grid = templates()[states_BN].reshape(-1, GRID, GRID, CELL, CELL, 3)
    return np.ascontiguousarray(grid.transpose(0, 1, 3, 2, 4, 5).reshape(-1, SIZE, SIZE, 3))


def render(scene: Scene) -> Image.Image:
    """Draw a scene as a 32x32 RGB picture."""
    return Image.fromarray(render_states(states_of(scene)[None])[0])


# Reading


def to_array(image: Image.Image) -> ByteArray:
    """Any picture as (32, 32, 3) bytes; box resampling undoes an integer enlargement exactly."""
    if image.size != (SIZE, SIZE):
        image = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX)
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def nearest_states(pixels_BHWC: ByteArray) -> tuple[IntArray, FloatArray]:
    """Nearest cell states of (B, 32, 32, 3) bytes, whether they fit or not.

    Returns:
        states (B, 16) in 0..24 and their residuals (B, 16) in [0, 1].
    """
    cells_BNP = _cells(pixels_BHWC).astype(np.int16)
    templates_S11P = templates().reshape(STATES, 1, 1, -1).astype(np.int16)
    # One template at a time for a big batch: its whole (25, B, 16, 192) difference would not fit.
    few = max(1, STATES // max(1, len(cells_BNP)))
    parts = (templates_S11P[start : start + few] for start in range(0, STATES, few))
    sums_SBN = np.concatenate([np.abs(cells_BNP - p).sum(axis=-1) for p in parts])
    distance_SBN = sums_SBN.astype(np.float32) / cells_BNP.shape[-1] / 255
    return distance_SBN.argmin(axis=0), distance_SBN.min(axis=0).astype(np.float64)


def states_shown(pixels_BHWC: ByteArray) -> IntArray:
    """Cell states (B, 16) of (B, 32, 32, 3) bytes: in 0..24, `UNREAD` where nothing fits."""
    return _shown(pixels_BHWC, *nearest_states(pixels_BHWC))


def _shown(pixels_BHWC: ByteArray, states_BN: IntArray, residual_BN: FloatArray) -> IntArray:
    """The nearest states where they fit."""
    fits_BN = residual_BN <= FIT
    # The ground is a plain color itself, so that only a thing has to do better than one.
    fits_BN &= (states_BN == 0) | (residual_BN <= BEYOND_PLAIN * _plain_residuals(pixels_BHWC))
    return np.where(fits_BN, states_BN, UNREAD)


def _plain_residuals(pixels_BHWC: ByteArray) -> FloatArray:
    """Mean absolute difference of every cell from the plain color that suits it best (B, 16)."""
    cells_BNPC = _cells(pixels_BHWC).reshape(-1, CELLS, CELL * CELL, 3).astype(np.float32)
    middle = CELL * CELL // 2
    sorted_BNPC = np.partition(cells_BNPC, (middle - 1, middle), axis=2)
    color_BN1C = sorted_BNPC[:, :, middle - 1 : middle + 1].mean(axis=2, keepdims=True)  # median
    distance_BN = np.abs(cells_BNPC - color_BN1C).mean(axis=(2, 3)) / 255
    return np.asarray(distance_BN, dtype=np.float64)


def _cells(pixels_BHWC: ByteArray) -> ByteArray:
    grid = pixels_BHWC.reshape(-1, GRID, CELL, GRID, CELL, 3).transpose(0, 1, 3, 2, 4, 5)
    return grid.reshape(-1, CELLS, CELL * CELL * 3)


@cache
def _box(shape: str, row: int, col: int) -> tuple[int, int, int, int]:
    ys, xs = np.nonzero(_bitmap(shape))
    left, top = col * CELL, row * CELL
    return (
        left + int(xs.min()),
        top + int(ys.min()),
        left + int(xs.max()),
        top + int(ys.max()),
    )


def _detection(thing: Thing, residual: float) -> Detection:
    box = _box(thing.shape, thing.row, thing.col)
    return Detection(thing.shape, thing.color, thing.row, thing.col, box, residual)


def detections_of(scene: Scene) -> list[Detection]:
    """What `detect` finds on a perfect drawing of a scene, without drawing it."""
    return [_detection(thing, 0.0) for thing in scene.things]


def detect(image: Image.Image) -> list[Detection]:
    """Find the things in any picture, in raster order; noise and blanks hold none."""
    return detect_all([image])[0]


def detect_all(images: Sequence[Image.Image]) -> list[list[Detection]]:
    """As `detect`, of many pictures in less time."""
    return [
        [_detection(t, float(residual_N[t.row * GRID + t.col])) for t in scene.things]
        for scene, residual_N in _read_all(images)
    ]


def cell_residuals(image: Image.Image) -> FloatArray:
    """The (16,) residuals of all cells, empty and garbled ones included, in raster order."""
    residual_BN = nearest_states(to_array(image)[None])[1]
    return np.asarray(residual_BN[0], dtype=np.float64)


def read(image: Image.Image) -> Scene:
    """The scene that a picture shows."""
    return read_all([image])[0]


def read_all(images: Sequence[Image.Image]) -> list[Scene]:
    """As `read`, of many pictures in less time."""
    return [scene for scene, _ in _read_all(images)]


def _read_all(images: Sequence[Image.Image]) -> Iterator[tuple[Scene, FloatArray]]:
    """The scene of every picture, and the residuals of its cells (16,)."""
    for start in range(0, len(images), _READ_TOGETHER):
        part = images[start : start + _READ_TOGETHER]
        pixels_BHWC = np.stack([to_array(image) for image in part])
        states_BN, residual_BN = nearest_states(pixels_BHWC)
        shown_BN = _shown(pixels_BHWC, states_BN, residual_BN)
        yield from zip(map(scene_of, shown_BN), residual_BN, strict=True)


# Chance


def held_out(scene: Scene) -> bool:
    """Whether a scene is of the tenth on which training never asks a question or an edit."""
    return _held_out(states_of(scene).astype(np.uint8).tobytes())


def _held_out(states: bytes | bytearray) -> bool:
    return zlib.crc32(states) % 10 == 0


def random_scene(
    rng: random.Random,
    *,
    min_things: int = 1,
    max_things: int = MAX_THINGS,
    held: bool | None = None,
) -> Scene:
    """A scene of `min_things`..`max_things` things, all draws uniform and independent.

    `held` True admits held-out scenes only (for benchmarks), False only the others (for
    training), None both.
    """
    while True:
        count = rng.randint(min_things, max_things)
        cells = rng.sample(range(CELLS), count)
        states = bytearray(CELLS)
        for cell in cells:
            states[cell] = rng.randrange(1, STATES)
        if held is None or _held_out(states) == held:
            return scene_of(states)
