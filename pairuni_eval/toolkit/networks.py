"""What needs torch: devices and the tiny models. Imported where work begins."""

from pairuni_eval.devices import AUTO, pick_device
from pairuni_eval.models.lumina_dimoo import prompts
from pairuni_eval.models.lumina_dimoo.layout import Ids
from pairuni_eval.models.lumina_dimoo.vq import Vq
from pairuni_eval.tiny import dimoo, janus
