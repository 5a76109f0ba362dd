"""The judge prompt inside the user's copy of a WISE script, found without running the script.

Both scripts build their messages in a function `build_evaluation_messages` as literal dicts: a
system text and a user text, the latter an f-string with the prompt and its explanation. The syntax
tree has both; nothing is executed.
"""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path
from typing import NamedTuple

_FUNCTION = "build_evaluation_messages"
_FIELDS = ("Prompt", "Explanation")


class JudgePrompt(NamedTuple):
    """What a WISE judge is asked.

    Attributes:
        system: The system message.
        template: The user message for `str.format` with the fields Prompt and Explanation.
    """

    system: str
    template: str

    def fill(self, prompt: str, explanation: str) -> str:
        """The user message about one sample."""
        return self.template.format(Prompt=prompt, Explanation=explanation)

    @property
    def sha256(self) -> str:
        """Digest of system message, zero byte and template in UTF-8."""
        return hashlib.sha256(f"{self.system}\0{self.template}".encode()).hexdigest()


class NoPromptError(ValueError):
    """The script is not of the form above."""


def read_prompt(path: Path) -> JudgePrompt:
    """The judge prompt in a script.

    Raises:
        NoPromptError: if it is not Python, or does not build its messages as described.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as failure:
        raise NoPromptError(f"{path} is not Python: {failure}") from failure
    texts = {}
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name == _FUNCTION:
            texts = _message_texts(function)
    if not {"system", "user"} <= set(texts):
        raise NoPromptError(f"{path} has no system and user message in {_FUNCTION}()")
    prompt = JudgePrompt(_unescaped(texts["system"]), texts["user"])
    for field in _FIELDS:
        if "{" + field + "}" not in prompt.template:
            raise NoPromptError(f"{path}: the user message does not use the field '{field}'")
    return prompt


def _message_texts(function: ast.FunctionDef) -> dict[str, str]:
    """The text of each message by role, as a template."""
    messages = [_entries(node) for node in ast.walk(function) if isinstance(node, ast.Dict)]
    texts = {}
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if isinstance(role, ast.Constant) and content is not None:
            parts = [_entries(node) for node in ast.walk(content) if isinstance(node, ast.Dict)]
            found = [part["text"] for part in parts if "text" in part]
            if len(found) == 1:
                texts[str(role.value)] = _template(found[0])
    return texts


def _entries(node: ast.Dict) -> dict[str, ast.expr]:
    """The values of a literal dict by its keys that are literal texts."""
    return {
        key.value: value
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }


def _template(text: ast.expr) -> str:
    """A text or f-string as a template for `str.format`."""
    pieces = text.values if isinstance(text, ast.JoinedStr) else [text]
    return "".join(_piece(piece) for piece in pieces)


def _unescaped(template: str) -> str:
    return template.replace("{{", "{").replace("}}", "}")


def _piece(piece: ast.expr) -> str:
    if isinstance(piece, ast.Constant) and isinstance(piece.value, str):
        return piece.value.replace("{", "{{").replace("}", "}}")
    if isinstance(piece, ast.FormattedValue) and isinstance(piece.value, ast.Subscript):
        field = piece.value.slice
        if isinstance(field, ast.Constant) and field.value in _FIELDS:
            return "{" + str(field.value) + "}"
    raise NoPromptError(
        f"line {piece.lineno}: '{ast.unparse(piece)[:60]}' is neither text nor a field"
    )
