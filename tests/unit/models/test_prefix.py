"""The tree of distinct prompt beginnings: nodes, depths, ancestry and the rows' paths."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pairuni_eval.models.janus.prefix import grow


def test_shared_beginnings_are_one_node() -> None:
    tree = grow([[1, 7, 8], [1, 7, 9], [1, 7], [1, 7, 8]], width=4)
    assert tree.ids_M == [1, 7, 8, 9]
    assert tree.depth_M == [0, 1, 2, 2]
    assert tree.where_BP == [[0, 0, 1, 2], [0, 0, 1, 3], [0, 0, 0, 1], [0, 0, 1, 2]]
    assert tree.sees_MM.tolist() == [
        [True, False, False, False],
        [True, True, False, False],
        [True, True, True, False],
        [True, True, False, True],
    ]


def test_the_same_token_after_another_is_another_node() -> None:
    tree = grow([[1, 2, 2], [2, 2]], width=3)
    assert tree.ids_M == [1, 2, 2, 2, 2]
    assert tree.where_BP == [[0, 1, 2], [0, 3, 4]]
    assert not tree.sees_MM[4, :3].any()


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=8))
def test_a_path_spells_its_sequence_and_sees_just_itself(sequences: list[list[int]]) -> None:
    tree = grow(sequences, width=6)
    for tokens, padded in zip(sequences, tree.where_BP, strict=True):
        path = padded[6 - len(tokens) :]
        assert [tree.ids_M[node] for node in path] == tokens
        assert [tree.depth_M[node] for node in path] == list(range(len(tokens)))
        assert tree.sees_MM[path[-1]].nonzero()[0].tolist() == sorted(path)
    beginnings = {tuple(tokens[: i + 1]) for tokens in sequences for i in range(len(tokens))}
    assert len(tree.ids_M) == len(beginnings)
