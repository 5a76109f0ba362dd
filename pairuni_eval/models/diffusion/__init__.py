"""Pipelines of diffusers that draw or edit pictures, whatever their family."""

from pairuni_eval.models.diffusion.adapter import DiffusersModel

__all__ = ["DiffusersModel"]
