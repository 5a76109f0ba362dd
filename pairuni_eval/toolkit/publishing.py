"""Files on their way to the hub, and what their cards say of a training's evaluations."""

from pairuni_eval.cli.push import show_or_send
from pairuni_eval.publishing import Publication, PublishedFile, staged
from pairuni_eval.report.model_card import CardPart, CardRun, ModelCard, hub_files, measuring
from pairuni_eval.stats.best_step import best_step, told, values_by_step
from pairuni_eval.store.evaluations import read_evaluations, read_plan, run_of
from pairuni_eval.store.training import checkpoint_steps
