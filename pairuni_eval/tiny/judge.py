"""The judge of the tiny world: it reads the picture exactly and replies in a judge's words.

It stands where a model judge stands for WISE and ImgEdit, so that the same rubric code parses its
text; unlike a model it reads `Question.facts` and is always right. Knowledge: consistency is 2
where the picture holds every asked fact, 1 from half of them on; realism how cleanly it is drawn;
aesthetic quality whether it shows as many things as were asked for. Edits: the three scores of 1
to 5 are obedience, preservation of the rest and cleanness, the last two never above the first.
These scales are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from pairuni_eval.judges.judge import Judge, JudgeReply, Question
from pairuni_eval.records import Status
from pairuni_eval.tiny.edits import Edit, grade
from pairuni_eval.tiny.knowledge import knowledge_score
from pairuni_eval.tiny.prompts import Row
from pairuni_eval.tiny.world import cell_residuals, detect, read

if TYPE_CHECKING:
    from PIL import Image

# Mean absolute distance of the worst cell from its template, 0 to 1: up to the first value a
# picture counts as flawless, up to the second as passable.
_CLEAN, _PASSABLE = 0.05, 0.15


class TinyJudge(Judge):
    """Judges pictures of the tiny world by `facts`.

    Knowledge needs `facts["wanted"]`, as in a `KnowledgePrompt`, and one picture; an edit needs
    `facts["edit"]`, an `Edit` as a plain dict, and two pictures, the source first.
    """

    snapshot = "tiny-judge/3"

    def ask(self, questions: Sequence[Question]) -> list[JudgeReply]:
        """Judge a batch; a question of another kind is the judge's failure."""
        return [self._judge(question) for question in questions]

    def _judge(self, question: Question) -> JudgeReply:
        pictures = question.images
        if "wanted" in question.facts and len(pictures) == 1:
            return JudgeReply(_knowledge_reply(question.facts["wanted"], pictures[0]))
        if "edit" in question.facts and len(pictures) == 2:
            edit = msgspec.convert(question.facts["edit"], Edit)
            return JudgeReply(_edit_reply(edit, pictures[0], pictures[1]))
        reason = "the tiny judge knows only questions about the tiny world"
        return JudgeReply(reason, Status.JUDGE_FAILED)


def _knowledge_reply(wanted: Row, picture: Image.Image) -> str:
    found = detect(picture)
    worst = float(cell_residuals(picture).max())
    consistency = int(2 * knowledge_score(wanted, found))
    realism = 2 if worst <= _CLEAN else int(worst <= _PASSABLE)
    asked = sum(entry["count"] for entry in wanted["include"])
    aesthetic = max(2 - (abs(len(found) - asked) + 1) // 2, 0) if found else 0
    return f"Consistency: {consistency}\nRealism: {realism}\nAesthetic Quality: {aesthetic}"


def _edit_reply(edit: Edit, source: Image.Image, result: Image.Image) -> str:
    pieces = grade(read(source), read(result), edit, result=result)
    obeyed, kept, clean = (1 + round(4 * piece) for piece in pieces)
    return (
        f"Obedience: {obeyed}\nPreservation: {min(kept, obeyed)}\nCleanness: {min(clean, obeyed)}"
    )
