"""Whether a refusal is the fault of the question or of the set-up, and the key that mends it."""

from __future__ import annotations

import pytest

from pairuni_eval.endpoints.completion import ErrorWords
from pairuni_eval.endpoints.refusals import EndpointRefusal, Fault, classify_refusal
from pairuni_eval.judges.request import remedy

SENT = {"model": "m", "temperature": 0.0, "max_tokens": 500, "response_format": {}}
CONTEXT = "This model's maximum context length is 4096 tokens, you asked for max_tokens 500."
OF_QUESTION, OF_SET_UP = Fault.QUESTION, Fault.SET_UP

CASES: list[tuple[int, ErrorWords, EndpointRefusal]] = [
    (
        400,
        ErrorWords("Unsupported parameter: 'max_tokens'"),
        EndpointRefusal(Fault.PARAMETER, "max_tokens"),
    ),
    (
        422,
        ErrorWords("too large", "", "max_tokens"),
        EndpointRefusal(Fault.PARAMETER, "max_tokens"),
    ),
    (
        400,
        ErrorWords("'temperature' does not support 0"),
        EndpointRefusal(Fault.PARAMETER, "temperature"),
    ),
    (
        400,
        ErrorWords("bad response_format.type"),
        EndpointRefusal(Fault.PARAMETER, "response_format"),
    ),
    (
        400,
        ErrorWords("no", "unsupported_value", "top_k"),
        EndpointRefusal(Fault.PARAMETER, "top_k"),
    ),
    (400, ErrorWords("m is not a multimodal model"), EndpointRefusal(Fault.PARAMETER, "image")),
    (
        400,
        ErrorWords("This model does not support image inputs"),
        EndpointRefusal(Fault.PARAMETER, "image"),
    ),
    (
        400,
        ErrorWords("At most 0 image(s) may be provided"),
        EndpointRefusal(Fault.PARAMETER, "image"),
    ),
    (400, ErrorWords("The model `m` does not exist"), EndpointRefusal(Fault.PARAMETER, "model")),
    (400, ErrorWords("no", "invalid_model"), EndpointRefusal(Fault.PARAMETER, "model")),
    (400, ErrorWords(CONTEXT), EndpointRefusal(OF_QUESTION, "context")),
    (400, ErrorWords("no", "context_length_exceeded"), EndpointRefusal(OF_QUESTION, "context")),
    (400, ErrorWords("Could not process image"), EndpointRefusal(OF_QUESTION)),
    (413, ErrorWords(), EndpointRefusal(OF_QUESTION)),
    (400, ErrorWords("no", "content_filter"), EndpointRefusal(Fault.DECLINED)),
    (401, ErrorWords("no"), EndpointRefusal(OF_SET_UP)),
    (403, ErrorWords("no"), EndpointRefusal(OF_SET_UP)),
    (402, ErrorWords("Insufficient credits"), EndpointRefusal(OF_SET_UP)),
    (404, ErrorWords("The model m was not found"), EndpointRefusal(OF_SET_UP, "model")),
    (307, ErrorWords(), EndpointRefusal(OF_SET_UP)),
    (429, ErrorWords("no", "insufficient_quota"), EndpointRefusal(OF_SET_UP, quota=True)),
    (429, ErrorWords("slow down"), EndpointRefusal(Fault.PASSING)),
    (503, ErrorWords(), EndpointRefusal(Fault.PASSING)),
    (400, ErrorWords("busy", "overloaded_error"), EndpointRefusal(Fault.PASSING)),
]


@pytest.mark.parametrize(("status", "told", "refusal"), CASES, ids=range(len(CASES)))
def test_what_a_refusal_means(status: int, told: ErrorWords, refusal: EndpointRefusal) -> None:
    assert classify_refusal(status, told, SENT) == refusal


def test_the_key_that_mends_it() -> None:
    length = 'max_tokens = "unset" with extra = { max_completion_tokens = 500 }'
    assert remedy("max_tokens", SENT) == length
    assert remedy("temperature", SENT).startswith('temperature = "unset"')
    assert length in remedy("temperature", SENT)
    assert remedy("temperature", {"model": "m"}) == 'temperature = "unset"'
    assert remedy("response_format", SENT) == "extra without response_format"
    for about in ("image", "model", "context"):
        assert remedy(about, SENT).startswith("snapshot = ")
