"""Measuring the checkpoints of a training while it goes on."""

from pairuni_eval.following import MEASURING, Owed, TrainingEvaluations, check_plan
from pairuni_eval.store.evaluations import MEAN, EvaluationPlan, EvaluationRow, keep_plan
