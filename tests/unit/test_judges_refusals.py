"""Whether a refusal is the fault of the question or of the set-up, and the key that mends it."""

from __future__ import annotations

import pytest

from pairuni_eval.judges.completion import Told
from pairuni_eval.judges.refusals import EndpointRefusal, Fault, meaning, remedy

SENT = {"model": "m", "temperature": 0.0, "max_tokens": 500, "response_format": {}}
CONTEXT = "This model's maximum context length is 4096 tokens, you asked for max_tokens 500."
OF_QUESTION, OF_SET_UP = Fault.QUESTION, Fault.SET_UP

CASES: list[tuple[int, Told, EndpointRefusal]] = [
    (
        400,
        Told("Unsupported parameter: 'max_tokens'"),
        EndpointRefusal(Fault.PARAMETER, "max_tokens"),
    ),
    (422, Told("too large", "", "max_tokens"), EndpointRefusal(Fault.PARAMETER, "max_tokens")),
    (
        400,
        Told("'temperature' does not support 0"),
        EndpointRefusal(Fault.PARAMETER, "temperature"),
    ),
    (400, Told("bad response_format.type"), EndpointRefusal(Fault.PARAMETER, "response_format")),
    (400, Told("no", "unsupported_value", "top_k"), EndpointRefusal(Fault.PARAMETER, "top_k")),
    (400, Told("m is not a multimodal model"), EndpointRefusal(Fault.PARAMETER, "image")),
    (
        400,
        Told("This model does not support image inputs"),
        EndpointRefusal(Fault.PARAMETER, "image"),
    ),
    (400, Told("At most 0 image(s) may be provided"), EndpointRefusal(Fault.PARAMETER, "image")),
    (400, Told("The model `m` does not exist"), EndpointRefusal(Fault.PARAMETER, "model")),
    (400, Told("no", "invalid_model"), EndpointRefusal(Fault.PARAMETER, "model")),
    (400, Told(CONTEXT), EndpointRefusal(OF_QUESTION, "context")),
    (400, Told("no", "context_length_exceeded"), EndpointRefusal(OF_QUESTION, "context")),
    (400, Told("Could not process image"), EndpointRefusal(OF_QUESTION)),
    (413, Told(), EndpointRefusal(OF_QUESTION)),
    (400, Told("no", "content_filter"), EndpointRefusal(Fault.DECLINED)),
    (401, Told("no"), EndpointRefusal(OF_SET_UP)),
    (402, Told("Insufficient credits"), EndpointRefusal(OF_SET_UP)),
    (404, Told("The model m was not found"), EndpointRefusal(OF_SET_UP, "model")),
    (307, Told(), EndpointRefusal(OF_SET_UP)),
    (429, Told("no", "insufficient_quota"), EndpointRefusal(OF_SET_UP, quota=True)),
    (429, Told("slow down"), EndpointRefusal(Fault.PASSING)),
    (503, Told(), EndpointRefusal(Fault.PASSING)),
    (400, Told("busy", "overloaded_error"), EndpointRefusal(Fault.PASSING)),
]


@pytest.mark.parametrize(("status", "told", "refusal"), CASES, ids=range(len(CASES)))
def test_what_a_refusal_means(status: int, told: Told, refusal: EndpointRefusal) -> None:
    assert meaning(status, told, SENT) == refusal


def test_the_key_that_mends_it() -> None:
    length = 'max_tokens = "unset" with extra = { max_completion_tokens = 500 }'
    assert remedy("max_tokens", SENT) == length
    assert remedy("temperature", SENT).startswith('temperature = "unset"')
    assert length in remedy("temperature", SENT)
    assert remedy("temperature", {"model": "m"}) == 'temperature = "unset"'
    assert remedy("response_format", SENT) == "extra without response_format"
    for about in ("image", "model", "context"):
        assert remedy(about, SENT).startswith("snapshot = ")
