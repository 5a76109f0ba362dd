"""Pictures per second of GenEval's grading against its networks alone, in one run.

The networks alone: the detector on inputs that are ready, and CLIP on cut-outs that are ready. Our
grading: encoded pictures in, marks out (decoding, scaling, detector, masks, cut-outs, CLIP, rules).
Every picture asks for the color of the surest object in it, so that each needs one cut-out; of
GenEval's prompts only a third do. The two take turns, so that a machine that slows down slows both;
printed are medians, and the median of the paired differences as our own time per picture.

Weights are random: `--network small` is a small network of the same architecture, `real` has the
published sizes (68.7 M and 428 M parameters; half a minute a picture on two cores).

    python tests/bench/geneval_rate.py [--network small] [--device cpu] [--side 384] [--images 8]
        [--rounds 7] [--threads 2]
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.small_detector import CLIP_VOCABULARY, build_clip, build_detector, write_merges
from transformers import CLIPConfig, CLIPModel, Mask2FormerForUniversalSegmentation

from pairuni_eval.benchmark import Answer
from pairuni_eval.catalog import load_benchmark
from pairuni_eval.grading_models import clip_text, openmmlab
from pairuni_eval.grading_models.clip import ClipTowers
from pairuni_eval.grading_models.colors import ColorNamer, cut_out
from pairuni_eval.grading_models.detector import Observer
from pairuni_eval.grading_models.exact import exact_inference
from pairuni_eval.grading_models.mask2former import Mask2Former, network_input
from pairuni_eval.records import ImagePart, Output
from pairuni_eval.scorers.objects import OBJECT_NAMES


class Networks(NamedTuple):
    """What grades: the detector, and CLIP."""

    detector: Mask2FormerForUniversalSegmentation
    clip: ClipTowers


def networks(size: str, device: str) -> Networks:
    """Random networks of a size."""
    if size == "small":
        return Networks(build_detector().to(device), _clip(build_clip(), device))
    torch.manual_seed(0)
    detector = Mask2FormerForUniversalSegmentation(openmmlab.swin_small()).eval()
    with torch.no_grad():
        detector.class_predictor.weight.normal_(std=0.7)
        detector.class_predictor.bias[-1] = -5
    return Networks(detector.to(device), _clip(_vit_l(), device))


def _vit_l() -> CLIPModel:
    """CLIP ViT-L/14 but for its vocabulary, which stays small."""
    ends = {"bos_token_id": CLIP_VOCABULARY - 2, "eos_token_id": CLIP_VOCABULARY - 1}
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16}
    config = CLIPConfig(
        projection_dim=768,
        text_config=text | {"vocab_size": CLIP_VOCABULARY, "projection_dim": 768} | ends,
        vision_config=vision | {"num_hidden_layers": 24, "patch_size": 14, "projection_dim": 768},
    )
    return CLIPModel(config).eval()


def _clip(model: CLIPModel, device: str) -> ClipTowers:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = clip_text.load_tokenizer(
            write_merges(Path(folder)),
            clip_text.TRANSFORMERS,
            vocabulary=CLIP_VOCABULARY,
            context_length=clip_text.CONTEXT_LENGTH,
        )
    return ClipTowers(model.to(device), tokenizer, name="random", logit_scale=100.0)


def encoded(count: int, side: int) -> list[bytes]:
    """Pictures of smooth noise as PNG, all different."""
    draw = np.random.default_rng(0)
    files = []
    for _ in range(count):
        coarse = Image.fromarray(draw.integers(0, 256, (24, 24, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(buffer, format="PNG")
        files.append(buffer.getvalue())
    return files


def answers(files: Sequence[bytes], detector: Mask2Former) -> list[Answer]:
    """An answer per picture, to a prompt for the color of the surest object in it."""
    benchmark = load_benchmark("geneval")
    made = []
    for number, file in enumerate(files):
        picture = Image.open(io.BytesIO(file)).convert("RGB")
        ((_, seen),) = detector.detect([picture], least=0.3)
        name = OBJECT_NAMES[int(seen.labels_N[seen.scores_N.argmax()])]
        prompt = {"tag": "colors", "include": [{"class": name, "count": 1, "color": "red"}]}
        item = benchmark.item(key=str(number), parts=("a photo",), reference=prompt)
        output = Output(
            id=str(number), sample=item.sample.uid, draw=0, seed=0, decoding="",
            parts=(ImagePart("drawn"),),
        )  # fmt: skip
        made.append(Answer(item.sample, output, _reader(file)))
    return made


def _reader(file: bytes) -> Callable[[str], Image.Image]:
    return lambda _: Image.open(io.BytesIO(file)).convert("RGB")


def bare(given: Networks, files: Sequence[bytes], batch_size: int) -> tuple[Callable[[], Any], ...]:
    """The detector alone and CLIP alone, on inputs that are ready."""
    device = given.detector.device
    pictures = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
    inputs = torch.stack([network_input(picture, device) for picture in pictures])
    namer = ColorNamer(given.clip)
    whole = (0, 0, *pictures[0].size)
    cuts = torch.stack([namer.pixels(cut_out(p, whole, None)) for p in pictures]).to(device)

    def detect() -> None:
        with exact_inference():
            for batch in inputs.split(batch_size):
                given.detector(pixel_values=batch)
        _wait(device)

    def name() -> None:
        for batch in cuts.split(32):
            given.clip.image_features(batch)
        _wait(device)

    return detect, name


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], Any]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Print pictures per second and our own time per picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=("small", "real"), default="small")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--side", type=int, default=384)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    given = networks(options.network, options.device)
    batch_size = 8 if options.device.startswith("cuda") else 1
    detector = Mask2Former(given.detector, batch_size=batch_size)
    benchmark = load_benchmark("geneval")
    benchmark._observers["official"] = Observer(detector, ColorNamer(given.clip))  # type: ignore[attr-defined]
    benchmark._weights["official"] = "random"  # type: ignore[attr-defined]
    files = encoded(options.images, options.side)
    asked = answers(files, detector)
    detect, name = bare(given, files, batch_size)

    def grade() -> None:
        marks = list(benchmark.score(asked, protocol="official", judge=None))
        assert all(mark.value is not None for (mark,) in marks)

    works = {"detector alone": detect, "CLIP alone": name, "our grading": grade}
    for work in works.values():
        work()  # warm-up; fills the text directions
    times: dict[str, list[float]] = {label: [] for label in works}
    for _ in range(options.rounds):
        for label, work in works.items():
            times[label].append(seconds(work) / options.images)
    print(
        f"{options.network} networks, {options.device}, {torch.get_num_threads()} threads, "
        f"{options.images} PNG of {options.side} x {options.side}, {options.rounds} rounds"
    )
    for label, taken in times.items():
        middle = statistics.median(taken)
        print(f"  {label:16} {1 / middle:8.2f} images/s {1000 * middle:10.1f} ms/image")
    own = statistics.median(
        whole - one - two
        for one, two, whole in zip(*(times[label] for label in works), strict=True)
    )
    share = own / statistics.median(times["our grading"])
    print(f"  {'ours beyond both':16} {1000 * own:28.1f} ms/image, {share:.1%} of the time")


if __name__ == "__main__":
    main()
