"""Intervals, comparisons and verdicts."""

from pairuni_eval.stats.aggregate import Array, Bounds, Codes
from pairuni_eval.stats.arm_table import ArmColumn, ArmTable, Entrant, arm_table
from pairuni_eval.stats.arms import ArmRuns
from pairuni_eval.stats.compare import TIE_MARGIN, Place
from pairuni_eval.stats.concept_matrix import Taught, concept_matrix
from pairuni_eval.stats.intervals import Estimate, Interval, wilson
from pairuni_eval.stats.multiple import Step, steps_where_known
from pairuni_eval.stats.over_seeds import (
    SeedCurve,
    compare_seeds,
    joint_interval,
    over_seeds,
    spread_of,
)
from pairuni_eval.stats.paired import Evidence, detectable, narrowed
from pairuni_eval.stats.scope import ENOUGH_SEEDS
from pairuni_eval.stats.score_arms import (
    SCORE,
    ScoredArm,
    ScoreDifference,
    ScoreNumber,
    compare_scores,
    score_number,
)
from pairuni_eval.stats.tables import Tables
from pairuni_eval.stats.verdict import (
    ALPHA,
    Word,
    choose_word,
    distance,
    p_words,
    plain,
    printed,
    signed_plain,
)
