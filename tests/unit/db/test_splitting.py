"""Where a batch is cut so that some of its messages travel alone."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.queries.splitting import Piece, cut


@pytest.mark.parametrize(
    ("open_ids", "alone", "expected"),
    [
        ([1, 2, 3, 4, 5], {3}, [Piece(1, 2, 2), Piece(3, 3, 1), Piece(4, 5, 2)]),
        ([1, 2, 3], {1}, [Piece(1, 1, 1), Piece(2, 3, 2)]),
        ([1, 2, 3], {3}, [Piece(1, 2, 2), Piece(3, 3, 1)]),
        ([1, 2, 3], {1, 2, 3}, [Piece(1, 1, 1), Piece(2, 2, 1), Piece(3, 3, 1)]),
        ([1, 2, 3, 4], {2, 3}, [Piece(1, 1, 1), Piece(2, 2, 1), Piece(3, 3, 1), Piece(4, 4, 1)]),
    ],
)
def test_before_alone_and_after(open_ids: list[int], alone: set[int], expected: list[Piece]) -> None:
    assert cut(open_ids, alone, open_ids[0], open_ids[-1]) == expected


def test_messages_that_are_not_open_stay_with_those_before_them() -> None:
    assert cut([4, 8], {8}, 1, 12) == [Piece(1, 7, 1), Piece(8, 12, 1)]
    assert cut([4, 8], {4}, 1, 12) == [Piece(1, 7, 1), Piece(8, 12, 1)]


def test_without_anybody_alone_nothing_is_cut() -> None:
    assert cut([2, 3], {9}, 1, 4) == [Piece(1, 4, 2)]
    assert cut([], {2}, 1, 4) == [Piece(1, 4, 0)]


@given(st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60)))
def test_pieces_cover_the_range_once_and_who_is_alone_is_alone(open_ids: set[int], alone: set[int]) -> None:
    pieces = cut(sorted(open_ids), alone, 1, 60)
    assert pieces[0].first_message_id == 1
    assert pieces[-1].last_message_id == 60
    for before, after in pairwise(pieces):
        assert before.last_message_id + 1 == after.first_message_id
    for piece in pieces:
        inside = [key for key in open_ids if piece.first_message_id <= key <= piece.last_message_id]
        assert len(inside) == piece.size
        assert len(inside) == 1 or not alone.intersection(inside)
