"""A folder for --data with every big benchmark in its upstream form: few rows, real photographs.

Questions, prompts, judge prompts and edits are made up; the columns, file names and folders are
upstream's. Beside the rows stand the answers of a scripted model and the replies of a judge, chosen
so that the protocols disagree where they are known to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pairuni_eval.prompts import mme_prompt, mmmu_parts, mmmu_prompt, mmstar_prompt, pope_prompt
from support import geneval_rows, upstream

Row = dict[str, Any]
Photographs = Mapping[str, bytes]

ALL = ("mmmu", "mmstar", "mme", "pope", "geneval", "wise", "imgedit")

# MMMU: subject, question, options, gold, photographs, what the model says.
MMMU = [
    ("Accounting", "Which animal is <image 1>?", ["dog", "cat", "cow"], "B", 1, "B."),
    # Six words or more: official reads the option's text, lmms-eval the end of "NASA".
    (
        "Art_Theory",
        "<image 1> or <image 2>: which is a portrait?",
        ["the first picture", "the second picture"],
        "B",
        2,
        "It is what NASA calls the second picture.",
    ),
    # An open question: for VLMEvalKit it is a choice whose A is the answer.
    ("Clinical_Medicine", "How many cups show in <image 1>?", [], "2", 1, "A"),
    ("Physics", "What lifts off in <image 1>?", ["a cat", "a cup", "a rocket"], "C", 1, "Surely C"),
    ("Accounting", "What is in <image 1>?", ["tea", "coffee"], "B", 1, "A"),
    ("Physics", "Beyond the limit: <image 1>", ["yes", "no"], "A", 1, "A"),
]

# MMStar: gold, finer category, what the model says.
MMSTAR = [
    ("A", ("coarse perception", "image scene and topic"), "A"),
    ("B", ("coarse perception", "image emotion"), "The answer is (B)"),
    ("C", ("fine-grained perception", "object counting"), "C: a rocket"),
    ("D", ("fine-grained perception", "localization"), "I do not know"),
    ("C", ("math", "geometry"), "Cannot tell"),
    ("A", ("math", "geometry"), "A"),
]

# MME: category, what the model says to the question with gold Yes and to the one with gold No.
MME = [
    ("existence", "Yes", "No"),
    ("existence", "The answer is yes", "n"),
    ("code_reasoning", "Yes.", "None"),
    ("color", "Yes", "No"),
]

# POPE: photograph, question, gold, splits, what the model says.
POPE = [
    ("coffee.png", "Is there a cup in the image?", "yes", ("adversarial",), "I see no cup."),
    ("coffee.png", "Is there a fork in the image?", "no", ("adversarial",), "no"),
    ("astronaut.png", "Is there a dog in the image?", "no", ("adversarial", "popular"), "Yes"),
    ("astronaut.png", "Is there a person in the image?", "yes", ("popular",), "yes"),
    ("chelsea.png", "Is there a cat in the image?", "yes", ("random",), "There is one."),
    ("chelsea.png", "Is there a car in the image?", "no", ("random",), "No"),
]

GENEVAL_ROWS = 2  # four pictures each, which a network looks at

# WISE: file, id, word for the category, what the judge says (whatever it sees).
WISE_FILES = (
    "cultural_common_sense.json",
    "spatio-temporal_reasoning.json",
    "natural_science.json",
)
WISE = [
    (0, 1, "Cultural knowledge", "Consistency: 2\nRealism: 1\nAesthetic Quality: 1"),
    (0, 2, "Cultural knowledge", "What a lovely picture this is."),
    (1, 401, "time", "Consistency: 0\nRealism: 2\nAesthetic Quality: 1"),
    (1, 568, "Space", "Consistency: 1\nRealism: 1\nAesthetic Quality: 1"),
    (2, 701, "Biology", "Consistency: 2\nRealism: 2\nAesthetic Quality: 2"),
    (2, 801, "Physical Knowledge", "beyond the limit"),
]
WISE_SCRIPT = '''
def build_evaluation_messages(prompt_data, image_base64):
    return [
        {"role": "system", "content": [{"type": "text", "text": "You grade pictures."}]},
        {
            "role": "user",
            "content": [
                {
                    "type": "text",
                    "text": f"""Grade {prompt_data['Prompt']} by {prompt_data['Explanation']}""",
                },
            ],
        },
    ]
'''

# ImgEdit: key, photograph, type, what the judge says.
IMGEDIT = [
    ("10", "chelsea.png", "add", "Brief reasoning: fine\nCompliance: 5\nSeams: 4\nPhysics: 3"),
    ("11", "coffee.png", "remove", "Compliance: 5/5\nSeams: 4/5\nPhysics: 3/5"),
    ("12", "coffee.png", "replace", "Compliance: 5\nSeams: 4"),
    ("13", "rocket.jpg", "style", "Compliance: 3\nSeams: 3\nPhysics: 3"),
    ("14", "astronaut.png", "background", "Compliance: 1\nSeams: 2\nPhysics: 3"),
    ("15", "astronaut.png", "extract", "beyond the limit"),
]
EDIT_PROMPT = "Was it done? <edit_prompt>"


def write_folder(folder: Path, photographs: Photographs) -> Path:
    """Write every benchmark below a folder; returns the folder."""
    upstream.write(
        folder / "mmmu/data/validation-00000-of-00001.parquet", "mmmu", mmmu(photographs)
    )
    upstream.write(folder / "mmstar/mmstar.parquet", "mmstar", mmstar(photographs))
    upstream.write(folder / "mme/data/test-00000-of-00001.parquet", "mme", mme(photographs))
    for split in ("adversarial", "popular", "random"):
        path = folder / f"pope/Full/{split}-00000-of-00001.parquet"
        upstream.write(path, "pope", pope(photographs, split))
    geneval_rows.write(folder, GENEVAL_ROWS)
    write_wise(folder / "wise", wise())
    write_imgedit(folder / "imgedit", imgedit(), photographs)
    return folder


def mmmu(photographs: Photographs) -> list[Row]:
    """The rows of MMMU."""
    images = [{"bytes": data, "path": name} for name, data in photographs.items()]
    rows = []
    for i, (subject, question, options, gold, shown, _) in enumerate(MMMU):
        cells = {
            name: images[(i + k) % len(images)] if k < shown else None
            for k, name in enumerate(upstream.MMMU_IMAGES)
        }
        rows.append(
            {
                "id": f"validation_{subject}_{i + 1}",
                "question": question,
                "options": str(options),
                "explanation": "",
                **cells,
                "img_type": "['Photographs']",
                "answer": gold,
                "topic_difficulty": "Easy",
                "question_type": "multiple-choice" if options else "open",
                "subfield": subject,
            }
        )
    return rows


def mmstar(photographs: Photographs) -> list[Row]:
    """The rows of MMStar."""
    made = list(upstream.mmstar(list(photographs.values()), len(MMSTAR)))
    return [
        row | {"answer": gold, "category": coarse, "l2_category": fine}
        for row, (gold, (coarse, fine), _) in zip(made, MMSTAR, strict=True)
    ]


def mme(photographs: Photographs) -> list[Row]:
    """The rows of MME, two a photograph."""
    images = list(photographs.items())
    return [
        {
            "question_id": f"{category}/{pair:04d}.png",
            "image": {"bytes": images[pair][1], "path": images[pair][0]},
            "question": mme_question(pair, gold),
            "answer": gold,
            "category": category,
        }
        for pair, (category, *_) in enumerate(MME)
        for gold in ("Yes", "No")
    ]


def mme_question(pair: int, gold: str) -> str:
    """The question of a pair that has this answer."""
    return f"Is this view {pair} of {gold}? Please answer yes or no."


def pope(photographs: Photographs, split: str) -> list[Row]:
    """The rows of one split of POPE."""
    return [
        {
            "id": str(i),
            "question_id": str(i + 1),
            "question": question,
            "answer": gold,
            "image_source": Path(name).stem,
            "image": {"bytes": photographs[name], "path": None},
            "category": split,
        }
        for i, (name, question, gold, splits, _) in enumerate(POPE)
        if split in splits
    ]


def wise() -> list[list[Row]]:
    """The rows of the three files of WISE."""
    files: list[list[Row]] = [[], [], []]
    for place, prompt_id, word, _ in WISE:
        files[place].append(
            {
                "Prompt": f"thing {prompt_id}",
                "Explanation": f"what {prompt_id} means",
                "Category": word,
                "Subcategory": "made up",
                "prompt_id": prompt_id,
            }
        )
    return files


def write_wise(folder: Path, files: Sequence[Sequence[Row]]) -> None:
    """Write the files of WISE as in a checkout: `data/` and the judge's script above it."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "gpt_eval.py").write_text(WISE_SCRIPT, encoding="utf-8")
    for name, rows in zip(WISE_FILES, files, strict=True):
        (folder / "data" / name).write_text(json.dumps(rows), encoding="utf-8")


def imgedit() -> dict[str, Row]:
    """The edits of ImgEdit by key."""
    return {
        key: {"id": f"photographs/{name}", "prompt": f"edit {key}", "edit_type": kind}
        for key, name, kind, _ in IMGEDIT
    }


def write_imgedit(folder: Path, edits: Mapping[str, Row], photographs: Photographs) -> None:
    """Write the edits, a judge prompt for every type, and the pictures beside them."""
    (folder / "photographs").mkdir(parents=True, exist_ok=True)
    for name, data in photographs.items():
        (folder / "photographs" / name).write_bytes(data)
    kinds = {edit["edit_type"] for edit in edits.values()}
    (folder / "basic_edit.json").write_text(json.dumps(edits), encoding="utf-8")
    (folder / "prompts.json").write_text(json.dumps(dict.fromkeys(sorted(kinds), EDIT_PROMPT)))


def answers() -> dict[str, str]:
    """What the scripted model says, by the text of the request."""
    said = {_mmmu_text(question, options): says for _, question, options, *_, says in MMMU}
    for row, (*_, says) in zip(upstream.mmstar([b""], len(MMSTAR)), MMSTAR, strict=True):
        said[mmstar_prompt(row["question"])] = says
    for pair, (_, to_yes, to_no) in enumerate(MME):
        said[mme_prompt(mme_question(pair, "Yes"))] = to_yes
        said[mme_prompt(mme_question(pair, "No"))] = to_no
    return said | {pope_prompt(question): says for _, question, *_, says in POPE}


def _mmmu_text(question: str, options: Sequence[str]) -> str:
    """The text of a request: its texts joined by blanks."""
    parts = mmmu_parts(mmmu_prompt(question, options))
    return " ".join(part for part in parts if isinstance(part, str))


def replies() -> dict[str, str]:
    """What the judge replies, by its prompt."""
    said = {f"Grade thing {n} by what {n} means": reply for _, n, _, reply in WISE}
    edits = {EDIT_PROMPT.replace("<edit_prompt>", f"edit {key}"): r for key, *_, r in IMGEDIT}
    return said | edits
