"""A model behind an endpoint on the schemas of real benchmarks, from the command to the tables.

The endpoint says and draws what a scripted model does, so the scores must be the scripted ones.
"""

from __future__ import annotations

import hashlib
import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from support import upstream_data as made
from support.fork_server import Forked
from support.http_server import Loopback, Served, endpoint

from pairuni_eval.store.read import StoredRun

ASKED = ("mmmu", "pope", "wise", "imgedit")
LIMIT = 5
KEY = "sk-a-key-that-nobody-may-write"
ORANGE = Image.new("RGB", (32, 32), "orange")
PLACE = ["sample", "draw", "protocol", "metric"]


def says(prompt: str, seen: int) -> Served:
    """What the scripted model says, and one small picture for all else."""
    text = made.answers().get(prompt)
    return Served(picture=ORANGE) if text is None else Served(text)


@pytest.fixture
def model() -> Iterator[Loopback]:
    with endpoint(says) as running:
        yield running


Command = Callable[..., list[object]]


@pytest.fixture
def command(
    tmp_path: Path,
    model: Loopback,
    photographs: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Command]:
    """Writes data, script, judge file and endpoint file; returns the command of a run."""
    monkeypatch.setenv("ACME_KEY", KEY)
    data = made.write_folder(tmp_path / "data", photographs)
    ORANGE.save(tmp_path / "drawn.png")
    lines = [{"prompt": prompt, "text": text} for prompt, text in made.answers().items()]
    lines.append({"prompt": "*", "image": "drawn.png"})
    (tmp_path / "model.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "model.toml").write_text(
        f'base_url = "{model.url}"\nmodel = "m"\nkey_env = "ACME_KEY"\nretries = 1\n'
        'backoff_s = 0.001\ncapabilities = ["understand", "generate", "edit"]\n'
    )
    said = made.replies()
    with endpoint(lambda prompt, seen: Served(said[prompt])) as judge:
        (tmp_path / "judge.toml").write_text(f'base_url = "{judge.url}"\n')

        def words(name: str, *further: object, checkpoint: str = "endpoint:model.toml") -> Any:
            place, _, file = checkpoint.partition(":")
            return [
                *("run", "--checkpoint", f"{place}:{tmp_path / file}"),
                *("--benchmarks", ",".join(ASKED), "--data", data, "--limit", LIMIT),
                *("--judge", tmp_path / "judge.toml", "--device", "cpu"),
                *("--out", tmp_path / name, "--report", "none", *further),
            ]

        yield words


def scores(folder: Path) -> pd.DataFrame:
    """The scores by sample and draw, for ids of outputs hold the decoding."""
    run = StoredRun(folder)
    both = run.scores.merge(run.outputs, left_on="output", right_on="id")
    return both.sort_values(PLACE).reset_index(drop=True)


def outputs(folder: Path) -> list[dict[str, Any]]:
    run = StoredRun(folder)
    columns = ["id", "sample", "draw", "seed", "decoding", "parts"]
    return list(run.outputs.sort_values("id")[columns].to_dict(orient="records"))


def contents(folder: Path) -> dict[str, str]:
    """Every file of a run by digest, but for what was remembered of calls and the times."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name not in ("journal.jsonl", ".lock")
        and not {"judge", "model"} & set(path.relative_to(folder).parts)
    }


def test_the_scores_are_those_of_the_scripted_model_and_no_key_is_written(
    cli: Any, tmp_path: Path, model: Loopback, command: Command
) -> None:
    ran = cli(*command("run"))
    assert ran.code == 0, ran.err
    asked = Counter(call.path.removeprefix("/v1/") for call in model.calls)
    assert asked == {"chat/completions": 10, "images/generations": 5, "images/edits": 5}
    assert {call.authorization for call in model.calls} == {f"Bearer {KEY}"}
    several = [call for call in model.calls if len(call.images) > 1]
    assert several, "MMMU has questions about several pictures"
    assert cli(*command("scripted", checkpoint="scripted:model.jsonl")).code == 0
    ours, theirs = scores(tmp_path / "run"), scores(tmp_path / "scripted")
    columns = [*PLACE, "value", "status", "parts"]
    pd.testing.assert_frame_equal(ours[columns], theirs[columns])
    assert (ours["status"] == "scored").sum() > 20
    before = len(model.calls)
    assert cli(*command("single", "--batch-size", 1, "--benchmarks", "pope,imgedit")).code == 0
    assert len(model.calls) == before + 2 * LIMIT
    single, together = outputs(tmp_path / "single"), outputs(tmp_path / "run")
    assert len(single) == 2 * LIMIT
    assert single == [output for output in together if output in single]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 50
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_what_fails_or_is_declined_costs_its_own_row(
    cli: Any, tmp_path: Path, model: Loopback, command: Command
) -> None:
    broken, declined, *_ = made.answers()
    policy = {"code": "content_policy_violation", "message": "Not this."}

    def plan(prompt: str, seen: int) -> Served:
        if prompt == broken:
            return Served(status=500)
        return Served(status=400, error=policy) if prompt == declined else says(prompt, seen)

    model.plan = plan
    ran = cli(*command("run"))
    assert ran.code == 0, ran.err
    found = scores(tmp_path / "run")
    mine = found[found["protocol"] == "mmmu@official"].drop_duplicates("sample")
    assert Counter(mine["status"]) == {"scored": 3, "missing_output": 1, "refused": 1}
    assert mine.loc[mine["status"] != "scored", "value"].isna().all()
    assert set(mine["verdict"].dropna()) >= {"HTTP 500", "HTTP 400: Not this."}
    assert sum(call.prompt == broken for call in model.calls) == 2


KILLS: tuple[dict[str, Any], ...] = (
    {"file": "model/replies.jsonl", "nth": 4, "torn": True},  # the one reply that is paid twice
    {"file": "rows/outputs", "nth": 1},
)
MORE_KILLS: tuple[dict[str, Any], ...] = (
    {"file": "model/replies.jsonl", "nth": 3},
    *KILLS,
    {"file": "model/replies.jsonl", "nth": 2},
)


@pytest.mark.parametrize(
    ("kills", "asked"),
    [
        pytest.param(KILLS, ("mmmu", "imgedit"), id="two"),
        # Twice more between two replies, which is where the torn one stands.
        pytest.param(MORE_KILLS, ASKED, id="four", marks=pytest.mark.slow),
    ],
)
def test_kills_change_no_byte_and_pay_for_nothing_twice(
    forked: Forked,
    tmp_path: Path,
    model: Loopback,
    command: Command,
    kills: tuple[Any, ...],
    asked: tuple[str, ...],
) -> None:
    run = command("run", "--benchmarks", ",".join(asked))
    file = tmp_path / "model.toml"
    file.write_text(file.read_text() + "concurrency = 1\n")  # no other call is under way
    log = tmp_path / "log"
    assert forked.run(*run, log=log) == 0, log.read_text()
    whole = contents(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "whole")
    model.replied.clear()
    for moment in kills:  # each goes on where the one before died
        code = forked.run(*run, log=log, die=moment)
        assert code == -signal.SIGKILL, (moment, log.read_text())
    assert forked.run(*run, log=log) == 0, log.read_text()
    assert contents(tmp_path / "run") == whole
    assert sum(model.replied.values()) == len(asked) * LIMIT + 1
