"""What needs torch: devices and the tiny Janus. Imported where work begins."""

from pairuni_eval.devices import AUTO, pick_device
from pairuni_eval.tiny import janus
