"""Agreement without labels, compared with direct implementations of the definitions."""

import numpy as np
import pytest

import amulsearch as am


def test_overlap_by_hand():
    assert am.measure.overlap(np.array([[1, 2, 3, 4]]), np.array([[2, 1, 5, 4]])).tolist() == [0.75]


def test_padding_is_no_neighbour():
    """`fuse_all` pads with -1."""
    short, long, nothing = np.array([[1, 2, 3, -1, -1]]), np.array([[2, 1, 7, 3, 9]]), np.full((1, 5), -1)
    assert am.measure.overlap(short, short).tolist() == [1]
    assert am.measure.overlap(short, long).tolist() == [3 / 5] == am.measure.overlap(long, short).tolist()
    assert am.measure.overlap(nothing, nothing).tolist() == [0] == am.measure.overlap(nothing, long).tolist()


@pytest.mark.parametrize("other, words", [(np.zeros((2, 2), int), "of the same shape"), (np.zeros((2, 3)), "integers")])
def test_wrong_use_is_told(other, words):
    with pytest.raises(am.QueryError, match=words):
        am.measure.overlap(np.zeros((2, 3), int), other)
