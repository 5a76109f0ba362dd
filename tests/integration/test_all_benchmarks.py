"""Every big benchmark in one command, from files in upstream's form, against numbers by hand.

The judge is a script behind a real endpoint on loopback, the detector a small random network of the
real architecture. The tiny model answers as it likes, so there only what does not depend on its
answers is known; the scripted model's figures are all worked out by hand.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from support import upstream
from support import upstream_data as made
from support.http_server import Loopback, Served, endpoint
from support.small_detector import save_weights

from pairuni_eval.store import layout
from pairuni_eval.store.read import StoredRun

LIMIT = 5  # of six rows in each file, but for GenEval; MME keeps the pair that it begins
PROTOCOLS = {
    "mme": ["official", "lmms-eval", "vlmevalkit"],
    "mmmu": ["official", "vlmevalkit", "lmms-eval", "no-guess"],
    "mmstar": ["official", "lmms-eval", "vlmevalkit"],
    "pope": ["official", "lmms-eval", "vlmevalkit"],
    "geneval": ["official", "hf"],
    "wise": ["official", "lmms-eval"],
    "imgedit": ["official", "lmms-eval"],
}
OUTPUTS = {"mmmu": 5, "mmstar": 5, "mme": 6, "pope": 5, "geneval": 8, "wise": 5, "imgedit": 5}
EXPECTED = {
    "mmmu": 900,
    "mmstar": 1500,
    "mme": 2374,
    "pope": 5127,
    "geneval": 2212,
    "wise": 1000,
    "imgedit": 737,
}
HEADLINE_EXPECTED = {"mme": 2114}  # the headline is of perception alone
TITLES = {
    "mme": "MME",
    "mmmu": "MMMU",
    "mmstar": "MMStar",
    "pope": "POPE",
    "geneval": "GenEval",
    "wise": "WISE (legacy)",
    "imgedit": "ImgEdit Basic",
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are faster so."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_weights_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector in this machine's cache is none of the test's."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def data(tmp_path: Path, photographs: dict[str, bytes]) -> Path:
    return made.write_folder(tmp_path / "data", photographs)


@pytest.fixture
def judge(tmp_path: Path) -> Iterator[Loopback]:
    """The scripted judge; judge.toml says where it is, and the model's names are the cards'."""
    said = made.replies()
    with endpoint(lambda prompt, seen: Served(said[prompt])) as running:
        (tmp_path / "judge.toml").write_text(f'base_url = "{running.url}"\n')
        yield running


@pytest.fixture
def script(tmp_path: Path, photographs: dict[str, bytes]) -> str:
    """The scripted model, which draws one small picture whatever is asked."""
    Image.new("RGB", (32, 32), "orange").save(tmp_path / "drawn.png")
    lines = [{"prompt": prompt, "text": text} for prompt, text in made.answers().items()]
    lines.append({"prompt": "*", "image": "drawn.png"})
    (tmp_path / "model.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return f"scripted:{tmp_path / 'model.jsonl'}"


def asked(checkpoint: str, data: Path, limit: int = LIMIT) -> list[object]:
    """One command for all benchmarks."""
    return [
        *("run", "--checkpoint", checkpoint, "--benchmarks", ",".join(made.ALL)),
        *("--data", data, "--limit", limit, "--judge", "judge.toml", "--device", "cpu"),
        *("--out", "run", "--report", "report"),
    ]


_SECTION = '<section class="benchmark"'


class Result:
    """A run and its report in a folder."""

    def __init__(self, folder: Path) -> None:
        self.run = StoredRun(folder / "run")
        self.folder = folder / "report"
        self.summary = json.loads((self.folder / "summary.json").read_text())
        self.parts: dict[str, Any] = self.summary["benchmarks"]

    def statuses(self, benchmark: str, protocol: str) -> Counter[str]:
        """Outputs by status."""
        counted: Counter[str] = Counter()
        for row in self.parts[benchmark]["protocols"][protocol]["statuses"]:
            counted[row["status"]] += row["rows"]
        return counted

    def metric(self, benchmark: str, protocol: str, name: str) -> Any:
        return self.parts[benchmark]["protocols"][protocol]["metrics"][name]

    def values(self, benchmark: str, protocol: str, *names: str) -> list[float | None]:
        return [self.metric(benchmark, protocol, name)["value"] for name in names]

    def scored(self, benchmark: str, protocol: str) -> tuple[int, int]:
        """Coverage of the headline."""
        rule = self.parts[benchmark]["protocols"][protocol]
        headline = rule["metrics"][rule["headline"]]
        return headline["scored"], headline["expected"]

    def sections(self) -> dict[str, str]:
        """The words of each benchmark's section in the HTML report, by title."""
        page = (self.folder / "report.html").read_text()
        found = re.findall(_SECTION + r".*?</section>", page, re.S)
        return {_words(re.findall(r"<h3>(.*?)<", one, re.S)[0]): _words(one) for one in found}

    def headlines(self) -> str:
        """The words before the first benchmark's section."""
        return _words((self.folder / "report.html").read_text().partition(_SECTION)[0])

    def markdown(self) -> dict[str, str]:
        """The same of the Markdown report."""
        page = (self.folder / "report.md").read_text().partition("\n## Run card")[0]
        return {
            part.partition("\n")[0].partition(" (tiny)")[0].partition(" **")[0]: part
            for part in re.split(r"^### ", page, flags=re.M)[1:]
        }


def _words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def assert_all_are_shown(result: Result) -> None:
    """Both reports have a section for every benchmark with its protocols and its coverage."""
    html, markdown = result.sections(), result.markdown()
    assert list(html) == list(markdown) == list(TITLES.values())
    for name, protocols in PROTOCOLS.items():
        part, words, lines = result.parts[name], html[TITLES[name]], markdown[TITLES[name]]
        assert list(part["protocols"]) == protocols
        assert (part["planned"], part["partial"]) == (OUTPUTS[name] // _draws(name), True)
        assert "PARTIAL" in words and "PARTIAL" in lines
        assert "from a folder, the card's revision is" in words
        for protocol in protocols:
            valued, wanted = result.scored(name, protocol)
            assert sum(result.statuses(name, protocol).values()) == OUTPUTS[name]
            assert f" {protocol} " in words and f"| {protocol} |" in lines
            assert f"{valued}/{wanted}" in words and f"| {valued}/{wanted} |" in lines
        valued, wanted = result.scored(name, protocols[0])
        assert wanted == HEADLINE_EXPECTED.get(name, EXPECTED[name])
        assert f"{valued}/{wanted}" in result.headlines()


def assert_intervals_hold(result: Result) -> None:
    """No interval leaves out its own value, whatever a judge said."""
    for name, part in result.parts.items():
        for protocol, rule in part["protocols"].items():
            for metric, entry in rule["metrics"].items():
                for found in (entry, *entry.get("groups", {}).values()):
                    low, high = found["interval"] or (found["value"],) * 2
                    assert low == high is None or low <= found["value"] <= high, (
                        name,
                        protocol,
                        metric,
                    )


def _draws(name: str) -> int:
    return 4 if name == "geneval" else 1


def assert_judged_by_hand(result: Result, judge: Loopback) -> None:
    """WISE and ImgEdit: the judge's words do not depend on the model."""
    # CULTURE 0.85 (the prose is left out), TIME 0.25, SPACE 0.5, BIOLOGY 1, weighted by what is
    # there: (0.4 * 0.85 + 0.167 * 0.25 + 0.133 * 0.5 + 0.1) / 0.8.
    assert result.values("wise", "official", "overall", "culture") == pytest.approx(
        [0.54825 / 0.8, 0.85]
    )
    assert result.scored("wise", "official") == (4, 1000)
    assert result.statuses("wise", "official") == {"scored": 4, "judge_failed": 1}
    # The prose counts 0: CULTURE 0.425.
    assert result.values("wise", "lmms-eval", "overall") == pytest.approx([0.37825 / 0.8])
    assert result.scored("wise", "lmms-eval") == (5, 1000)
    # add 4, replace 4.5 of two lines, style 3, background 2; "5/5" is not a score.
    assert result.values("imgedit", "official", "overall") == pytest.approx([13.5 / 4])
    assert result.scored("imgedit", "official") == (4, 737)
    assert result.statuses("imgedit", "official") == {"scored": 4, "judge_failed": 1}
    # add 4, remove 4, replace 0 for lack of a third, style 3, background 2.
    assert result.values("imgedit", "lmms-eval", "average") == pytest.approx([13 / 5])
    assert result.scored("imgedit", "lmms-eval") == (5, 737)
    # Each question once, the one about prose three times, and nothing again for lmms-eval.
    calls = Counter(call.prompt for call in judge.calls)
    assert sorted(calls.values()) == [1] * 9 + [3]
    assert {call.request["model"] for call in judge.calls} == {
        "gpt-4o-2024-05-13",
        "gpt-4.1-2025-04-14",
    }
    assert [len(call.images) for call in judge.calls] == [2] * 5 + [1] * 7  # by name
    for name in ("wise", "imgedit"):
        words = result.sections()[TITLES[name]]
        assert "judge differs Scores are by gpt-4" in words and "with another prompt" in words


@pytest.mark.slow  # by default the scripted model runs them all, and GenEval's networks elsewhere
def test_the_tiny_model_on_every_benchmark_in_one_command(
    cli: Any, tmp_path: Path, data: Path, judge: Loopback, photographs: dict[str, bytes]
) -> None:
    ran = cli(*asked("tiny", save_weights(data)))
    assert ran.code == 0, ran.err
    assert (tmp_path / "run" / layout.COMPLETE).exists()
    result = Result(tmp_path)
    assert list(result.parts) == list(PROTOCOLS)
    assert_all_are_shown(result)
    assert_intervals_hold(result)
    assert_judged_by_hand(result, judge)
    assert_tiny_coverage(result)
    outputs = result.run.outputs
    assert outputs["error"].isna().all() and outputs["skipped"].isna().all()
    stored = {path.read_bytes() for path in (tmp_path / "run" / "images").rglob("*/*")}
    assert set(photographs.values()) <= stored
    words = result.sections()
    for name in ("wise", "imgedit"):
        assert "graded differently by official and lmms-eval" in words[TITLES[name]]
    assert "published figure" not in "".join(words.values())  # nobody's stand beside tiny ones
    assert words["GenEval"].count("tiny") > 6


def assert_tiny_coverage(result: Result) -> None:
    """What is graded does not depend on the answers, but where a protocol leaves some out."""
    for name in ("mmmu", "mmstar", "mme", "pope"):
        for protocol in PROTOCOLS[name]:
            rule = result.parts[name]["protocols"][protocol]["metrics"]
            left_out = _left_out(result, protocol) if name == "pope" else 0
            several = rule.get("accuracy") or rule["average"]
            assert several["scored"] == OUTPUTS[name]
            assert rule.get("f1", several)["scored"] == OUTPUTS[name] - left_out
            assert several["expected"] == EXPECTED[name]
    assert result.statuses("geneval", "official") == {"scored": 8}
    assert result.values("geneval", "official", "overall")[0] is not None
    assert result.metric("geneval", "official", "images")["clusters"] == 2
    assert result.statuses("geneval", "hf") == {"skipped": 8}
    assert result.scored("geneval", "hf") == (0, 2212)
    words = result.sections()["GenEval"]
    assert "No output was graded by both official and hf." in words
    assert "DIR/weights/detector_hf/" in words


def _left_out(result: Result, protocol: str) -> int:
    """POPE's answers that are not exactly yes or no, which lmms-eval leaves out of F1."""
    if protocol != "lmms-eval":
        return 0
    samples = result.run.samples
    mine = set(samples.loc[samples["benchmark"] == "pope", "uid"])
    outputs = result.run.outputs
    texts = [
        "".join(part["text"] for part in json.loads(parts))
        for sample, parts in zip(outputs["sample"], outputs["parts"], strict=True)
        if sample in mine
    ]
    return sum(text.lower().strip() not in ("yes", "no") for text in texts)


def test_a_scripted_model_gets_the_figures_worked_out_by_hand(
    cli: Any, tmp_path: Path, data: Path, judge: Loopback, script: str
) -> None:
    ran = cli(*asked(script, data))
    assert ran.code == 0, ran.err
    result = Result(tmp_path)
    assert_all_are_shown(result)
    assert_intervals_hold(result)
    assert_judged_by_hand(result, judge)
    assert_figures(result)
    assert_flips(result)
    assert_badges(result)


def assert_figures(result: Result) -> None:
    """What stands in `upstream_data`, row by row."""
    # MMMU, rights of five. Official: 1, 2, 4. VLMEvalKit: the open one as well. lmms-eval: 1, 4.
    for protocol, rights in (("official", 3), ("no-guess", 3), ("vlmevalkit", 4), ("lmms-eval", 2)):
        assert result.values("mmmu", protocol, "accuracy") == pytest.approx([rights / 5])
        assert result.scored("mmmu", protocol) == (5, 900)
    assert result.values("mmmu", "official", "guessed", "open") == [0.0, 0.0]
    assert result.values("mmmu", "vlmevalkit", "open") == [1.0]
    # MMStar. Official: 1, 3, 5. lmms-eval: all but 4, each alone in its finer category.
    # VLMEvalKit: 1, 2, 3.
    assert result.values("mmstar", "official", "accuracy") == pytest.approx([3 / 5])
    assert result.values("mmstar", "lmms-eval", "average", "fine") == pytest.approx([4 / 5, 1 / 2])
    assert result.values("mmstar", "vlmevalkit", "accuracy") == pytest.approx([3 / 5])
    assert result.statuses("mmstar", "official") == {"scored": 3, "unparsed": 2}
    # MME. Official: of existence 2 of 4 and one pair of two, of code both. lmms-eval takes "n",
    # VLMEvalKit "The answer is yes" and not "None".
    names = ("perception", "cognition", "accuracy")
    assert result.values("mme", "official", *names) == pytest.approx([50 + 50, 200, 4 / 6])
    assert result.values("mme", "lmms-eval", *names) == pytest.approx([75 + 50, 200, 5 / 6])
    assert result.values("mme", "vlmevalkit", *names) == pytest.approx([75 + 50, 50, 4 / 6])
    # POPE, six rows for the dog counts twice. Official: TP cat, person; FP dog, dog; FN cup; TN
    # fork. VLMEvalKit: the cat is a FN. lmms-eval: neither cup nor cat is there for F1.
    rates = ("f1", "precision", "recall", "accuracy")
    assert result.values("pope", "official", *rates) == pytest.approx([4 / 7, 2 / 4, 2 / 3, 3 / 6])
    assert result.values("pope", "vlmevalkit", *rates) == pytest.approx(
        [1 / 3, 1 / 3, 1 / 3, 2 / 6]
    )
    assert result.values("pope", "lmms-eval", *rates) == pytest.approx([1 / 2, 1 / 3, 1, 2 / 6])
    assert result.scored("pope", "lmms-eval") == (3, 5127)
    assert result.statuses("pope", "lmms-eval") == {"scored": 3, "unparsed": 2}
    # GenEval without a detector.
    for protocol in PROTOCOLS["geneval"]:
        assert result.statuses("geneval", protocol) == {"skipped": 8}
        assert result.values("geneval", protocol, "overall") == [None]


FLIPS = {
    "mmmu": {"vlmevalkit": ["A"], "lmms-eval": ["It is what NASA calls the second picture."]},
    "mmstar": {
        "lmms-eval": ["The answer is (B)"],
        "vlmevalkit": ["The answer is (B)", "Cannot tell"],
    },
    "mme": {"lmms-eval": ["n"], "vlmevalkit": ["The answer is yes", "None"]},
    "pope": {"lmms-eval": ["There is one."], "vlmevalkit": ["There is one."]},
    "wise": {"lmms-eval": ["(image) thing 2"]},
    "imgedit": {"lmms-eval": ["(image) edit 11", "(image) edit 12"]},
}


def assert_flips(result: Result) -> None:
    """Every row that two protocols grade differently is listed."""
    html, markdown = result.sections(), result.markdown()
    for name, by_protocol in FLIPS.items():
        for protocol, answers in by_protocol.items():
            plural = "s" * (len(answers) != 1)
            told = f"{len(answers)} output{plural} graded differently by official and {protocol}"
            assert f"{told}." in markdown[TITLES[name]]
            table = html[TITLES[name]].partition(told)[2]
            for answer in answers:
                assert answer in table
    assert "No output is graded differently by official and no-guess." in html["MMMU"]
    assert "No output was graded by both official and hf." in html["GenEval"]


def assert_badges(result: Result) -> None:
    """Published figures say whether they rest on a protocol of the run."""
    html = result.sections()
    assert "34.89 protocol matches in part vlmevalkit; in its own prompt" in html["MMMU"]
    assert "55.3 protocol differs BAGEL's own script" in html["MMMU"]
    assert "46.5 protocol not stated" in html["MMStar"]
    assert "1444.0 protocol matches in part vlmevalkit" in html["MME"]
    assert "84.11 protocol matches vlmevalkit open-compass" in html["POPE"]
    assert "0.73 protocol matches in part official; sampling settings" in html["GenEval"]
    assert "0.26 judge differs official (legacy edition), gpt-4o" in html["WISE (legacy)"]
    assert "3.38 protocol matches in part official; judge not stated" in html["ImgEdit Basic"]
    assert "| 84.11 | protocol matches: vlmevalkit |" in result.markdown()["POPE"]


# What is wrong with the data or with the judge


BAD_REPLIES = {
    "prose": Served("What a lovely picture this is."),
    "markdown": Served("**Consistency:** 2\n**Realism:** 2\n**Aesthetic Quality:** 2"),
    "range": Served("Consistency: 9\nRealism: 1\nAesthetic Quality: 1"),
    "half": Served('{"consistency": 2, "reali'),
    "storm": Served(status=429),
    "gone": Served(write=lambda stream: None),  # it hangs up
    "fine": Served("Consistency: 2\nRealism: 2\nAesthetic Quality: 2"),
}
WISE_WAYS = dict(zip((1, 2, 401, 568, 701, 801, 901), BAD_REPLIES, strict=True))


def misbehaving(prompt: str, seen: int) -> Served:
    """Each question has its way to fail, however often it comes."""
    ways = {f"Grade thing {n} by what {n} means": way for n, way in WISE_WAYS.items()}
    return BAD_REPLIES[ways.get(prompt) or prompt.rpartition(" ")[2]]


def break_rows(data: Path, photographs: dict[str, bytes]) -> None:
    """Broken rows of every kind in files that are otherwise as they were."""
    cut = {"bytes": photographs["chelsea.png"][:2000], "path": None}
    rows = made.mmmu(photographs)
    rows[0]["options"] = "dog, cat and cow"
    rows[1]["image_2"] = cut
    rows[4]["answer"] = "F"
    upstream.write(data / "mmmu/data/validation-00000-of-00001.parquet", "mmmu", rows)
    rows = made.mmstar(photographs)
    rows[0]["image"] = None
    rows[1]["image"] = {"bytes": b"<html>Not found</html>", "path": None}
    upstream.write(data / "mmstar/mmstar.parquet", "mmstar", rows)
    rows = made.mme(photographs)
    rows[5]["answer"] = "maybe"
    upstream.write(data / "mme/data/test-00000-of-00001.parquet", "mme", rows[:3] + rows[4:])
    rows = made.pope(photographs, "adversarial")
    rows[0]["image"] = cut
    upstream.write(data / "pope/Full/adversarial-00000-of-00001.parquet", "pope", rows)
    break_judged_rows(data, photographs)


def break_judged_rows(data: Path, photographs: dict[str, bytes]) -> None:
    files = made.wise()
    chemistry = files[2][1] | {"prompt_id": 901, "Category": "Chemistry"}
    chemistry |= {"Prompt": "thing 901", "Explanation": "what 901 means"}
    made.write_wise(data / "wise", [*files[:2], [*files[2], chemistry]])
    edits = {
        str(i): {"id": "photographs/coffee.png", "prompt": way, "edit_type": "add"}
        for i, way in enumerate(BAD_REPLIES)
    }
    edits["absent"] = edits["0"] | {"id": "photographs/absent.png"}
    edits["cut"] = edits["0"] | {"id": "photographs/cut.png"}
    edits["other type"] = edits["0"] | {"edit_type": "levitate"}
    made.write_imgedit(data / "imgedit", edits, photographs)
    (data / "imgedit/photographs/cut.png").write_bytes(photographs["chelsea.png"][:2000])
    (data / "imgedit/prompts.json").write_text(json.dumps({"add": made.EDIT_PROMPT}))


def test_broken_rows_and_a_misbehaving_judge_are_statuses(
    cli: Any,
    tmp_path: Path,
    data: Path,
    judge: Loopback,
    script: str,
    photographs: dict[str, bytes],
) -> None:
    judge.plan = misbehaving
    with (tmp_path / "judge.toml").open("a") as settings:
        settings.write('snapshot = "made-up-1"\ntimeout_s = 60\nretries = 1\nbackoff_s = 0.001\n')
    break_rows(data, photographs)
    command = asked(script, data, limit=20)
    command[4] = ",".join(name for name in made.ALL if name != "geneval")
    assert_refused_before_anything_is_spent(cli, command, tmp_path, data)
    assert judge.calls == []
    ran = cli(*command)
    assert ran.code == 0, ran.err
    result = Result(tmp_path)
    assert_rows_without_value(result)
    assert_judge_failures(result)
    assert_intervals_hold(result)
    # A call that may pass is made twice. WISE asks three times where it has no readable reply:
    # 3 * 3 for prose, markdown and half, 2 * 3 * 2 for storm and gone, 2 for the others. ImgEdit
    # asks once: 5 calls, and 2 * 2 for storm and gone. lmms-eval takes the same replies.
    assert len(judge.calls) == (9 + 12 + 2) + (5 + 4)
    assert "wise: 12 of" in ran.err and "The same command asks them again." in ran.err


def assert_refused_before_anything_is_spent(
    cli: Any, command: list[object], tmp_path: Path, data: Path
) -> None:
    """Files of another form stop the run with one error; mended, the same command runs."""
    import pyarrow.parquet as pq

    path = data / "mme/data/test-00000-of-00001.parquet"
    whole = path.read_bytes()
    table = pq.read_table(path)
    names = ["query" if name == "question" else name for name in table.column_names]
    pq.write_table(table.rename_columns(names), path)
    ran = cli(*command)
    assert ran.code == 2
    assert f"{path}: column 'question' is missing." in ran.error
    path.write_bytes(whole)
    path = data / "wise/data" / made.WISE_FILES[0]
    whole = path.read_bytes()
    path.write_text(json.dumps(json.loads(whole) * 2))
    ran = cli(*command)
    assert ran.code == 2
    assert "prompt_id 1 occurs twice in" in ran.error and path.name in ran.error
    path.write_bytes(whole)
    assert not (tmp_path / "run" / layout.RUN_FILE).exists()
    assert not list((tmp_path / "run").rglob("outputs*"))


def assert_rows_without_value(result: Result) -> None:
    """Broken rows of a dataset are missing, with the reason, and count in no figure."""
    reasons = {
        row["reason"]: row["rows"]
        for row in result.parts["mmmu"]["protocols"]["official"]["statuses"]
        if row["status"] == "missing_output"
    }
    assert reasons.pop("the row's options are not a list of options") == 1
    assert reasons.pop("the row's gold answer is none of its options") == 1
    ((reason, rows),) = reasons.items()
    assert rows == 1 and "truncated" in reason.lower()
    for protocol in PROTOCOLS["mmmu"]:  # left: the open one, C, and A
        assert result.scored("mmmu", protocol) == (3, 900)
    assert result.values("mmmu", "official", "accuracy", "guessed") == pytest.approx([2 / 3, 0])
    assert result.statuses("mmstar", "official") == {
        "scored": 3,
        "unparsed": 1,
        "missing_output": 2,
    }
    assert result.values("mmstar", "official", "accuracy") == pytest.approx([3 / 4])
    assert result.scored("mmstar", "official") == (4, 1500)
    # Of seven rows one stands alone and one says maybe.
    assert result.statuses("mme", "official") == {"scored": 5, "missing_output": 2}
    assert result.values("mme", "official", "accuracy") == [1.0]
    assert result.statuses("pope", "official") == {"scored": 5, "missing_output": 1}
    assert result.scored("pope", "official") == (5, 5127)
    words = result.sections()
    assert "the image has 1 question in the data, MME asks two" in words["MME"]
    assert "1 missing output" in words["POPE"] and "5/5127" in words["POPE"]


def assert_judge_failures(result: Result) -> None:
    """What cannot be read has no value, but under the protocol that says which."""
    assert result.statuses("wise", "official") == {"scored": 2, "judge_failed": 5}
    assert result.scored("wise", "official") == (2, 1000)
    # Officially any digit passes: (0.7 * 9 + 0.2 + 0.1) / 2 for TIME; 1 for CHEMISTRY.
    assert result.values("wise", "official", "time", "chemistry") == pytest.approx([3.3, 1.0])
    assert result.statuses("wise", "lmms-eval") == {"scored": 7}
    assert result.values("wise", "lmms-eval", "time", "culture", "space") == pytest.approx(
        [3.3, 0, 0]
    )
    lost = {"missing_output": 2, "skipped": 1}
    assert result.statuses("imgedit", "official") == {"scored": 2, "judge_failed": 5, **lost}
    assert result.statuses("imgedit", "lmms-eval") == {"scored": 7, **lost}
    assert result.scored("imgedit", "official") == (2, 737)
    # The lines "Consistency: 9, 1, 1" and "2, 2, 2"; lmms-eval reads the markdown as well.
    assert result.values("imgedit", "official", "add") == pytest.approx(
        [(11 / 3 + 2) / 2], abs=0.01
    )
    assert result.values("imgedit", "lmms-eval", "add") == pytest.approx([(11 / 3 + 2 + 2) / 7])
    words = result.sections()
    assert "there is none for the edit type 'levitate'" in words["ImgEdit Basic"]
    for name, prescribed in (("wise", "gpt-4o-2024-05-13"), ("imgedit", "gpt-4.1-2025-04-14")):
        told = f"The judge made-up-1 differs from the card's, {prescribed}."
        assert told in words[TITLES[name]]
    troubles = result.parts["wise"]["judging"]["usage"]["Judge made-up-1"]["troubles"]
    assert set(troubles) == {"HTTP 429", "no connection"}
