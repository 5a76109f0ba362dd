"""The tiny world draws what it says and reads back what it drew."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from pairuni_eval.tiny import world
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
    noise = np.random.default_rng(0).integers(-30, 31, size=pixels.shape)
    noisy = Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))
    assert world.read(noisy) == scene
    assert 0.02 < world.detect(noisy)[0].residual < 0.12


def test_a_blank_picture_holds_nothing() -> None:
    assert world.read(Image.new("RGB", (32, 32), world.GROUND)) == Scene(())


def test_a_tenth_of_the_scenes_is_held_out() -> None:
    rng = random.Random(0)
    share = sum(world.held_out(world.random_scene(rng)) for _ in range(2000)) / 2000
    assert 0.07 < share < 0.13
    assert world.held_out(world.random_scene(rng, held=True))
    assert not world.held_out(world.random_scene(rng, held=False))
