"""What every page has, and addresses inside a report."""

from __future__ import annotations

import base64
import hashlib
import re
from urllib.parse import unquote

import pytest

from pairuni_eval.report import addresses, pages, text
from pairuni_eval.report.pages import render_page


def test_a_page_has_one_script_and_its_policy_names_it() -> None:
    page = render_page("base.html.j2")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page and "default-src 'none'" in page
    assert page.startswith("<!DOCTYPE html>") and "prefers-color-scheme: dark" in page


def test_scripts_are_joined_in_order() -> None:
    page = render_page("base.html.j2", scripts=("page.js", "browse.js"))
    assert page.index("const page =") < page.index("DecompressionStream")
    assert page.count("<script>") == 1


def test_filters_of_a_page_are_its_own() -> None:
    render_page("base.html.j2", filters={"number": lambda *_: "mine"})
    assert pages._html(pages.OWN).filters["number"] is text.number


@pytest.mark.parametrize("name", ["a b", "ü/…", "50 % & more", "x=y#z", "\ud800", '"<>'])
def test_addresses_hold_any_name(name: str) -> None:
    address = addresses.of_group("tiny-pope", name, filter="worse", against=name)
    parts = dict(part.split("=") for part in address.split("&"))
    assert list(parts) == ["benchmark", "group", "filter", "against"]
    assert unquote(parts["group"]) == name.replace("\ud800", "?")
    assert not set('"<> #') & set(address)


def test_a_sample_has_an_address_and_each_of_its_draws() -> None:
    assert addresses.of_sample("geneval", "p 1") == "sample=geneval/p%201"
    assert addresses.of_sample("geneval", "p1", 1) == "sample=geneval/p1&draw=2"
    long = "k" * 200
    assert unquote(addresses.of_sample("b", long)) == f"sample=b/{addresses.shown_key(long)}"
