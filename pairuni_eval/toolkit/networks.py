"""What needs torch: devices, precisions and the tiny models. Imported where work begins."""

from pairuni_eval.devices import AUTO, pick_device, room_on
from pairuni_eval.models.bagel.autoencoder import Autoencoder
from pairuni_eval.models.bagel.loading import MARKS
from pairuni_eval.models.bagel.network import GENERATION, Bagel, Routing
from pairuni_eval.models.bagel.packing import visible_tokens
from pairuni_eval.models.bagel.pictures import patches, places, unpatched
from pairuni_eval.models.bagel.supervised import noised_time
from pairuni_eval.models.cast_weights import CAST_LAYERS
from pairuni_eval.models.janus.decoder import shared_size
from pairuni_eval.models.joint_products import JOINED_BELOW
from pairuni_eval.models.lumina_dimoo import prompts
from pairuni_eval.models.lumina_dimoo.layout import Ids
from pairuni_eval.models.lumina_dimoo.vq import Vq
from pairuni_eval.tiny import bagel, dimoo, janus
