"""lmms-eval's flags after `pairuni-eval run` are answered with ours."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import Any

import pytest

from pairuni_eval.cli.lmms_flags import answer
from pairuni_eval.errors import UserError


def answered(words: str) -> UserError:
    with pytest.raises(UserError) as found:
        answer(shlex.split(words))
    return found.value


def test_a_command_of_theirs_is_answered_with_ours() -> None:
    found = answered(
        "--model janus --model_args pretrained=deepseek-community/Janus-Pro-1B,dtype=float32 "
        "--tasks mmmu_val,pope,docvqa_val --batch_size 4 --limit 8 --log_samples "
        "--output_path 'my runs/a' --device cuda:0"
    )
    assert found.hint == (
        "pairuni-eval run --checkpoint deepseek-community/Janus-Pro-1B "
        "--benchmarks mmmu,pope,lmms:docvqa_val --batch-size 4 --limit 8 --out 'my runs/a' "
        "--device cuda:0"
    )
    assert "--tasks is lmms-eval's; here: --benchmarks mmmu,pope,lmms:docvqa_val." in found.message
    assert "--log_samples is lmms-eval's; here every sample is kept" in found.message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--checkpoint tiny --tasks=mmmu,pope", "--benchmarks mmmu,pope"),
        ("--model_args pretrained=a/b", "--checkpoint a/b"),
        ("--output_path out", "--out out"),
        ("--batch_size 2", "--batch-size 2"),
        ("--gen_kwargs temperature=0", "decoding belongs to the benchmark's card"),
    ],
)
def test_every_flag_has_its_sentence(words: str, message: str) -> None:
    assert message in answered(words).message


def test_ours_are_taken() -> None:
    answer(shlex.split("--checkpoint tiny --benchmarks pope --batch-size 4 --limit 8"))
    answer(["--checkpoint", "--tasks-that-nobody-has"])


def test_the_command_says_so(cli: Any) -> None:
    ran = cli("run", "--checkpoint", "tiny", "--tasks", "pope")
    assert ran.code == 2
    assert ran.error == "--tasks is lmms-eval's; here: --benchmarks pope."
    assert ran.next == "pairuni-eval run --checkpoint tiny --benchmarks pope"


# What both command lines have


@pytest.mark.parametrize("module", ["pairuni_eval.cli", "pairuni_train.cli"])
def test_version_help_and_completion_import_no_torch(module: str) -> None:
    code = (
        "import contextlib, io, os, sys\n"
        f"from {module} import main\n"
        "def said(*words):\n"
        "    sys.argv = ['program', *words]\n"
        "    out = io.StringIO()\n"
        "    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):\n"
        "        main()\n"
        "    return out.getvalue()\n"
        "from pairuni_eval import __version__\n"
        "assert said('--version').strip() == __version__\n"
        "assert said('-h') == said('--help') and 'Usage' in said('-h')\n"
        "assert 'Usage' in said('run', '-h')\n"
        "assert '--install-completion' in said('-h')\n"
        "os.environ |= {'_PROGRAM_COMPLETE': 'complete_bash', 'COMP_WORDS': 'program r',"
        " 'COMP_CWORD': '1'}\n"
        "assert 'run' in said().split(), said()\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
