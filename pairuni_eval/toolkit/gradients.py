"""What stored Gram rows of two tasks' gradients say."""

from pairuni_eval.gradients.alignment import Alignment, Stance, alignments
from pairuni_eval.gradients.correlation import ArmPoint, Correlation, correlate
from pairuni_eval.gradients.interference import (
    BlockInterference,
    ScenarioInterference,
    cosines,
    scenarios,
)
from pairuni_eval.gradients.rows import ALL, read_gradients
from pairuni_eval.gradients.scenario_comparison import (
    ScenarioComparison,
    ScenarioVerdict,
    compare_two,
    corrected_together,
)
