"""Thin sessions: each is the command a person would type."""

import shlex

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "venv"
PACKAGES = ["pairuni_eval", "pairuni_train", "registry"]
HEAVY = ("torch", "transformers", "safetensors", "tokenizers", "huggingface_hub", "matplotlib")

EXAMPLE = (
    "pairuni-train run --arm pairuni --recipe tiny --seed 0 --out runs/pairuni",
    "pairuni-eval run --checkpoint tiny --suite tiny --seed 0 --out runs/base",
    "pairuni-eval run --checkpoint runs/pairuni/checkpoint-300 --suite tiny --seed 0"
    " --out runs/PairUni",
    "pairuni-eval report runs/PairUni --baseline base=runs/base --baseline GRPO=suite:tiny/GRPO"
    " --baseline 'random pair=suite:tiny/random pair' --training PairUni=runs/pairuni",
    "pairuni-eval report runs/PairUni --baseline base=runs/base --baseline GRPO=suite:tiny/GRPO"
    " --training PairUni=runs/pairuni --pictures 100 --out reports/example",
    "pairuni-train reproduce table2 --out reports/example/table2",
    "pairuni-train reproduce figure4 --out reports/example/figure4",
    "pairuni-train reproduce figure8 --out reports/example/figure8",
)


def install(session: nox.Session, *extras: str) -> None:
    """The project with its tested versions."""
    target = f".[{','.join(extras)}]" if extras else "."
    session.install("-c", "constraints.txt", "-e", target)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests; arguments go to pytest."""
    install(session, "dev")
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Format, lint and import directions."""
    install(session, "dev")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """mypy in strict mode."""
    install(session, "dev")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation as a site in site/; a link that leads nowhere is an error."""
    session.install("-c", "constraints.txt", "mkdocs-material")
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def demo(session: nox.Session) -> None:
    """The main job on the tiny model."""
    install(session)
    session.run("pairuni-eval", "run", "--checkpoint", "tiny", *session.posargs)


@nox.session
def light(session: nox.Session) -> None:
    """Reading runs (report, compare, show, list) in an environment without torch."""
    declared = nox.project.load_toml("pyproject.toml")["project"]["dependencies"]
    wanted = [one for one in declared if not one.startswith(HEAVY)]
    session.install("-c", "constraints.txt", "pytest", "pytest-xdist", *wanted)
    session.install("--no-deps", "-e", ".")
    session.run("python", "-c", "import importlib.util as i; assert not i.find_spec('torch')")
    session.run("pytest", "-q", "-m", "light", *session.posargs)


@nox.session
def accessibility(session: nox.Session) -> None:
    """axe-core over the pages in Chromium, light and dark; needs npm, which fetches axe-core."""
    install(session, "dev", "train")
    folder = session.create_tmp()
    session.run(
        *("npm", "install", "--prefix", folder, "--no-save", "--no-audit", "axe-core@4"),
        external=True,
    )
    axe = f"{folder}/node_modules/axe-core/axe.min.js"
    arguments = ("tests/browser", "-m", "accessibility", "-q", "-n", "0", *session.posargs)
    session.run("pytest", *arguments, env={"AXE_CORE": axe})


def bench(name: str, script: str, words: str) -> None:
    """A session that runs one bench; arguments go to its script."""

    def session(session: nox.Session) -> None:
        install(session, "dev")
        session.run("python", f"tests/bench/{script}", *session.posargs)

    session.__doc__ = words
    nox.session(session, name=name)


# None of them is part of the tests.
bench(
    "bench",
    "speed_table.py",
    "One table: every ratio of README's Speed section against its peer in the same run.",
)
bench(
    "bench_gpu",
    "gpu_speed.py",
    "Sampling on one GPU against transformers and what its memory allows; 8 minutes, a CPU in 3.",
)
bench(
    "bench_diffusion",
    "masked_diffusion.py",
    "Pictures a second of masked diffusion against a plain loop on the same draws.",
)
bench(
    "bench_flow",
    "flow_matching.py",
    "Pictures a second of flow matching against a plain loop on the same draws.",
)
bench(
    "bench_report",
    "report_scale.py",
    "A report of 50,000 rows and 2,000 pictures, against its bounds of time and memory.",
)
bench(
    "bench_memory",
    "training_memory.py",
    "What the plan of a training says that a step takes in memory, beside what it takes.",
)
bench(
    "bench_ranks",
    "rank_scaling.py",
    "Two ranks of one thread each against one, over a run's outputs; needs two free cores.",
)
bench(
    "bench_retrieval",
    "retrieval_scale.py",
    "Exact search, an IVF index and k-means of up to a million images on the disk; an hour.",
)


@nox.session
def kill_ranks(session: nox.Session) -> None:
    """30 kills of runs on one, two and three ranks, and every byte compared."""
    install(session, "dev")
    trial = ("tests/invariant/kill_trial.py", "--kills", "30", "--ranks", "1,2,3")
    session.run("python", *trial, *session.posargs)


@nox.session
def simulate(session: nox.Session) -> None:
    """Coverage of intervals and size of tests over 1,000 data sets a world; 20 minutes or so."""
    install(session, "dev")
    session.run("pytest", "tests/simulation", "-m", "slow", "-q", *session.posargs)


@nox.session
def lmms(session: nox.Session) -> None:
    """lmms-eval on both sides: equal numbers, its command on our model, harness time beside it.

    Arguments go to the harness bench.
    """
    session.install("-c", "constraints.txt", "-c", "constraints-lmms.txt", "-e", ".[dev,lmms]")
    # Beside a CPU torch the torchvision that lmms-eval brings cannot be imported, and transformers'
    # vision imports break on it; none of the tasks run here needs it.
    session.run("python", "-m", "pip", "uninstall", "-y", "torchvision")
    session.run("pytest", "tests/integration", "-m", "lmms", "-s", "-n", "0")
    session.run("python", "tests/bench/harness_rate.py", *session.posargs)


@nox.session
def example(session: nox.Session) -> None:
    """reports/example/ anew: a trained checkpoint's report, table 2, figures 4 and 8; an hour.

    The report of all baselines with every picture is in reports/PairUni/; git keeps a smaller one.
    """
    install(session, "train")
    for command in EXAMPLE:
        session.run(*shlex.split(command))


@nox.session
def baselines(session: nox.Session) -> None:
    """The packed baselines of the suite tiny anew, of reproduce_table2 -- --recipe tiny."""
    install(session, "train")
    session.run(
        "pairuni-train", "baselines", "--out", "registry/suites/baselines/tiny", *session.posargs
    )


def reproduce(name: str) -> None:
    """A session that runs one experiment; arguments go to `pairuni-train reproduce`."""

    def session(session: nox.Session) -> None:
        install(session, "train")
        session.run("pairuni-train", "reproduce", name, *session.posargs)

    session.__doc__ = f"Experiment {name}: tiny by default, `-- --recipe janus-pro-1b` at scale."
    nox.session(session, name=f"reproduce_{name}")


reproduce("flagship")
for number in range(1, 11):
    reproduce(f"table{number}")
reproduce("table4b")
for open_question in ("size", "reward", "weighting", "ratio"):
    reproduce(f"sweep_{open_question}")
for number in (4, 8):
    reproduce(f"figure{number}")
