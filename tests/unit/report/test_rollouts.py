"""What a training kept of its rollouts, in the report of its checkpoint."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from support import example_run as example

from pairuni_eval.report.build import build_report
from pairuni_eval.report.copied_images import ImageCopier
from pairuni_eval.report.rollouts import SHOWN, rollouts
from pairuni_eval.store.partial_run import open_run
from pairuni_eval.store.pictures import Pictures
from pairuni_eval.store.training import ROLLOUTS, RolloutGroup, keep_training, read_rollouts

HOSTILE = "</script><script>alert(1)</script>"


def kept(folder: Path, steps: int) -> Path:
    """A training folder that kept a group of each task in every step."""
    folder.mkdir()
    pictures = [example.picture(color, "circle") for color in ("red", "blue")]
    with Pictures(folder) as store:
        for one in pictures:
            store.add(one)
    rows = []
    for step in range(steps):
        rows += [
            RolloutGroup(
                step=step,
                task="und",
                pair="p1",
                asked=f"Which color? {HOSTILE}",
                image=pictures[0].id,
                gold="red",
                answers=("red", HOSTILE),
                drawn=(None, None),
                rewards={"form": (0.5, None), "right": (1.0, 0.0), "total": (1.5, None)},
                advantages=(0.71, None),
            ),
            RolloutGroup(
                step=step,
                task="gen",
                pair="p1",
                asked="a photo of a blue circle",
                image=None,
                gold=None,
                answers=(None, None),
                drawn=(pictures[1].id, pictures[0].id),
                rewards={"scorer": (1.0, 0.0), "total": (1.0, 0.0)},
                advantages=(1.0, -1.0),
            ),
        ]
    lines = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    (folder / ROLLOUTS).write_bytes(lines)
    (folder / "metrics.jsonl").write_text('{"step": 0, "reward/und": 0.5}\n')
    return folder


def test_groups_are_spread_over_the_steps(tmp_path: Path) -> None:
    folder = kept(tmp_path / "training", 31)
    with ImageCopier(tmp_path / "report") as copier:
        found = rollouts({"ours": [folder]}, copier)
    assert found is not None and (found.arm, found.kept) == ("ours", 62)
    of_questions = [one.step for one in found.groups if one.task == "understanding"]
    assert len(of_questions) == SHOWN and (of_questions[0], of_questions[-1]) == (0, 30)
    first = found.groups[0].rollouts
    assert [one.reward for one in first] == [1.5, None]
    assert first[1].parts == (("form", None), ("right", 0.0))
    assert found.groups[1].rollouts[0].parts == ()  # its one reward is the total


def test_an_arm_without_any_is_passed_over(tmp_path: Path) -> None:
    folder = kept(tmp_path / "training", 1)
    with ImageCopier(tmp_path / "report") as copier:
        assert rollouts({"ours": [tmp_path]}, copier) is None
        found = rollouts({"ours": [tmp_path], "GRPO": [folder]}, copier)
    assert found is not None and found.arm == "GRPO"


def test_the_page_shows_them_escaped(tmp_path: Path) -> None:
    benchmarks = [example.cards(8)[3]]
    run = example.write_run(tmp_path / "run", count=8, benchmarks=benchmarks)
    checkpoint = kept(tmp_path / "trained", 2) / "checkpoint-2"
    checkpoint.mkdir()
    keep_training(run, str(checkpoint))
    assert read_rollouts(run / "training") == read_rollouts(tmp_path / "trained")
    page = build_report(open_run(run), tmp_path / "report", {}).read_text(encoding="utf-8")
    told = page[page.index('<details id="rollouts">') :]
    told = told[: told.index("</details>")]
    assert told.count('class="exhibit') == 4 and "step 1, generation" in told
    assert "reward <b>1.5</b>, form 0.5, right 1, advantage 0.71" in told
    assert told.count("<img") == 2 + 4 and HOSTILE not in told
    assert "4 groups of rollouts were kept" in (tmp_path / "report/report.md").read_text()


def test_a_line_of_another_form_is_named(tmp_path: Path) -> None:
    from pairuni_eval.errors import UserError

    folder = kept(tmp_path / "training", 1)
    path = folder / ROLLOUTS
    path.write_bytes(path.read_bytes().replace(b'"image":"', b'"image":"../', 1))
    with pytest.raises(UserError, match=r"rollouts.jsonl, line 1: cannot be read"):
        read_rollouts(folder)
