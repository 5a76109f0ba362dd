"""Models of transformers that answer questions about images, whatever their family."""

from pairuni_eval.models.vlm.adapter import TransformersModel

__all__ = ["TransformersModel"]
