"""`python -m pairuni_eval.cli`."""

from pairuni_eval.cli import main

main()
