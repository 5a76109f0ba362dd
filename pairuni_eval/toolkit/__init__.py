"""What the trainer imports beside `pairuni_eval.api`: errors, addresses of random draws, commands.

The rest stands in a module by concern: `cli`, `progress`, `data`, `models` (the policy's
protocol, checkpoints, the catalog), `networks` (what needs torch), `store`, `stats`,
`gradients`, `contamination` and `report`. Each holds exactly the names that the trainer uses,
and .importlinter holds the trainer to them: what is not here may change without a word to it.
"""

from pairuni_eval import __version__
from pairuni_eval.commands import as_typed
from pairuni_eval.errors import (
    BoundaryError,
    DatasetError,
    UserError,
    boundary,
    nearest,
    unknown_name,
    writing,
)
from pairuni_eval.extras import extra_of, needs
from pairuni_eval.seeds import seed_for, stable_hash
