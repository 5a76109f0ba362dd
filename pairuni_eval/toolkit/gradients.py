"""What stored inner products of two tasks' gradients say, of batches and of single pairs."""

from pairuni_eval.gradients.alignment import Alignment, Stance, alignments
from pairuni_eval.gradients.correlation import ArmPoint, Correlation, correlate
from pairuni_eval.gradients.interference import (
    BlockInterference,
    ScenarioInterference,
    cosines,
    scenarios,
)
from pairuni_eval.gradients.matrix_file import (
    MATRIX_FILE,
    SUMMARY_FILE,
    read_matrix,
    write_matrix,
)
from pairuni_eval.gradients.matrix_findings import (
    GroupFinding,
    MatrixFindings,
    matrix_findings,
)
from pairuni_eval.gradients.matrix_lines import matrix_lines, sentences
from pairuni_eval.gradients.pair_matrix import (
    APART,
    NOT_KNOWN,
    SHARED,
    PairClass,
    PairTable,
    class_means,
)
from pairuni_eval.gradients.rows import ALL, read_gradients
from pairuni_eval.gradients.scenario_comparison import (
    ScenarioComparison,
    ScenarioVerdict,
    compare_two,
    corrected_together,
)
