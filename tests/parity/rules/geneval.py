"""Recorded GenEval cases as calls of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from parity.rules.form import Form, Given, Rule, lines_of, same
from support.official_tables import Graded, is_sample_file, summarize

from pairuni_eval.scorers import objects


def _as_objects(detections: Given) -> objects.Objects:
    import numpy as np

    return {
        name: [
            objects.CountedObject(np.asarray(row[:4], dtype=float), row[4], index)
            for index, row in enumerate(rows)
        ]
        for name, rows in detections.items()
    }


def _colors(detections: Given) -> objects.ColorOf:
    return lambda name, found: [detections[name][thing.place][5] for thing in found]


def geneval_position(given: Given, _: Path) -> Any:
    held = objects.relative_position(
        given["box_a"], given["box_b"], threshold=given["position_threshold"]
    )
    return sorted(held)


def geneval_evaluate(given: Given, _: Path) -> Any:
    found = given["objects"]
    verdict = objects.evaluate(given["metadata"], _as_objects(found), _colors(found))
    return verdict._asdict()


_OPTIONS = {"max_overlap": float, "max_objects": int} | dict.fromkeys(
    ("threshold", "counting_threshold", "position_threshold"), float
)


def geneval_image(given: Given, _: Path) -> Any:
    options = {key: _OPTIONS[key](value) for key, value in given["options"].items()}
    limits = objects.Limits(**options)
    metadata, found = given["metadata"], given["detections"]
    kept = objects.keep(found, tag=metadata["tag"], limits=limits)
    verdict = objects.evaluate(metadata, kept, _colors(found), limits=limits)
    details = {
        name: [[*thing.box.tolist(), thing.score] for thing in things]
        for name, things in kept.items()
    }
    return verdict._asdict() | {"details": details}


def geneval_bulk(given: Given, folder: Path) -> Any:
    prompt_rows = lines_of(folder / given["metadata_file"])
    lines = lines_of(folder / given["detections_file"].split(" ")[0])
    right = 0
    for line in lines:
        metadata = prompt_rows[line["prompt_index"]]
        observation = objects.Observation(line["detections"], _colors(line["detections"]))
        verdict = objects.judge(metadata, observation)
        assert verdict.correct == line["correct"], line
        assert _reason(verdict.reason) == _reason(line["reason"]), line
        right += verdict.correct
    return {"n": len(lines), "n_correct": right}


def geneval_summary(given: Given, folder: Path) -> Any:
    rows = lines_of(folder / given["results_file"])
    total = summarize(Graded(row["tag"], row["metadata"], row["correct"]) for row in rows)
    tasks = [
        f"{tag:<16} = {right / count:.2%} ({right} / {count})\n"
        for tag, (right, count) in total.tasks.items()
    ]
    text = (
        f"Summary\n=======\nTotal images: {total.images}\nTotal prompts: {total.prompts}\n"
        f"% correct images: {total.image_share:.2%}\n"
        f"% correct prompts: {total.prompt_share:.2%}\n\n"
        f"Task breakdown\n==============\n{''.join(tasks)}\n"
        f"Overall score (avg. over tasks): {total.overall:.5f}\n"
    )
    return {"stdout": text}


def _reason(text: str) -> Any:
    """A position's relations are joined in the order of a Python set: compare them as a set."""
    lines = []
    for line in text.split("\n"):
        head, found, tail = line.rpartition(", found ")
        if found and tail.endswith("target"):
            lines.append((head, frozenset(tail.removesuffix("target").strip().split(" and "))))
        else:
            lines.append((line, frozenset()))
    return lines


def geneval_cut_out(given: Given, _: Path) -> Any:
    import numpy as np
    from PIL import Image

    from pairuni_eval.grading_models.colors import GROUND, cut_out

    width, height = given["image_size_wh"]
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    levels = np.stack([20 * x % 256, 30 * y % 256, 10 * (x + y) % 256], axis=2)
    picture = Image.fromarray(levels.astype(np.uint8)).convert(given["mode"])
    mask, options = given["mask"], given["options"]
    cut = cut_out(
        picture,
        given["box"],
        None if mask is None else np.array(mask, dtype=bool),
        ground=options.get("bgcolor", GROUND),
        cropped=options.get("crop", "1") == "1",
    )
    pixels = np.asarray(cut)
    return {"shape": list(pixels.shape), "pixels": pixels.tolist()}


def geneval_colors(given: Given, _: Path) -> Any:
    import torch

    from pairuni_eval.grading_models.colors import color_directions, color_logits, templates

    text, sentences = given["text_features"], templates(given["classname"])
    text_CTD = torch.tensor(
        [[text[line.format(c=color)] for line in sentences] for color in objects.COLORS]
    )
    image_ND = torch.tensor(given["image_features"])
    logits_NC = color_logits(image_ND, color_directions(text_CTD))
    colors = [objects.COLORS[index] for index in logits_NC.argmax(dim=1).tolist()]
    return {"colors": colors, "templates": list(sentences), "logits": logits_NC.tolist()}


def geneval_instances(given: Given, _: Path) -> Any:
    import torch

    from pairuni_eval.grading_models.mask2former import Framing, find_instances

    class_logits_QC = torch.tensor(given["mask_cls_logits"])
    mask_logits_QHW = torch.tensor(given["mask_pred_logits_at_padded_input_size"])
    assert class_logits_QC.shape[1] == given["num_classes"] + 1
    sizes = (given["ori_shape_hw"], given["img_shape_hw"], mask_logits_QHW.shape[1:])
    framing = Framing(*(tuple(size[:2]) for size in sizes))
    found = find_instances(class_logits_QC, mask_logits_QHW, framing, limit=given["max_per_image"])
    return [
        {"label": label, "score": score, "bbox": box, "mask_area": area}
        for label, score, box, area in zip(
            found.labels_N.tolist(),
            found.scores_N.tolist(),
            found.boxes_N4.tolist(),
            found.masks_NHW.sum(dim=(1, 2)).tolist(),
            strict=True,
        )
    ]


RULES: dict[str, Rule] = {
    "relative_position": geneval_position,
    "compute_iou": lambda given, _: objects.intersection_over_union(given["box_a"], given["box_b"]),
    "evaluate": geneval_evaluate,
    "evaluate_image": geneval_image,
    "evaluate_image_bulk": geneval_bulk,
    "object_names": lambda _given, _: list(objects.OBJECT_NAMES),
    "summary_scores.py": geneval_summary,
    "main_file_selection": lambda given, _: [
        path for path in given["tree"] if is_sample_file(path)
    ],
    "ImageCrops": geneval_cut_out,
    "color_classification": geneval_colors,
    "mmdet_instance_postprocess": geneval_instances,
}


def _fold_reason(verdict: Given) -> Given:
    parts = [(head, tuple(sorted(words))) for head, words in _reason(verdict["reason"])]
    return verdict | {"reason": str(sorted(map(str, parts)))}


def _surest_first(instances: list[Given]) -> list[Given]:
    """By score, and among equal scores by everything else, for upstream leaves their order open."""
    return sorted(
        instances,
        key=lambda one: (-round(one["score"], 4), one["label"], one["bbox"], one["mask_area"]),
    )


FORMS: dict[str, Form] = {
    "mmdet_instance_postprocess": (_surest_first, _surest_first),
    "evaluate": (_fold_reason, _fold_reason),
    "evaluate_image": (_fold_reason, _fold_reason),
    "relative_position": (same, list),
    "object_names": (same, list),
}

TOLERANCES = {"color_classification": 1e-5, "mmdet_instance_postprocess": 1e-5}
