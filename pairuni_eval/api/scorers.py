"""The rules of official scorers, for benchmarks and for rewards.

Each is a function of plain values (see `pairuni_eval.scorers`), so that what a report counts
and what training rewards are one rule.
"""

from pairuni_eval.scorers.answer_form import final_answer, same_answer, tagged_answer
from pairuni_eval.scorers.choice import (
    MMSTAR_LETTERS,
    choice_letters,
    inline_options,
    mmmu_marks,
    mmstar_marks,
    spelled_list,
)
from pairuni_eval.scorers.dependent_questions import (
    DPG_METRICS,
    Proposition,
    broad_category_of,
    dpg_marks,
    official_propositions,
    repaired_propositions,
    said_yes_or_no,
)
from pairuni_eval.scorers.facts import knowledge_facts, object_facts
from pairuni_eval.scorers.judge_calls import (
    NotAsked,
    consult_until_read,
    marks_without_score,
    question_about,
    replies_about,
)
from pairuni_eval.scorers.licensed_prompts import (
    check_complete,
    find_beside,
    judge_with_prompt,
    no_prompt,
    text_fields,
)
from pairuni_eval.scorers.mmmu_subjects import MMMU_DISCIPLINES, mmmu_subject
from pairuni_eval.scorers.objects import (
    COLORS,
    OBJECT_NAMES,
    Observation,
    geneval_marks,
)
from pairuni_eval.scorers.point_verdicts import MOST_POINTS, POINT_RULES, point_marks, point_tags
from pairuni_eval.scorers.rubric import (
    LEGACY,
    VERIFIED,
    Edition,
    imgedit_marks,
    verified_marks,
    verified_score,
    wise_category,
    wise_is_complete,
    wise_marks,
)
from pairuni_eval.scorers.soft_questions import (
    SKILLS,
    question_of,
    question_of_prompt,
    soft_marks,
    vqascore_marks,
)
from pairuni_eval.scorers.training_questions import (
    geneval_reference,
    mmmu_reference,
    mmstar_reference,
    yes_no_reference,
)
from pairuni_eval.scorers.viescore import METRICS, EditQuestions, ask_edits, edit_marks
from pairuni_eval.scorers.vlmevalkit_rules import vlmevalkit_question
from pairuni_eval.scorers.yes_no import (
    MME_COGNITION,
    MME_PERCEPTION,
    mme_marks,
    pope_marks,
)
