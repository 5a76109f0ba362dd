"""How BAGEL is measured: the settings of its authors' own scripts, by name.

`steps` are the official `num_timesteps`: points in time, one more than steps that are taken. The
official limits of an answer count the token that begins it; ours do not.
"""

from __future__ import annotations

from collections.abc import Mapping

from pairuni_eval.decoding import Decoding
from pairuni_eval.records import Capability


def _drawing(**settings: object) -> Decoding:
    """What all official scripts share, with what one has of its own."""
    shared = {"cfg_scale": 4.0, "steps": 50, "timestep_shift": 3.0, "cfg_renorm_min": 0.0}
    return Decoding(**(shared | settings))  # type: ignore[arg-type]


_LATE, _ALWAYS = (0.4, 1.0), (0.0, 1.0)
_DRAWN = {
    "bagel@geneval": _drawing(cfg_interval=_ALWAYS, cfg_renorm="global"),
    "bagel@wise": _drawing(
        cfg_interval=_LATE, cfg_renorm="global", thinking=True, temperature=0.3, max_tokens=2047
    ),
    "bagel@app": _drawing(cfg_interval=_LATE, cfg_renorm="global", cfg_image_scale=1.5),
    "bagel@lmms-eval": _drawing(cfg_interval=_LATE, cfg_renorm="none"),
}
_EDITED = {
    "bagel@imgedit": _drawing(cfg_interval=_ALWAYS, cfg_renorm="text_channel", cfg_image_scale=1.5),
    "bagel@gedit": _drawing(cfg_interval=_LATE, cfg_renorm="text_channel", cfg_image_scale=1.5),
    "bagel@app": _drawing(cfg_interval=_ALWAYS, cfg_renorm="text_channel", cfg_image_scale=2.0),
    "bagel@lmms-eval": _drawing(
        cfg_interval=_ALWAYS, cfg_renorm="text_channel", cfg_image_scale=2.0
    ),
}
_ANSWERED = {
    "bagel@mme": Decoding(max_tokens=19),
    "bagel@mmmu": Decoding(max_tokens=9),
    "bagel@pope": Decoding(max_tokens=99),
    "bagel@lmms-eval": Decoding(max_tokens=999),
}
PRESETS: Mapping[Capability, Mapping[str, Decoding]] = {
    Capability.UNDERSTAND: _ANSWERED,
    Capability.GENERATE: _DRAWN,
    Capability.EDIT: _EDITED,
}
_OTHERWISE = {
    Capability.UNDERSTAND: "bagel@lmms-eval",
    Capability.GENERATE: "bagel@geneval",
    Capability.EDIT: "bagel@imgedit",
}


def preset_of(capability: Capability, benchmark: str) -> str:
    """The name of the official settings for a benchmark; of its kind where it has none."""
    own = f"bagel@{benchmark}"
    return own if own in PRESETS[capability] else _OTHERWISE[capability]
