"""The adapter `endpoint`: a model behind an endpoint of the OpenAI form.

`--checkpoint endpoint:FILE.toml`. It answers by chat completions with pictures as data URLs, draws
by image generations, and edits by image edits. Requests go out a few at a time; what came is
remembered and not paid twice; a request that fails after its retries is an error on its row, one
that is declined is `refused`. A spent budget, and an endpoint that has been silent for long, end
the run with what was answered kept.

What weights answer, nobody but the endpoint knows. Where it says so (`pairuni-eval bridge` does),
their hash is the model's identity; else it is a hash of the address, the name and whatever of the
file moves a reply, and begins with "unknown".
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from pairuni_eval.decoding import Decoding
from pairuni_eval.endpoints.asking import Asker, Ending, Outcome, Wording
from pairuni_eval.endpoints.calls import Endpoint, Query
from pairuni_eval.endpoints.completion import read_body
from pairuni_eval.endpoints.connection import Connection
from pairuni_eval.endpoints.replies import CachedReply, ReplyCache
from pairuni_eval.endpoints.settings import KEY_ENV, address, secret
from pairuni_eval.errors import ModelError, UserError
from pairuni_eval.models.base import LoadOptions, Model, Reply, Request
from pairuni_eval.models.endpoint.pictures import PictureShelf, read_picture
from pairuni_eval.models.endpoint.requests import fields_of, post_of
from pairuni_eval.models.endpoint.served import ServedModel, find_model
from pairuni_eval.models.endpoint.settings import EndpointFile, read_file
from pairuni_eval.records import Capability, ModelIdentity, pixel_id
from pairuni_eval.seeds import stable_hash

_NO_KEY = "none"  # what the client sends to an endpoint that asks for no key
_MOST_BYTES = 1 << 26  # of a body: a picture of 4096 x 4096 as PNG in base64
_REPLIES, _PICTURES = "replies.jsonl", "pictures"
_UNKNOWN = "unknown"
_STOPPED = (Ending.OVER_BUDGET, Ending.GIVEN_UP)


class EndpointModel(Model):
    """See the module docstring.

    Args:
        endpoint: Where the model is.
        file: How it is asked.
        place: The endpoint file.
        served: The model as the endpoint lists it.
        folder: Where replies are remembered; None remembers in memory only.
    """

    extra: ClassVar[str] = "judge"
    hardware = "endpoint"
    default_batch_sizes: ClassVar[Mapping[Capability, int]] = {
        Capability.UNDERSTAND: 256,  # what `concurrency` may be at most
        Capability.GENERATE: 64,
        Capability.EDIT: 64,
    }

    def __init__(
        self,
        endpoint: Endpoint,
        file: EndpointFile,
        place: Path,
        served: ServedModel,
        folder: Path | None,
    ) -> None:
        self._endpoint = endpoint
        self._file = file
        self._place = place
        self._model = served.id
        self._folder = folder
        self._shelf = PictureShelf(folder / _PICTURES if folder else None)
        self._cache: ReplyCache | None = None
        self._askers: dict[Capability, Asker] = {}
        self.identity = _identity(endpoint, file, served)
        self.capabilities = frozenset(
            file.capabilities or served.capabilities or (Capability.UNDERSTAND,)
        )

    @classmethod
    def load(cls, checkpoint: str, options: LoadOptions) -> EndpointModel:
        """Read the endpoint file and ask which model is served.

        Raises:
            UserError: for a file that is missing or wrong, without the client or a key, for a proxy
                or certificates of no use in the environment, and if the endpoint does not answer.
        """
        place = Path(checkpoint).expanduser()
        file = read_file(place)
        where = address(file, place)
        key = secret(
            file,
            place,
            who="model",
            otherwise="name an endpoint of your own with base_url in the endpoint file",
        )
        connection = Connection(
            where,
            key or _NO_KEY,
            file.timeout_s,
            what="The model 'endpoint'",
            most_bytes=_MOST_BYTES,
        )
        if connection.note:
            logging.getLogger(__name__).warning("Note: %s", connection.note)
        endpoint = Endpoint(connection, file, key)
        folder = options.folder
        if file.cache is not None:
            folder = place.parent / Path(file.cache).expanduser()
        return cls(endpoint, file, place, find_model(endpoint, file.model, place), folder)

    def decoding(self, capability: Capability, benchmark: str, card: Decoding) -> Decoding:  # noqa: ARG002
        """The card's for answers; how it draws is the endpoint's own affair, but for the size."""
        return card if capability is Capability.UNDERSTAND else Decoding(size=self._file.size)

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Texts, as they came."""
        outcomes = self._ask(requests, Capability.UNDERSTAND)
        return [_answer(outcome) for outcome in outcomes]

    def draw(self, requests: Sequence[Request]) -> list[Reply]:
        """Pictures."""
        outcomes = self._ask(requests, Capability.GENERATE)
        return [self._picture(outcome) for outcome in outcomes]

    def edit(self, requests: Sequence[Request]) -> list[Reply]:
        """Pictures."""
        outcomes = self._ask(requests, Capability.EDIT)
        return [self._picture(outcome) for outcome in outcomes]

    def _ask(self, requests: Sequence[Request], capability: Capability) -> list[Outcome]:
        queries = [self._query(request, capability) for request in requests]
        asker = self._asker(capability)
        settled = asker.settle({query.key: query for query in queries})
        fault = asker.fault_of_set_up()
        if fault is not None:  # of a trial of one or two requests nothing else would say so
            raise fault
        outcomes = [settled[query.key] for query in queries]
        stopped = next((one for one in outcomes if one.ending in _STOPPED), None)
        if stopped is not None:
            raise self._stopped(stopped)
        return outcomes

    def _query(self, request: Request, capability: Capability) -> Query:
        fields = fields_of(request, capability)
        parts = [part if isinstance(part, str) else pixel_id(part) for part in request.parts]
        address = [self.identity.weights, capability, fields, parts, request.seed]
        sent = self._file.as_sent({"model": self._model, **fields})
        return Query(
            key=stable_hash("endpoint model/1", *address),
            compose=partial(post_of, request, capability, sent),
            read=read_body
            if capability is Capability.UNDERSTAND
            else partial(read_picture, shelf=self._shelf),
            expected="a chat completion" if capability is Capability.UNDERSTAND else "a picture",
        )

    def _asker(self, capability: Capability) -> Asker:
        """Who asks for a capability: whether the set-up works is told apart for each."""
        if self._cache is None:
            self._cache = ReplyCache(self._folder / _REPLIES if self._folder else None)
        if capability not in self._askers:
            key_env = self._file.key_env or KEY_ENV
            wording = Wording(
                who="model",
                name=self._model,
                place=str(self._place),
                kept="What was answered is kept.",
                given="answers were",
                check=f"{key_env} and its account, base_url, model and capabilities in "
                f"{self._place}",
                mend=self._file.remedy,
            )
            self._askers[capability] = Asker(
                self._endpoint, self._file, self._cache, wording, _whole
            )
        return self._askers[capability]

    def _picture(self, outcome: Outcome) -> Reply:
        if outcome.ending is not Ending.REPLIED:
            return _without(outcome)
        try:
            return Reply(image=self._shelf.load(outcome.text), tokens=_tokens(outcome))
        except ModelError as failure:
            return Reply(error=str(failure))

    def _stopped(self, outcome: Outcome) -> UserError:
        said = f"The model at {self._endpoint.address} is asked no further"
        if outcome.ending is Ending.GIVEN_UP:
            return UserError(
                f"{said}: it has stopped answering. What was answered is kept.",
                hint="Start it again; then the same command continues.",
            )
        cap = outcome.text.removeprefix("budget: ")
        return UserError(
            f"{said}: {cap}. What was answered is kept.",
            hint=f"Raise {cap.partition(' ')[0]} in {self._place}; then the same command "
            "continues.",
        )


def _identity(endpoint: Endpoint, file: EndpointFile, served: ServedModel) -> ModelIdentity:
    """Which weights these are, as far as the endpoint says so."""
    if served.weights is None:
        address = stable_hash("endpoint/1", endpoint.address, served.id, file.alters)
        weights = f"{_UNKNOWN}:{address}"
    elif file.alters:
        weights = f"{served.weights}+{stable_hash('endpoint/1', file.alters)}"
    else:
        weights = served.weights
    return ModelIdentity(
        adapter="endpoint",
        name=file.name or served.id,
        weights=weights,
        dtype=served.dtype or _UNKNOWN,
    )


def _whole(came: CachedReply) -> Outcome:
    """An answer is one however it ended: of one that was cut, a rule reads what there is."""
    return Outcome(came.text, Ending.REPLIED, came)


def _answer(outcome: Outcome) -> Reply:
    if outcome.ending is not Ending.REPLIED:
        return _without(outcome)
    return Reply(text=outcome.text, tokens=_tokens(outcome))


def _without(outcome: Outcome) -> Reply:
    """A reply that holds why there is none."""
    if outcome.ending is Ending.DECLINED:
        return Reply(refused=outcome.text)
    return Reply(error=outcome.text)


def _tokens(outcome: Outcome) -> int:
    return (outcome.came.completion_tokens or 0) if outcome.came else 0
