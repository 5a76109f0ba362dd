"""The protocol of a model that is trained, its checkpoints, and what is installed by name.

Without torch: that is imported by whoever loads weights.
"""

from pairuni_eval import catalog
from pairuni_eval.adapters import expected_outline, load_model
from pairuni_eval.catalog import find_card, load_benchmark, load_plugin
from pairuni_eval.models.base import (
    Estimator,
    LoadOptions,
    LogProbs,
    Policy,
    PolicyLogits,
    Reply,
    Request,
    Rollout,
    Task,
    View,
    ViewPlan,
)
from pairuni_eval.models.checkpoint import (
    find_folder,
    is_hub_id,
    read_config,
    read_declaration,
)
from pairuni_eval.models.learner import (
    Learner,
    LearnerModel,
    Lesson,
    LessonSettings,
    PreparedLesson,
)
from pairuni_eval.models.outline import Outline, Weight
from pairuni_eval.models.trained_module import TrainedModule
from pairuni_eval.models.weights import check_weights
from pairuni_eval.runner.memory import size_of
from pairuni_eval.shipped import SHIPPED
