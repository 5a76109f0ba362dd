"""How near sampling on one GPU is to what its memory allows: `nox -s bench_gpu`.

Janus-Pro-1B and 7B with random weights in bf16, 16 and 64 rows: pictures (576 codes, guidance) and
answers (128 words) a second of our compiled sampler, of transformers' `generate`, eager and with
its static cache compiled, and of the bound (`bandwidth`). Then a training step by phase, and its
memory beside what `--plan` tells (`training_phases`). Writes a page and its numbers as JSON. Within
eight minutes: what no longer fits is left out by name. Without a GPU the same runs on tiny shapes,
to show that it runs; those numbers say nothing of a GPU.

    python tests/bench/gpu_speed.py [--device cuda] [--minutes 8] [--out runs/gpu-speed]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from bandwidth import copy_rate, loop_bytes, wait
from gpu_page import page
from random_janus import PUBLISHED, TINY, Shape, build, prompts

from pairuni_eval.decoding import Decoding
from pairuni_eval.devices import pick_device
from pairuni_eval.models.janus.codes import Guidance, code_count, draw_codes
from pairuni_eval.models.janus.text_sampler import Vocabulary, sample_text
from pairuni_eval.models.janus.token_loop import TokenLoop

HERE = Path(__file__).parent
OURS, EAGER, COMPILED = "ours, compiled", "transformers, eager", "transformers, compiled"
PROMPT = 32  # tokens
CFG_SCALE = 5.0


class Scale(NamedTuple):
    """What is run on a kind of device.

    Attributes:
        words: Of an answer.
        rounds: Timed runs of ours; transformers has one.
        costs: Seconds that a case may take, by contender: for what still fits.
        training: Seconds that a training may take.
    """

    shapes: tuple[Shape, ...]
    rows: tuple[int, ...]
    words: int
    rounds: int
    dtype: torch.dtype
    minutes: float
    costs: dict[str, float]
    training: float


SCALES = {
    "cuda": Scale(
        tuple(PUBLISHED.values()), (16, 64), 128, 2, torch.bfloat16, 7.8,
        {OURS: 35.0, EAGER: 25.0, COMPILED: 75.0}, 90.0,
    ),
    "cpu": Scale(
        (TINY,), (8, 16), 16, 2, torch.float32, 2.7,
        {OURS: 25.0, EAGER: 5.0, COMPILED: 60.0}, 30.0,
    ),
}  # fmt: skip


class Case(NamedTuple):
    """Something that is drawn by one of the contenders."""

    shape: Shape
    rows: int
    task: str
    who: str

    @property
    def name(self) -> str:
        """As it is printed."""
        return f"{self.shape.name}, {self.rows} {self.task}, {self.who}"


class Measured(NamedTuple):
    """What a case took.

    Attributes:
        seconds: Of each timed run; empty where it failed.
        first: Seconds of the run before these, which compiles what there is to compile.
        bound: Seconds that reading alone takes.
        units: Pictures or tokens of a run.
        note: Why there is nothing, e.g. that it does not fit.
    """

    case: Case
    seconds: tuple[float, ...]
    first: float | None
    bound: float
    units: int
    note: str = ""

    def table(self) -> dict[str, Any]:
        """As it is written down."""
        shape, rows, task, who = self.case
        took = statistics.median(self.seconds) if self.seconds else None
        return {
            **{"shape": shape.name, "rows": rows, "task": task, "who": who, "note": self.note},
            **{"seconds": list(self.seconds), "first_seconds": self.first},
            "unit": "pictures" if task == "pictures" else "tokens",
            "per_second": None if took is None else self.units / took,
            "bound_per_second": self.units / self.bound,
            "times_the_bound": None if took is None else took / self.bound,
        }


class Clock:
    """The time that is left."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.left_out: list[str] = []

    @property
    def left(self) -> float:
        """Seconds."""
        return self._end - time.monotonic()

    def allows(self, name: str, seconds: float) -> bool:
        """Whether something still fits; notes by name what does not."""
        left = self.left
        if seconds <= left:
            return True
        print(f"left out: {name} ({left:.0f} s are left, it may take {seconds:.0f} s)", flush=True)
        self.left_out.append(name)
        return False


class Bench:
    """The cases of one device.

    Args:
        device: Where they run.
        scale: What is run.
        clock: How long.
    """

    def __init__(self, device: torch.device, scale: Scale, clock: Clock) -> None:
        self.device = device
        self.scale = scale
        self.clock = clock
        self.rate = copy_rate(device)

    def cases(self, shape: Shape, *who: str) -> Iterator[Measured]:
        """What contenders do with a shape, the fewest rows first; its weights are there as long."""
        cases = [
            Case(shape, rows, task, one)
            for rows in self.scale.rows
            for task in ("pictures", "answers")
            for one in who
        ]
        if not self.clock.allows(f"{shape.name}, all of {', '.join(who)}", self._cost(cases[0])):
            return
        torch.compiler.reset()  # the sizes of another network would be variables of its code
        model = build(shape, self.device, self.scale.dtype)
        for case in cases:
            if self.clock.allows(case.name, self._cost(case)):
                yield self.measured(model, case)
        del model
        self._free()

    def _cost(self, case: Case) -> float:
        return self.scale.costs[case.who]

    def measured(self, model: Any, case: Case) -> Measured:
        """Time a case; what goes wrong in it is its note."""
        tokens = code_count(model) if case.task == "pictures" else self.scale.words
        draws = case.task == "pictures"
        head = model.model.generation_head if draws else model.lm_head
        read = loop_bytes(
            model, head, rows=case.rows * (2 if draws else 1), prompt=PROMPT, tokens=tokens
        )
        units = case.rows if draws else case.rows * tokens
        seconds: list[float] = []
        note = ""
        try:
            with CONTENDERS[case.who](model, case, self.scale.words) as works:
                seconds.append(self._timed(works.first))
                for _ in range(self.scale.rounds if case.who == OURS else 1):
                    seconds.append(self._timed(works.then))
        except (RuntimeError, ValueError, TypeError) as failure:  # out of memory is one of them
            words = str(failure).partition("\n")[0][:160]
            note = f"{type(failure).__name__}: {words}"
        self._free()
        first = seconds[0] if seconds else None
        found = Measured(case, tuple(seconds[1:]), first, read / self.rate, units, note)
        tell(found)
        return found

    def _free(self) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _timed(self, work: Callable[[], Any]) -> float:
        wait(self.device)
        began = time.perf_counter()
        work()
        wait(self.device)
        return time.perf_counter() - began


def tell(found: Measured) -> None:
    """Print a case as soon as it is known."""
    table = found.table()
    if table["per_second"] is None:
        print(f"{found.case.name}: {found.note}", flush=True)
        return
    print(
        f"{found.case.name}: {table['per_second']:.1f} {table['unit']}/s, "
        f"{table['times_the_bound']:.2f} times as long as the bound "
        f"({table['bound_per_second']:.1f}/s); what went before took {found.first:.1f} s",
        flush=True,
    )


class Works(NamedTuple):
    """What a contender does: first, without being counted, and then."""

    first: Callable[[], Any]
    then: Callable[[], Any]


@contextmanager
def ours(model: Any, case: Case, words: int) -> Iterator[Works]:
    """Our sampler by compiled steps, a loop of its own: what it keeps goes with it."""
    loop, seeds = TokenLoop(compiled=True), range(case.rows)
    generation = model.generation_config
    pad = generation.pad_token_id
    if case.task == "pictures":
        prompt = prompts(model, case.rows, PROMPT, draw=True)
        begin = generation.generation_kwargs["boi_token_id"]
        work: Callable[[], Any] = partial(
            draw_codes,
            model,
            prompt,
            guidance=Guidance((generation.bos_token_id, begin), pad),
            decoding=Decoding(temperature=1.0, cfg_scale=CFG_SCALE),
            seeds=seeds,
            loop=loop,
        )
    else:
        prompt = prompts(model, case.rows, PROMPT, draw=False)
        work = partial(
            sample_text,
            model,
            prompt,
            vocabulary=Vocabulary(end=-1, pad=pad, banned=(pad,)),
            decoding=Decoding(temperature=1.0, max_tokens=words),
            seeds=seeds,
            loop=loop,
        )
    yield Works(work, work)


def generate(model: Any, case: Case, words: int, **settings: Any) -> Callable[[], Any]:
    """A call of transformers' `generate`; for pictures its cache is static of itself."""
    draws = case.task == "pictures"
    prompt = prompts(model, case.rows, PROMPT, draw=draws)
    own = {"guidance_scale": CFG_SCALE} if draws else {"max_new_tokens": words, **settings}

    def work() -> Any:
        found = model.generate(
            prompt.ids_NP,
            attention_mask=prompt.mask_NP.long(),
            generation_mode="image" if draws else "text",
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            **own,
        )
        expected = code_count(model) if draws else PROMPT + words
        if found.shape[1] != expected:
            raise ValueError(f"{found.shape[1]} tokens in place of {expected}")
        return found

    return work


@contextmanager
def eager(model: Any, case: Case, words: int) -> Iterator[Works]:
    """transformers as it is, after a few words that load what a device has to load."""
    few = generate(model, case._replace(task="answers"), 8)
    yield Works(few, generate(model, case, words))


@contextmanager
def compiled(model: Any, case: Case, words: int) -> Iterator[Works]:
    """transformers with a static cache and compiled, in the mode that it takes by itself.

    It compiles answers of its own accord, on a GPU alone; for pictures the network is wrapped here.
    """
    network = model.model.language_model
    if case.task == "pictures":
        model.model.language_model = torch.compile(network, mode="reduce-overhead")
    try:
        work = generate(model, case, words, cache_implementation="static")
        yield Works(work, work)
    finally:
        model.model.language_model = network
        torch.compiler.reset()


CONTENDERS: dict[str, Any] = {OURS: ours, EAGER: eager, COMPILED: compiled}


def training(shape: Shape, device: torch.device, seconds: float) -> dict[str, Any]:
    """A training step in a process of its own, which has so many seconds."""
    command = [sys.executable, str(HERE / "training_phases.py"), shape.name, str(device)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        print(f"training of {shape.name}: not done after {seconds:.0f} s", flush=True)
        return {"shape": shape.name, "note": f"not done after {seconds:.0f} s"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no words"])[-1]
        print(f"training of {shape.name}: {last}", flush=True)
        return {"shape": shape.name, "note": last}
    found = {"shape": shape.name, "note": "", **json.loads(done.stdout.splitlines()[-1])}
    phases = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in found["seconds"].items())
    print(f"training of {shape.name}: {phases}", flush=True)
    return found


def run(device: torch.device, scale: Scale, minutes: float) -> dict[str, Any]:
    """All cases that the time allows."""
    clock = Clock(60 * minutes)
    bench = Bench(device, scale, clock)
    print(f"copies within memory: {bench.rate / 1e9:.0f} GB/s", flush=True)
    small, *larger = scale.shapes
    cases = [one.table() for one in bench.cases(small, OURS, EAGER)]
    trained = None
    if clock.allows(f"training of {small.name}", scale.training):
        trained = training(small, device, clock.left)
    for shape in larger:
        cases += [one.table() for one in bench.cases(shape, OURS, EAGER)]
    for shape in scale.shapes:
        cases += [one.table() for one in bench.cases(shape, COMPILED)]
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "kind": device.type,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "dtype": str(scale.dtype).removeprefix("torch."),
        "copy_bytes_per_second": bench.rate,
        "prompt_tokens": PROMPT,
        "words": scale.words,
        "cases": cases,
        "training": trained,
        "left_out": clock.left_out,
    }


def main() -> None:
    """Run, print, and write the page and its numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-speed"))
    given = parser.parse_args()
    device = pick_device(given.device)
    if device.type not in SCALES:
        parser.error(f"--device {device}: the cases are for {' and '.join(SCALES)}")
    scale = SCALES[device.type]
    if device.type == "cpu":
        torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    found = run(device, scale, given.minutes or scale.minutes)
    given.out.mkdir(parents=True, exist_ok=True)
    numbers, text = given.out / "numbers.json", given.out / "page.md"
    numbers.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    text.write_text(page(found), encoding="utf-8")
    print(f"\n{page(found)}\n{text}\n{numbers}")


if __name__ == "__main__":
    main()
