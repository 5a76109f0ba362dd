"""VLMEvalKit's rules for which option an answer means, without a judge ("exact matching").

Exactly one letter as a word near the end, else exactly one option's text. What then is still open
VLMEvalKit gives to a language model, if it has one; without one, as here, it is wrong.
Source: open-compass/VLMEvalKit, `vlmeval/utils/matching_util.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pairuni_eval.prompts import LETTERS, lettered

NO_OPTION = "Z"  # what VLMEvalKit notes for an answer that declines
_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_API_FAILED = "Failed to obtain answer via API"
_AS_BLANKS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_LAST_WORDS = 5
_STATED = re.compile(r"answer\s+is\s+\**([ABCD])", re.IGNORECASE)
_OTHER_ANSWERS = "Other Answers"


def vlmevalkit_letter(response: str, letters: Sequence[str]) -> str | None:
    """The letter that VLMEvalKit reads as a word, "Z" where the answer declines, or None.

    One letter of all must occur as a word, and first among the last five words; else "answer is X"
    with X from A to D, whatever its case (so that "answer is an ox" names A).

    Source: open-compass/VLMEvalKit, `can_infer_option` in `vlmeval/utils/matching_util.py`.
    """
    if _API_FAILED in response:
        return None
    if any(refusal in response for refusal in _REFUSALS):
        return NO_OPTION
    words = response.translate(_AS_BLANKS).split()
    found = [letter for letter in letters if letter in words]
    if len(found) == 1 and words.index(found[0]) > len(words) - _LAST_WORDS:
        return found[0]
    if not found and NO_OPTION in words:
        return NO_OPTION
    stated = _STATED.search(response)
    if stated is None or stated.group(1).upper() not in letters:
        return None
    return stated.group(1).upper()


def vlmevalkit_choice(response: str, options: Mapping[str, str]) -> str | None:
    """`vlmevalkit_letter`, else the one option whose text occurs in the answer.

    An answer of more than twice the length of all options together is not searched for texts.

    Source: open-compass/VLMEvalKit, `can_infer` in `vlmeval/utils/matching_util.py`.

    Args:
        response: The model's text.
        options: The text of each letter's option.
    """
    letter = vlmevalkit_letter(response, tuple(options))
    if letter is not None:
        return letter
    said = response.lower()
    if len(said) > 2 * sum(len(option) for option in options.values()):
        return None
    named = [key for key, option in options.items() if option.lower() in said]
    return named[0] if len(named) == 1 else None


class VlmevalkitQuestion(NamedTuple):
    """A question as VLMEvalKit grades it: the options' texts by letter, and the gold letter."""

    options: dict[str, str]
    gold: str


def vlmevalkit_question(answer: str, options: Sequence[str]) -> VlmevalkitQuestion:
    """An MMMU question as VLMEvalKit grades it.

    An open question becomes a choice between its answer (A) and "Other Answers" (B). Odd but so:
    its gold letter is then A, unless the answer itself is a capital letter. With B the other
    option is the right one, and from C on no answer can be right.

    Source: open-compass/VLMEvalKit, `vlmeval/dataset/utils/multiple_choice.py`.
    """
    asked = lettered(options) if options else {"A": answer, "B": _OTHER_ANSWERS}
    return VlmevalkitQuestion(asked, answer if answer in tuple(LETTERS) else "A")
