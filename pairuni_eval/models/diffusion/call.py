"""What a pipeline can do and how it is asked, read from the signature of its call.

- It takes `prompt` and no `image`: it draws. It takes both: it edits. diffusers lists those that do
  either (FLUX.1 Kontext, FLUX.2) among its pipelines of text to image.
- Its own defaults are how it is measured: `steps` is num_inference_steps, `cfg_scale` is
  guidance_scale, `cfg_image_scale` image_guidance_scale, `size` width and height. Only what differs
  from them is passed on.
- Where `true_cfg_scale` has a default above 1 (Qwen-Image), that is `cfg_scale`, and the empty
  negative prompt is a blank, as its authors publish it: without one there would be no guidance.

guidance_scale is u + w (c - u) in most families, as ours is; in those that were distilled it is an
input of the network.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.models.diffusion.quiet import quietly
from pairuni_eval.records import Capability

# What asks for more than a prompt and a picture to change, or makes something else than a picture.
_FURTHER = (
    *("mask_image", "control_image", "controlnet_conditioning_scale"),
    *("adapter_conditioning_scale", "noise_level"),
)
_NO_PICTURE = ("num_frames", "video_length", "audio_length_in_s", "audio_end_in_s")
_IMAGE_GUIDANCE = ("image_guidance_scale", "img_guidance_scale")
_BLANK = " "
# Settings of a drawing that no pipeline has; those of texts are nobody's concern here.
_UNREAD = (
    *("cfg_interval", "cfg_renorm", "cfg_renorm_min"),
    *("timestep_shift", "noise", "cache_ratio"),
)


class PipelineCall:
    """How a class of pipelines is asked.

    Args:
        kind: The class.

    Raises:
        UserError: if it neither draws from a prompt nor edits by one.
    """

    def __init__(self, kind: Any) -> None:
        self._name = kind.__name__
        self._parameters = inspect.signature(kind.__call__).parameters
        self.capabilities = self._capabilities(kind)

    def decoding(self, capability: Capability) -> Decoding:
        """The pipeline's own settings."""
        found: dict[str, Any] = {}
        for setting, parameter in self._settings(capability).items():
            value = self._default(parameter)
            if isinstance(value, (int, float)):
                found[setting] = int(value) if setting == "steps" else float(value)
        return Decoding(temperature=1.0, **found)

    def arguments(self, capability: Capability, decoding: Decoding, count: int) -> dict[str, Any]:
        """What is passed beside prompts, pictures and generators.

        Args:
            capability: What is asked for.
            decoding: The settings.
            count: How many prompts there are.

        Raises:
            UserError: for a setting that this pipeline does not have.
        """
        own, settings = self.decoding(capability), self._settings(capability)
        arguments: dict[str, Any] = {}
        for setting in ("steps", "cfg_scale", "cfg_image_scale"):
            value = getattr(decoding, setting)
            if value == getattr(own, setting) or (value is None and setting not in settings):
                continue
            if setting == "cfg_image_scale" and capability is not Capability.EDIT:
                continue  # it is of edits, and a run may have both
            if setting not in settings:
                raise self._lacks(setting)
            arguments[settings[setting]] = value
        if decoding.size is not None:
            if not {"width", "height"} <= self._parameters.keys():
                raise self._lacks("size")
            arguments["width"], arguments["height"] = decoding.size
        if self._has_true_guidance:
            arguments["negative_prompt"] = [_BLANK] * count
        for setting in _UNREAD:
            if getattr(decoding, setting) is not None:
                raise self._lacks(setting)
        return arguments

    def settings(self, capability: Capability) -> frozenset[str]:
        """The settings of a decoding that this pipeline has."""
        size = {"size"} if {"width", "height"} <= self._parameters.keys() else set()
        return frozenset({*self._settings(capability), *size})

    def _settings(self, capability: Capability) -> Mapping[str, str]:
        """The parameter that stands for each setting."""
        guidance = "true_cfg_scale" if self._has_true_guidance else "guidance_scale"
        found = {"steps": "num_inference_steps", "cfg_scale": guidance}
        if capability is Capability.EDIT:
            for name in _IMAGE_GUIDANCE:
                if name in self._parameters:
                    found["cfg_image_scale"] = name
        return {setting: name for setting, name in found.items() if name in self._parameters}

    @property
    def _has_true_guidance(self) -> bool:
        default = self._default("true_cfg_scale")
        return isinstance(default, (int, float)) and default > 1

    def _default(self, parameter: str) -> Any:
        found = self._parameters.get(parameter)
        return None if found is None or found.default is inspect.Parameter.empty else found.default

    def _capabilities(self, kind: Any) -> frozenset[Capability]:
        with quietly():
            from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING

        has = self._parameters.keys()
        if "prompt" not in has:
            raise self._refused("takes no prompt")
        for name in _NO_PICTURE:
            if name in has:
                raise self._refused(f"makes no single picture (it has {name})")
        for name in _FURTHER:
            if name in has:
                raise self._refused(f"needs more than a prompt and a picture ({name})")
        if "image" not in has:
            return frozenset({Capability.GENERATE})
        if kind in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values():
            return frozenset({Capability.GENERATE, Capability.EDIT})
        return frozenset({Capability.EDIT})

    def _refused(self, why: str) -> UserError:
        return UserError(
            f"{self._name} {why}.",
            hint="The adapter diffusers takes pipelines that draw from a prompt or edit by one.",
        )

    def _lacks(self, setting: str) -> UserError:
        return UserError(
            f"{self._name} has no setting for decoding.{setting}.",
            hint=f"Leave out --set decoding.{setting}=...",
        )
