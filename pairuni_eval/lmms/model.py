"""Our models under lmms-eval's command: `python -m lmms_eval --model pairuni`.

`--model_args checkpoint=tiny` takes what `pairuni-eval run --checkpoint` takes, with `adapter`,
`dtype` and `seed` beside it. A question is put to the model as `lmms:TASK` puts it: the images,
then the text, with the task's generation settings. Imported by lmms-eval alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from lmms_eval.api.model import lmms
from tqdm import tqdm

from pairuni_eval.adapters import load_model
from pairuni_eval.api import Capability, LoadOptions, ModelError, Request, UserError, seed_for
from pairuni_eval.lmms.generation import cut, decoding_of, stops_of

_WITHOUT = "A pairuni model answers questions in text; the task needs {}."


class PairUniModel(lmms):  # type: ignore[misc]
    """A model of ours as lmms-eval's simple model.

    Args:
        checkpoint: As after `pairuni-eval run --checkpoint`.
        adapter: Adapter instead of the checkpoint's own.
        batch_size: Questions that are answered together.
        max_batch_size: Given by the command; not used.
        device: A torch device name, or "auto".
        dtype: A torch dtype name, or "auto".
        seed: Seed of every random draw.

    Raises:
        UserError: if the checkpoint cannot be loaded or its model does not answer questions.
    """

    is_simple = True

    def __init__(
        self,
        checkpoint: str,
        adapter: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,  # noqa: ARG002 - lmms-eval's command passes it
        device: str = "auto",
        dtype: str = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self._model = load_model(checkpoint, adapter, LoadOptions(device, dtype))
        if Capability.UNDERSTAND not in self._model.capabilities:
            raise UserError(f"The model of {checkpoint} does not answer questions about images.")
        self._batch_size = int(batch_size)
        self._seed = int(seed)

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """One answer per request, in order.

        Args:
            requests: lmms-eval's instances.

        Raises:
            ModelError: if the model fails on one: lmms-eval has no place for a missing answer.
        """
        answers: list[str] = []
        with tqdm(total=len(requests), desc="Model Responding", disable=self.rank != 0) as bar:
            for batch in self._batches(requests):
                answers += self._answer(batch)
                bar.update(len(batch))
        return answers

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Not available: answers are compared as texts, never by their likelihood."""
        raise NotImplementedError(_WITHOUT.format("log-likelihoods"))

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Not available: a request is one question."""
        raise NotImplementedError(_WITHOUT.format("several rounds"))

    def _batches(self, requests: Sequence[Any]) -> Iterator[list[Any]]:
        """Requests in order, those of a batch with the same generation settings."""
        for _, group in groupby(requests, key=lambda request: request.args[1]):
            same = list(group)
            for start in range(0, len(same), self._batch_size):
                yield same[start : start + self._batch_size]

    def _answer(self, batch: Sequence[Any]) -> list[str]:
        replies = self._model.answer([self._request(instance) for instance in batch])
        answers = []
        for instance, reply in zip(batch, replies, strict=True):
            if reply.text is None:
                why = f"declined: {reply.refused}" if reply.refused else reply.error
                raise ModelError(f"no answer to document {instance.args[3]}: {why}")
            answer = cut(reply.text, stops_of(instance.args[1]))
            self.cache_hook.add_partial("generate_until", instance.args[:2], answer)
            answers.append(answer)
        return answers

    def _request(self, instance: Any) -> Request:
        text, settings, doc_to_visual, number, task, split = instance.args
        images = doc_to_visual(self.task_dict[task][split][number]) or ()
        uid = f"{task}/{split}/{number}"
        seed = seed_for(self._seed, uid, 0, "decode")
        return Request((*images, text), decoding_of(settings), seed, uid)
