"""The tiny world draws what it says and reads back what it drew."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from pairuni_eval.tiny import edits, world
from pairuni_eval.tiny.world import Scene, Thing

CIRCLE = Thing("circle", "red", 0, 0)
SQUARE = Thing("square", "blue", 3, 1)


def test_every_cell_state_is_read_back() -> None:
    states_BN = np.arange(world.STATES)[:, None].repeat(world.CELLS, axis=1)
    found_BN, residual_BN = world.nearest_states(world.render_states(states_BN))
    assert (found_BN == states_BN).all()
    assert residual_BN.max() == 0.0


def test_states_are_one_plus_six_times_shape_plus_color() -> None:
    assert world.state_of("circle", "red") == 1
    assert world.state_of("square", "red") == 7
    assert world.state_of("cross", "orange") == 24
    assert world.thing_of(24, 2, 3) == Thing("cross", "orange", 2, 3)


def test_a_scene_is_in_raster_order_whatever_the_order_given() -> None:
    assert Scene((SQUARE, CIRCLE)) == Scene((CIRCLE, SQUARE))
    assert Scene((SQUARE, CIRCLE)).things[0] is CIRCLE


def test_a_scene_answers_who_is_where() -> None:
    scene = Scene((CIRCLE, SQUARE))
    assert scene.at(3, 1) == SQUARE
    assert scene.at(1, 1) is None
    assert scene.select(color="blue") == (SQUARE,)
    assert len(scene.free_cells()) == 14
    assert scene.without(0, 0) == Scene((SQUARE,))
    assert scene.with_thing(Thing("cross", "green", 0, 0)).at(0, 0) == Thing("cross", "green", 0, 0)


def test_impossible_things_and_scenes_are_refused() -> None:
    with pytest.raises(ValueError, match="no such thing"):
        Thing("star", "red", 0, 0)
    with pytest.raises(ValueError, match="outside"):
        Thing("circle", "red", 4, 0)
    with pytest.raises(ValueError, match="share a cell"):
        Scene((CIRCLE, Thing("cross", "blue", 0, 0)))


def test_a_picture_has_the_ground_and_the_color_where_they_belong() -> None:
    picture = world.render(Scene((SQUARE,)))
    assert picture.size == (32, 32)
    assert picture.mode == "RGB"
    assert picture.getpixel((0, 0)) == world.GROUND
    assert picture.getpixel((8 + 4, 24 + 4)) == world.RGB["blue"]


def test_boxes_are_inclusive_pixels_round_the_shape() -> None:
    found = world.detect(world.render(Scene((CIRCLE, SQUARE))))
    assert [(d.shape, d.color, d.box) for d in found] == [
        ("circle", "red", (0, 0, 7, 7)),
        ("square", "blue", (9, 25, 14, 30)),
    ]
    assert [d.score for d in found] == [1.0, 1.0]


def test_detections_of_a_scene_are_those_of_its_picture() -> None:
    scene = world.random_scene(random.Random(3), min_things=6)
    assert world.detections_of(scene) == world.detect(world.render(scene))


def test_an_enlarged_or_gray_or_transparent_picture_is_accepted() -> None:
    scene = Scene((CIRCLE, SQUARE))
    picture = world.render(scene)
    assert world.read(picture.resize((256, 256), Image.Resampling.NEAREST)) == scene
    assert world.read(picture.convert("RGBA")) == scene
    assert isinstance(world.read(picture.convert("L")), Scene)


def test_noise_shows_in_the_residual_but_not_in_the_reading() -> None:
    scene = Scene((CIRCLE, SQUARE))
    pixels = np.asarray(world.render(scene)).astype(np.int64)
    noise = np.random.default_rng(0).integers(-25, 26, size=pixels.shape)
    noisy = Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))
    assert world.read(noisy) == scene
    assert 0.02 < world.detect(noisy)[0].residual < 0.12


def test_a_blank_picture_holds_nothing() -> None:
    assert world.read(Image.new("RGB", (32, 32), world.GROUND)) == Scene(())


EVERYWHERE = frozenset((row, col) for row in range(4) for col in range(4))


def of_noise(rng: np.random.Generator, side: int) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))


@pytest.mark.parametrize("side", [32, 64, 256])
def test_noise_holds_nothing_and_is_not_empty(side: int) -> None:
    rng = np.random.default_rng(side)
    for _ in range(20):
        picture = of_noise(rng, side)
        assert world.detect(picture) == []
        assert world.read(picture) == Scene((), EVERYWHERE)


@pytest.mark.parametrize("side", [2, 3, 5, 8, 12])
def test_patches_and_gradients_of_random_colors_hold_nothing(side: int) -> None:
    rng = np.random.default_rng(side)
    for _ in range(20):
        for smooth in (Image.Resampling.NEAREST, Image.Resampling.BICUBIC):
            assert world.detect(of_noise(rng, side).resize((256, 256), smooth)) == []


@pytest.mark.parametrize("color", [*world.RGB.values(), (0, 0, 0), (255, 255, 255), (128,) * 3])
def test_a_picture_of_one_color_holds_nothing_and_is_not_empty(
    color: tuple[int, int, int],
) -> None:
    assert world.read(Image.new("RGB", (32, 32), color)) == Scene((), EVERYWHERE)


def test_a_thing_amid_noise_is_found_and_the_noise_is_not() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    pixels[:8, :8] = np.asarray(world.render(Scene((CIRCLE,))))[:8, :8]
    pixels[8:16, :8] = world.GROUND
    assert world.read(Image.fromarray(pixels)) == Scene((CIRCLE,), EVERYWHERE - {(0, 0), (1, 0)})


def test_a_cell_between_two_things_is_garbled() -> None:
    """Half a red circle and half a blue one: 26 of 64 pixels are wrong for either."""
    red, blue = (
        np.asarray(world.render(Scene((Thing("circle", color, 0, 0),)))).astype(np.int64)
        for color in ("red", "blue")
    )
    mixed = red.copy()
    mixed[:4] = blue[:4]
    # 26 of 64 pixels, each (174 + 41 + 174) / 3 / 255 from the other color: 0.2066.
    assert world.cell_residuals(Image.fromarray(mixed.astype(np.uint8)))[0] == pytest.approx(
        26 / 64 * (174 + 41 + 174) / 3 / 255
    )
    assert world.read(Image.fromarray(mixed.astype(np.uint8))).garbled == {(0, 0)}


def test_garbled_cells_hold_no_thing_and_are_not_free() -> None:
    scene = Scene((CIRCLE,), frozenset({(3, 1), (1, 1)}))
    assert scene.at(3, 1) is None
    assert len(scene.free_cells()) == 13
    assert scene.with_thing(SQUARE) == Scene((CIRCLE, SQUARE), frozenset({(1, 1)}))
    assert scene.without(1, 1) == Scene((CIRCLE,), frozenset({(3, 1)}))
    states_N = world.states_of(scene)
    assert states_N.tolist().count(world.UNREAD) == 2
    assert world.scene_of(states_N) == scene
    with pytest.raises(ValueError, match="garbled cell"):
        Scene((CIRCLE,), frozenset({(0, 0)}))


def test_a_tenth_of_the_scenes_is_held_out() -> None:
    rng = random.Random(0)
    share = sum(world.held_out(world.random_scene(rng)) for _ in range(2000)) / 2000
    assert 0.07 < share < 0.13
    assert world.held_out(world.random_scene(rng, held=True))
    assert not world.held_out(world.random_scene(rng, held=False))


def test_an_edit_is_not_done_by_garbling_the_picture() -> None:
    """Noise leaves no thing behind, and yet has not removed one."""
    source = Scene((CIRCLE,))
    edit = edits.Edit("remove", "remove the red circle", CIRCLE, None)
    noise = of_noise(np.random.default_rng(2), 32)
    assert edits.satisfied(source, Scene(()), edit)
    assert not edits.satisfied(source, world.read(noise), edit)
    assert edits.grade(source, world.read(noise), edit, result=noise) == (0.0, 0.0, 0.0)
    # The cell that was asked about is right, one of the other fifteen is garbled.
    nearly = Scene((), frozenset({(2, 2)}))
    assert not edits.satisfied(source, nearly, edit)
    assert edits.grade(source, nearly, edit).preserved == 14 / 15


def test_many_pictures_are_read_as_one_by_one() -> None:
    rng = random.Random(5)
    pictures = [world.render(world.random_scene(rng)) for _ in range(35)]
    pictures[3].paste((250, 250, 250), (16, 16, 24, 24))
    pictures[20] = pictures[20].resize((128, 128), Image.Resampling.NEAREST)
    assert world.read_all(pictures) == [world.read(one) for one in pictures]
    assert world.detect_all(pictures) == [world.detect(one) for one in pictures]
    assert world.read_all(pictures)[3].garbled == {(2, 2)}
    assert world.read_all([]) == world.detect_all([]) == []
