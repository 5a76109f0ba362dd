"""Requests in, replies out: how every adapter answers a batch.

A batch that shares its decoding goes through the model together; a request that failed in it is
tried again alone. Neither changes an output: every request has its own seed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import groupby

from pairuni_eval.errors import ModelError, boundary
from pairuni_eval.models.base import Reply, Request

Respond = Callable[[list[Request]], list[Reply]]


def in_batches(requests: Sequence[Request], respond: Respond) -> list[Reply]:
    """Replies in the order of the requests.

    Args:
        requests: Of any decodings.
        respond: Replies to requests that share their decoding, one each, in order.

    Raises:
        ModelError: if the model failed on the batch as a whole.
    """
    replies: list[Reply] = []
    for _, same in groupby(requests, key=lambda request: request.decoding):
        replies += _together(list(same), respond)
    return replies


def alike(
    requests: Sequence[Request], kind: Callable[[Request], Hashable], respond: Respond
) -> list[Reply]:
    """Replies in the order of the requests, where only some of a batch can go together.

    Args:
        requests: Of any kinds.
        kind: What requests that go together have in common, e.g. how many pictures.
        respond: Replies to requests of one kind, one each, in order.
    """
    places: dict[Hashable, list[int]] = {}
    for place, request in enumerate(requests):
        places.setdefault(kind(request), []).append(place)
    replies = [Reply()] * len(requests)
    for group in places.values():
        found = respond([requests[place] for place in group])
        for place, reply in zip(group, found, strict=True):
            replies[place] = reply
    return replies


def _together(requests: list[Request], respond: Respond) -> list[Reply]:
    """Replies of a batch; a request that failed in it is tried again alone.

    What is not finite in one row reaches others through masked attention, for 0 times infinity
    is NaN.
    """
    with boundary(ModelError):
        replies = respond(requests)
    if len(requests) == 1:
        return replies
    return [
        _together([request], respond)[0] if reply.error else reply
        for request, reply in zip(requests, replies, strict=True)
    ]
