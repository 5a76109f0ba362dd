"""Which extras a command of `pairuni-train` needs, by what its configuration names."""

from __future__ import annotations

from pairuni_eval.toolkit import extra_of
from pairuni_eval.toolkit.models import catalog
from pairuni_train.config import Recipe
from pairuni_train.grpo.config import RewardSpec
from pairuni_train.grpo.rewards import reward_plugin
from pairuni_train.pair_data.config import PairConfig

TRAIN = "train"


def extras_of(recipe: Recipe) -> tuple[str, ...]:
    """What training under a recipe, or probing it, needs.

    Raises:
        UserError: for a reward that is not known or cannot be imported.
    """
    specs = [spec for task in (recipe.und, recipe.gen) for spec in task.rewards]
    adapters = ("lora",) if recipe.lora is not None else ()
    return (TRAIN, *adapters, *(extra for spec in specs for extra in _extras_of_reward(spec)))


def _extras_of_reward(spec: RewardSpec) -> tuple[str, ...]:
    plugin, options = reward_plugin(spec)
    extra = plugin.extra_for(options)
    return (extra,) if extra else ()


def extras_of_pairs(config: PairConfig, *, completes: bool) -> tuple[str, ...]:
    """What building pair sets needs; `completes` if some of their halves have to be written.

    Raises:
        UserError: for an encoder or a judge that is not known or cannot be imported.
    """
    plugins = [catalog.import_plugin("encoders", config.encoder.name)]
    if completes:
        judges = config.completion.judges()
        plugins += [catalog.import_plugin("judges", name) for name in dict.fromkeys(judges)]
    return (TRAIN, *(extra for one in plugins for extra in extra_of(one)))
