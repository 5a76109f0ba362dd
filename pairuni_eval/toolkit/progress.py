"""Progress bars. They import rich, which `--help` need not wait for."""

from pairuni_eval.progress import Progress
