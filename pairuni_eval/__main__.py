"""`python -m pairuni_eval`: what a launcher starts, e.g. `torchrun -m pairuni_eval run ...`."""

from pairuni_eval.cli import main

main()
