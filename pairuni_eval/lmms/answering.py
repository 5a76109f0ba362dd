"""Models of lmms-eval on our benchmarks: `--model lmms --checkpoint NAME --model-args k=v,...`.

NAME is what stands after lmms-eval's own `--model`, the arguments after its `--model_args`; of a
model with two classes the one for chat templates is taken, as lmms-eval does. A request becomes the
instance that a task would have made of it: a simple model gets the text and, apart from it, the
images; a chat model one message of the user with texts and images in their order.

Departures from lmms-eval's own runs:
    settings   those of our decoding, under the names that its tasks use; nothing is cut at a blank
               line
    draws      where tokens are drawn at random each request is asked alone, from its own seed:
               lmms-eval's models know no seed of a request
    failures   what a class raises is an error on the row. Some classes catch what fails and return
               an empty text; nobody can tell that from an empty answer
    device     without a GPU a class that takes a device gets the CPU
    code       no code of a checkpoint is run, see `remote_code`; the class itself is lmms-eval's
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import ModelError, UserError, boundary, foreign_words, unknown_name
from pairuni_eval.lmms.names import toolkit
from pairuni_eval.lmms.quiet import quiet
from pairuni_eval.lmms.remote_code import no_remote_code
from pairuni_eval.lmms.seeding import seeded
from pairuni_eval.models.base import AUTO, LoadOptions, Model, Reply, Request
from pairuni_eval.places import is_folder
from pairuni_eval.records import Capability, ModelIdentity
from pairuni_eval.seeds import stable_hash

_TASK, _SPLIT = "pairuni", "asked"
_WEIGHTS = ("pretrained", "model_path", "model_name_or_path")  # what classes call their weights
_UNKNOWN = "unknown"

# What foreign classes raise for arguments and rows they were not made for, beyond `boundary`'s.
_FOREIGN = (AssertionError, AttributeError, ImportError, LookupError, NameError, TypeError)


class LmmsModel(Model):
    """A model class of lmms-eval, see the module docstring.

    Args:
        model: The instance of the class.
        identity: What it was made of.
        hardware: What it runs on.
    """

    capabilities = frozenset({Capability.UNDERSTAND})
    takes_arguments = True
    extra = "lmms"

    def __init__(self, model: Any, identity: ModelIdentity, hardware: str = "none") -> None:
        self._model = model
        self.identity = identity
        self.hardware = hardware

    @classmethod
    def load(cls, checkpoint: str, options: LoadOptions) -> LmmsModel:
        """Make the class that lmms-eval knows by a name, with the arguments of the options.

        Raises:
            UserError: for a name that lmms-eval does not know, or a class that fails with these
                arguments.
        """
        kind = _find_class(checkpoint)
        given = dict(options.arguments)
        arguments = ",".join(f"{key}={value}" for key, value in given.items())
        more = {**_own(kind, options), "batch_size": 1}
        with _loading(f"{checkpoint} with the arguments '{arguments}'"), quiet(), no_remote_code():
            model = kind.create_from_arg_string(
                arguments, {key: value for key, value in more.items() if key not in given}
            )
        words = " ".join(filter(None, (f"lmms:{checkpoint}", arguments)))
        identity = ModelIdentity(
            adapter="lmms", name=words, weights=_digest(words, given), dtype=_precision(model)
        )
        return cls(model, identity, _hardware(model, options))

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer questions; see `Model.answer` and the module docstring."""
        if all(request.decoding.temperature == 0.0 for request in requests):
            return self._generate(requests)
        replies = []
        for request in requests:
            with _drawn_from(request.seed):
                replies += self._generate([request])
        return replies

    def _generate(self, requests: Sequence[Request]) -> list[Reply]:
        from lmms_eval.api.instance import unwrap_generation_output

        self._model.task_dict[_TASK] = {_SPLIT: requests}
        asked = [self._instance(number, one) for number, one in enumerate(requests)]
        try:
            with boundary(ModelError), quiet(), no_remote_code():
                found = [unwrap_generation_output(one) for one in self._model.generate_until(asked)]
        except _FOREIGN as failure:
            raise ModelError(foreign_words(failure)) from failure
        if len(found) != len(requests):
            raise ModelError(f"lmms-eval gave {len(found)} answers to {len(requests)} requests")
        return [_reply(*one) for one in found]

    def _instance(self, number: int, request: Request) -> Any:
        """A request as lmms-eval's tasks put it: every instance has settings of its own."""
        from lmms_eval.api.instance import Instance

        about = {"task": _TASK, "doc_id": number, "repeats": 1, "split": _SPLIT}
        settings, place = _settings(request.decoding), (number, _TASK, _SPLIT)
        arguments = (
            (request.text, settings, _images, *place)
            if self._model.is_simple
            else (request.text, _messages, settings, *place)
        )
        return Instance("generate_until", arguments, number, about)


def _find_class(name: str) -> Any:
    with _loading(name), quiet():
        from lmms_eval import models

        known = models.list_available_models(include_aliases=True)
        if name in known:
            return models.get_model(name)
    raise unknown_name("lmms-eval model", name, known, list_command="python -m lmms_eval models")


@contextmanager
def _loading(what: str) -> Iterator[None]:
    """Say what could not be loaded, whichever way a foreign class fails."""
    try:
        with boundary(ModelError):
            yield
    except (ModelError, *_FOREIGN) as failure:
        cause = str(failure) if isinstance(failure, ModelError) else _told(failure)
        lacks = failure.name if isinstance(failure, ModuleNotFoundError) else None
        raise UserError(
            f"lmms-eval cannot load its model {what}: {cause}.",
            hint=f"pip install '{lacks}'"
            if lacks
            else "Arguments are those of the model's class in lmms_eval/models; --model-args "
            "k=v,k=v gives them.",
        ) from failure


def _told(failure: BaseException) -> str:
    return foreign_words(failure).rstrip(".: ")


def _own(kind: Any, options: LoadOptions) -> Mapping[str, str]:
    """Device and precision under the names that the class has for them.

    Raises:
        UserError: for a precision that was asked for, of a class that has no name for it.
    """
    from pairuni_eval.devices import pick_device

    takes = inspect.signature(kind).parameters
    found: dict[str, str] = {}
    device = pick_device(options.device)
    if "device" in takes and (options.device != AUTO or device.type == "cpu"):
        found["device"] = str(device)
    if "device_map" in takes and "device" in found:
        found["device_map"] = str(device)
    if options.dtype != AUTO:
        name = next((one for one in ("dtype", "torch_dtype") if one in takes), None)
        if name is None:
            raise UserError(
                f"lmms-eval's class {kind.__name__} takes no precision.",
                hint="Leave --dtype out; what the class takes goes into --model-args.",
            )
        found[name] = options.dtype
    return found


def _digest(words: str, arguments: Mapping[str, str]) -> str:
    """SHA-256 of the weights where they lie in a folder; else of what the model is called."""
    from pairuni_eval.models.weights import check_weights

    named = next((arguments[key] for key in _WEIGHTS if key in arguments), None)
    if named is not None and is_folder(Path(named).expanduser()):
        return check_weights(Path(named).expanduser()).digest
    return stable_hash("lmms-model/1", toolkit(), words)


def _precision(model: Any) -> str:
    """What the network's numbers are; unknown where the class shows no network."""
    from torch import nn

    for part in vars(model).values():
        first = next(part.parameters(), None) if isinstance(part, nn.Module) else None
        if first is not None:
            return str(first.dtype).removeprefix("torch.")
    return _UNKNOWN


def _hardware(model: Any, options: LoadOptions) -> str:
    import torch

    from pairuni_eval.devices import pick_device
    from pairuni_eval.models.placement import Placement

    device = torch.device(getattr(model, "device", None) or pick_device(options.device))
    return Placement(device, torch.float32).hardware()


def _settings(decoding: Decoding) -> dict[str, Any]:
    """A decoding as `generation_kwargs` of a task: models change what they are given."""
    drawn = decoding.temperature > 0.0
    settings: dict[str, Any] = {
        "max_new_tokens": decoding.max_tokens,
        "temperature": decoding.temperature if drawn else 0,
        "top_p": decoding.top_p,
        "num_beams": 1,
        "do_sample": drawn,
        "until": [],
    }
    return settings | ({"top_k": decoding.top_k} if drawn and decoding.top_k else {})


def _images(request: Request) -> list[Any]:
    """What lmms-eval calls `doc_to_visual`."""
    return [part for part in request.parts if not isinstance(part, str)]


def _messages(request: Request) -> list[dict[str, Any]]:
    """What lmms-eval calls `doc_to_messages`."""
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "url": part}
        for part in request.parts
    ]
    return [{"role": "user", "content": content}]


def _reply(text: Any, counts: Any) -> Reply:
    if not isinstance(text, str):
        return Reply(error=f"lmms-eval gave a {type(text).__name__} and no text")
    counted = getattr(counts, "output_tokens", None)
    return Reply(text=text, tokens=len(text.split()) if counted is None else int(counted))


@contextmanager
def _drawn_from(seed: int) -> Iterator[None]:
    """Let everything that draws begin at a seed, and be as it was afterward."""
    import torch

    with torch.random.fork_rng(), seeded(seed):
        torch.manual_seed(seed)
        yield
