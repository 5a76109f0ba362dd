"""The entry point `lmms_eval.models`: the name of our model's class for lmms-eval."""

from __future__ import annotations

from typing import Any


def manifests() -> list[Any]:
    """lmms-eval's description of the model `pairuni`; the class is imported when it is used."""
    from lmms_eval.models.registry_v2 import ModelManifest

    path = "pairuni_eval.lmms.model.PairUniModel"
    return [ModelManifest(model_id="pairuni", simple_class_path=path)]
