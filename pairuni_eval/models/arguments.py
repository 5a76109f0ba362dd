"""Arguments of an adapter as they are typed: `--model-args key=value,key=value`.

A comma within quotes or brackets belongs to its value, as in lmms-eval. What is typed is kept in
run cards and commands: secrets belong in the environment, where the libraries that need one look.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pairuni_eval.errors import UserError

_PIECE = re.compile(r"""(?:"[^"]*"|'[^']*'|\{[^{}]*\}|\[[^\[\]]*\]|\([^()]*\)|[^,])+""")
_SECRET = re.compile(
    r"(?:api_?key|password|secret(?:_key)?|(?:access|auth|bearer|hf)_?token|^token)$"
)


def read_arguments(text: str | None) -> dict[str, str]:
    """The arguments by name; none for None.

    Raises:
        UserError: for a part that is not of the form KEY=VALUE, and a key that is there twice.
    """
    found: dict[str, str] = {}
    for piece in _PIECE.findall(text or ""):
        key, equals, value = piece.partition("=")
        if not (key.strip() and equals):
            raise UserError(
                f"--model-args: '{piece.strip()}' is not of the form KEY=VALUE.",
                hint="e.g. --model-args pretrained=OWNER/NAME,batch_size=4",
            )
        if key.strip() in found:
            raise UserError(f"--model-args: '{key.strip()}' is there twice.")
        found[key.strip()] = value.strip()
    return found


def refuse_secrets(arguments: Mapping[str, str]) -> None:
    """Raise a UserError for an argument that is called like a secret; it never shows the value."""
    for name in arguments:
        if _SECRET.search(name.lower()):
            raise UserError(
                f"The argument '{name}' looks like a secret, and arguments are stored with the "
                "run.",
                hint="Set the variable of the environment that the model's library reads, e.g. "
                "OPENAI_API_KEY or HF_TOKEN, and leave the argument out.",
            )
