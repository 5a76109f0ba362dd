"""Models that grade: detectors and image-text scorers.

Needs torch; import it where a model is loaded, never where a module opens.
"""

from pairuni_eval.grading_models.clipscore import ClipScorer
from pairuni_eval.grading_models.colors import ColorNamer
from pairuni_eval.grading_models.detector import Observer
from pairuni_eval.grading_models.hps import HpsScorer
from pairuni_eval.grading_models.image_text import ImageTextScorer
from pairuni_eval.grading_models.mask2former import Mask2Former
from pairuni_eval.grading_models.mplug import MPlug
from pairuni_eval.grading_models.pickscore import PickScorer
from pairuni_eval.models.weight_file import digest_of
