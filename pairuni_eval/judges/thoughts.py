"""Thoughts cut off a judge's reply: what it says after it has thought aloud.

Reasoning models write their thoughts between tags in front of the verdict, and a thought names
scores too. It is cut off here, in one place, before any rubric reads: pairs of `<think>` tags go
with what is between them, a closing tag without an opening one (chat templates often open the
thought themselves) goes with everything before it, and a thought that is opened and never closed
leaves nothing at all, because nothing in it is a verdict yet. Every spelling of a thought that
`thought_tags` knows is read alike. Nor is anything longer than `LONGEST` characters a verdict: the
rules of rubrics are regular expressions, whose time grows with the square of that.
Source: PKU-YuanGroup/WISE, `vllm_eval.py`, for pairs. Departure: it removes a lone closing tag and
keeps the thought before it, and reads an open thought as if it were the verdict.
"""

from __future__ import annotations

from pairuni_eval.thought_tags import tags_in

LONGEST = 20_000  # characters; what is asked for has a few hundred


def without_thoughts(reply: str) -> str:
    """A reply without its thoughts, as it came if it has none.

    Returns:
        Empty for a thought without an end, and for what is too long.
    """
    said = _outside_tags(reply)
    return said if len(said) <= LONGEST else ""


def _outside_tags(reply: str) -> str:
    kept: list[str] = []
    start, thinking, seen = 0, False, False
    for tag in tags_in(reply):
        if not tag.thought:
            continue
        seen = True
        if tag.opens:  # an opening tag; one within a thought belongs to it
            if not thinking:
                kept.append(reply[start : tag.start])
            thinking = True
            continue
        if not thinking:  # all of this was a thought
            kept.clear()
        thinking, start = False, tag.end
        while start < len(reply) and reply[start].isspace():
            start += 1
    if not seen:
        return reply
    return "" if thinking else "".join([*kept, reply[start:]]).strip()
