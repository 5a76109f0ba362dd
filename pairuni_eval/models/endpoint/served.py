"""What an endpoint says of its models: GET /models.

Every endpoint of the OpenAI form lists names. One made by `pairuni-eval bridge` adds the SHA-256 of
the weights, what the model can do and its precision; of any other the weights are not known.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from pairuni_eval.endpoints.calls import CallFailed, Endpoint
from pairuni_eval.errors import UserError
from pairuni_eval.records import Capability, PictureId


class ServedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model as its endpoint lists it.

    Attributes:
        id: Its name.
        weights: SHA-256 of its weights; None if the endpoint does not say.
        capabilities: What it can do; None if the endpoint does not say.
        dtype: Its precision; None if the endpoint does not say.
    """

    id: str
    weights: PictureId | None = None
    capabilities: tuple[Capability, ...] | None = None
    dtype: str | None = None


class _ModelList(msgspec.Struct, frozen=True):
    data: list[msgspec.Raw]


def find_model(endpoint: Endpoint, wanted: str | None, place: Path) -> ServedModel:
    """The model that is asked, with what its endpoint says of it.

    Args:
        endpoint: Where it is.
        wanted: Its name; None takes the one that there is.
        place: The endpoint file, for errors.

    Raises:
        UserError: if the endpoint does not answer, or no name is given and it does not have exactly
            one model.
    """
    listed = _listed(endpoint)
    if wanted is not None:
        return next((one for one in listed if one.id == wanted), ServedModel(id=wanted))
    if len(listed) == 1:
        return listed[0]
    names = ", ".join(one.id for one in listed[:12])
    raise UserError(
        f"{place}: no model is named, and the endpoint lists {names or 'none'}.",
        hint=f'model = "{listed[0].id if listed else "NAME"}" in {place}',
    )


def _listed(endpoint: Endpoint) -> list[ServedModel]:
    """The models that an endpoint lists; none where it lists none."""
    try:
        response = endpoint.read("/models")
    except CallFailed as failure:
        raise UserError(
            f"The model at {endpoint.address} does not answer: {failure.reason}.",
            hint="Start it; then the same command continues.",
        ) from failure
    if response.status != 200:
        return []
    try:
        rows = msgspec.json.decode(response.body, type=_ModelList).data
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    return [one for row in rows if (one := _model(row)) is not None]


def _model(row: msgspec.Raw) -> ServedModel | None:
    """A row of the list; what is of another form says nothing beyond its name."""
    try:
        return msgspec.json.decode(row, type=ServedModel)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return ServedModel(id=msgspec.json.decode(row, type=_Name).id)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class _Name(msgspec.Struct, frozen=True):
    id: str
