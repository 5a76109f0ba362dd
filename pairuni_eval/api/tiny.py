"""The tiny world: scenes, questions, prompts and edits that can be checked exactly."""

from pairuni_eval.tiny import benchmark_forms, edits, knowledge, prompts, questions, world
from pairuni_eval.tiny.benchmark_forms import ask
from pairuni_eval.tiny.edits import Edit, imgedit_rows, satisfied
from pairuni_eval.tiny.exact_drawing import drawing_flaws, exact_flaw, prompt_row
from pairuni_eval.tiny.knowledge import KnowledgePrompt, knowledge_benchmark, shape_phrases
from pairuni_eval.tiny.name_prompts import (
    holds_names,
    name_row,
    name_rows,
    name_scene,
    names_of,
)
from pairuni_eval.tiny.name_questions import (
    NameKind,
    NameQuestion,
    ask_about,
    scene_with,
    scene_without,
)
from pairuni_eval.tiny.names import (
    ALL,
    NAME_TOKENS,
    NAMES,
    color_of,
    name_of,
    names_in,
    overlapping,
    read_names,
    said_with_thought,
    shape_of,
)
from pairuni_eval.tiny.prompts import (
    PLURALS,
    TAGS,
    Row,
    further_rows,
    geneval_benchmark,
    geneval_rows,
    observed,
    sample_scene,
    satisfied_rows,
    satisfies,
)
from pairuni_eval.tiny.question_rows import (
    POPE_SPLITS,
    mme_rows,
    mmmu_rows,
    mmstar_rows,
    pope_rows,
    pope_scenes,
)
from pairuni_eval.tiny.questions import ORDINALS, sides
from pairuni_eval.tiny.split_rows import split_prompts, split_questions
from pairuni_eval.tiny.splits import Split, split_of_prompt, split_of_scene
from pairuni_eval.tiny.world import (
    COLORS,
    SHAPES,
    IntArray,
    Scene,
    Thing,
    detect,
    detect_all,
    detections_of,
    read,
    render,
    states_shown,
    to_array,
)
