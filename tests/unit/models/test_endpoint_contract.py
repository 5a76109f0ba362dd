"""docs/endpoint.md is the contract: client and script have its paths, fields and keys alone."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import ModuleType

from PIL import Image

from pairuni_eval.decoding import Decoding
from pairuni_eval.models.base import Request
from pairuni_eval.models.endpoint.bridge import script
from pairuni_eval.models.endpoint.requests import fields_of, post_of
from pairuni_eval.models.endpoint.settings import EndpointFile
from pairuni_eval.records import Capability

PAGE = (Path(__file__).parents[3] / "docs" / "endpoint.md").read_text(encoding="utf-8")
ROWS = {
    cells[0]: cells[1:]
    for line in PAGE.partition("## The contract")[2].splitlines()
    if line.startswith("| ")
    for cells in [[cell.strip() for cell in line.strip("|").split(" | ")]]
}
SHARED = {"answer": Capability.UNDERSTAND, "draw": Capability.GENERATE, "edit": Capability.EDIT}


def served() -> ModuleType:
    module = ModuleType("serve_model")
    exec(compile(script(), "serve_model.py", "exec"), vars(module))
    return module


def test_the_paths_are_those_of_client_and_script() -> None:
    decoding = Decoding(size=(4, 4))
    request = Request((Image.new("RGB", (2, 2)), "q"), decoding, 1, "uid")
    paths = {}
    for row, capability in SHARED.items():
        method, path = ROWS[row][0].strip("`").split()
        assert method == "POST"
        paths[f"/v1{path}"] = capability.value
        post = post_of(request, capability, fields_of(request, capability))
        assert post.path == path
        assert bool(post.attachments) == (row == "edit")
    assert paths == vars(served())["PATHS"]
    assert ROWS["identity"][0] == "`GET /models`"


def test_the_fields_are_those_that_are_sent() -> None:
    for row, decoding in (("answer", Decoding()), ("draw", Decoding(size=(4, 4)))):
        request = Request(("q",), decoding, 1, "uid")
        fields = fields_of(request, SHARED[row])
        sent = {"model", *post_of(request, SHARED[row], fields).fields}
        named = re.findall(r"`([a-z_]+)`", ROWS[row][1])
        assert sent == set(named) - {"b64_json"}, row


def test_the_keys_of_the_file_are_those_of_the_page() -> None:
    table = PAGE.partition("| Key |")[2].partition("\n\n")[0]
    first = [line.split(" | ")[0] for line in table.splitlines()[2:]]
    named = [name for cell in first for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(EndpointFile.__struct_fields__)


def test_the_examples_fill_in_functions_that_the_script_has() -> None:
    functions = set(vars(served())["FUNCTIONS"].values())
    shown = []
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        made = {
            node.name: [one.arg for one in node.args.args]
            for node in ast.parse(block).body
            if isinstance(node, ast.FunctionDef)
        }
        assert made.pop("load") == []
        assert set(map(tuple, made.values())) == {("model", "requests")}
        shown += list(made)
    assert sorted(shown) == sorted(functions)
