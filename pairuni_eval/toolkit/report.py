"""Charts, tables and pages."""

from pairuni_eval.report import arm_table, concept_output
from pairuni_eval.report.charts import (
    IntervalChart,
    LineChart,
    Series,
    Span,
    interval_chart,
    line_chart,
    smooth,
)
from pairuni_eval.report.curves import TASKS
from pairuni_eval.report.export import sheet
from pairuni_eval.report.gallery import choose_rows, verdicts
from pairuni_eval.report.gradients import gradient_section
from pairuni_eval.report.pages import write_page
from pairuni_eval.report.rerun import Rerun
from pairuni_eval.report.study import (
    Grid,
    GridCell,
    GridRow,
    QuotedNumbers,
    Study,
    StudyPart,
    as_cell,
    asked,
    write_study,
)
from pairuni_eval.report.text import fenced, typeset
from pairuni_eval.report.timeline import build_timeline
