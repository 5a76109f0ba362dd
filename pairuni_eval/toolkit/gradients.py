"""What stored Gram rows of two tasks' gradients say."""

from pairuni_eval.gradients.alignment import Alignment, Stance, alignments
from pairuni_eval.gradients.contrast import Contrast, Leaning, corrected_together, paired_contrast
from pairuni_eval.gradients.correlation import ArmPoint, Correlation, correlate
from pairuni_eval.gradients.interference import Interference, Scenario, cosines, scenarios
from pairuni_eval.gradients.rows import ALL, read_gradients
from pairuni_eval.gradients.unpaired import unpaired_contrast
