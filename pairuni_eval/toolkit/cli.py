"""How a command line of the project is made, and the options that both have."""

from pairuni_eval.cli.application import make_app, run_app
from pairuni_eval.cli.options import Data, Json, split_names
from pairuni_eval.cli.other_rank import as_other_rank
from pairuni_eval.cli.push import PartialResults, Private, Replace, Staging, To, Yes
