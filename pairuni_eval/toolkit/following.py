"""Measuring the checkpoints of a training while it goes on."""

from pairuni_eval.following import MEASURING, TrainingEvaluations, check_plan
from pairuni_eval.store.evaluations import MEAN, EvaluationPlan, keep_plan
