"""Is an evaluation image like an image of a pair set? By an encoder's features, as pairs are made.

Goes in: a pair set and the runs whose images are looked for. Comes out: for each image of a request
the most similar understanding image of the set, written beside the set, where the report finds it.
Broken images have no features: in the set they are left out, in a run they count as not looked at.

Shapes: N evaluation images, P understanding images, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from pairuni_eval.toolkit import UserError
from pairuni_eval.toolkit.contamination import Neighbor, Neighbors, nearest_pairs
from pairuni_eval.toolkit.store import StoredRun, decode_cell, open_run
from pairuni_train.pair_data.config import EncoderSpec, read_config
from pairuni_train.pair_data.dataset import iterate_pairs
from pairuni_train.pair_data.embed import THREADS, encode_images, joined
from pairuni_train.pair_data.encoders import Encoder, FloatArray

Named = tuple[str, bytes]
"""An image by the id it is known by: of its pair, or of its content."""

_BUILT_WITH = "config.json"  # beside the sets that `pairs build` wrote


def encoder_of(pairs: Path, name: str | None, checkpoint: str | None) -> EncoderSpec:
    """The encoder a user names, else the one the set was built with.

    Raises:
        UserError: if nothing beside the set says what it was built with.
    """
    if name is not None:
        return EncoderSpec(name=name, checkpoint=checkpoint)
    path = pairs.with_name(_BUILT_WITH)
    if not path.is_file():
        raise UserError(
            f"{path} is not there: nothing says which encoder {pairs.name} was built with.",
            hint="Name one: --encoder resnet50",
        )
    return read_config(path).config.encoder


def find_neighbors(
    pairs: Path,
    runs: Sequence[Path],
    encoder: Encoder,
    *,
    batch_size: int,
    done: Callable[[int], None],
) -> Neighbors:
    """The nearest understanding image of a pair set for every request image of some runs.

    Args:
        pairs: The pair set.
        runs: Run folders.
        encoder: The encoder.
        batch_size: Images that go through it together.
        done: Called with the number of images after each batch.

    Raises:
        UserError: if it is not a pair set, a folder is not a run, or either has no sound image.
    """
    count = 0

    def understanding() -> Iterator[Named]:
        nonlocal count
        for pair in iterate_pairs(pairs):
            count += 1
            if pair.understanding is not None:
                yield pair.id, pair.understanding.image

    owners, pairs_PD = _encoded(understanding(), encoder, batch_size, done)
    images, items_ND = _encoded(_asked(map(open_run, runs)), encoder, batch_size, done)
    for found, where in ((owners, pairs), (images, runs[0])):
        if not found:
            raise UserError(f"{where} has no image that can be decoded: there is nothing to find.")
    places, cosines = nearest_pairs(items_ND, pairs_PD)
    by_image = {
        image: Neighbor(owners[place], float(cosine))
        for image, place, cosine in zip(images, places, cosines, strict=True)
    }
    identity = encoder.identity
    return Neighbors(f"{identity.name} {identity.checkpoint}".strip(), count, by_image)


def _asked(runs: Iterable[StoredRun]) -> Iterator[Named]:
    """Every image of a request, once."""
    seen: set[str] = set()
    for run in runs:
        for cell in run.samples["parts"]:
            for image in (part["image"] for part in decode_cell(cell) if "image" in part):
                if image not in seen and run.pictures.trouble(image) is None:
                    seen.add(image)
                    yield image, run.pictures.data(image)


def _encoded(
    images: Iterator[Named], encoder: Encoder, batch_size: int, done: Callable[[int], None]
) -> tuple[list[str], FloatArray]:
    """Names and unit features of the images that can be decoded."""
    names: list[str] = []
    features: list[FloatArray] = []
    with ThreadPoolExecutor(THREADS) as pool:
        while batch := list(islice(images, batch_size)):
            encoded = encode_images(encoder, [data for _, data in batch], pool)
            names += [
                name for (name, _), why in zip(batch, encoded.broken, strict=True) if why is None
            ]
            features.append(encoded.features_KD)
            done(len(batch))
    return names, joined(features)
