"""What `--shard` takes."""

from __future__ import annotations

import pytest

from pairuni_eval.errors import UserError
from pairuni_eval.runner.shard import Shard, read_shard


@pytest.mark.parametrize(("text", "shard"), [("1/1", (1, 1)), ("2/4", (2, 4)), (" 4/4 ", (4, 4))])
def test_a_shard_is_read(text: str, shard: tuple[int, int]) -> None:
    assert read_shard(text) == Shard(*shard)
    assert str(read_shard(text)) == text.strip()


@pytest.mark.parametrize(
    ("text", "nearest"),
    [("0/4", "1/4"), ("5/4", "4/4"), ("1/0", "1/1"), ("2", "1/4"), ("a/b", "1/4"), ("-1/4", "1/4")],
)
def test_what_is_no_shard_is_refused_with_the_nearest_one(text: str, nearest: str) -> None:
    with pytest.raises(UserError) as refused:
        read_shard(text)
    assert f"--shard {nearest}" in (refused.value.hint or "")
    assert text in refused.value.message
