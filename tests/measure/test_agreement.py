"""Agreement without labels, compared with direct implementations of the definitions."""

import numpy as np
import pytest

import amulsearch as am


def test_overlap_and_rank_biased_overlap_by_hand():
    a, b = np.array([[1, 2, 3, 4]]), np.array([[2, 1, 5, 4]])
    assert am.measure.overlap(a, b).tolist() == [0.75]
    p, shared = 0.9, [0, 2, 2, 3]
    expected = shared[3] / 4 * p**4 + (1 - p) / p * sum(x / d * p**d for d, x in enumerate(shared, 1))
    assert am.measure.rank_biased_overlap(a, b)[0] == pytest.approx(expected)
    assert am.measure.rank_biased_overlap(a, a)[0] == pytest.approx(1)
    assert am.measure.rank_biased_overlap(a, a + 10)[0] == 0


def test_padding_is_no_neighbour():
    """`fuse_all` pads with -1; by hand from the definitions, RBO_ext for lists of 3 and 5 by equation 32."""
    short, long = np.array([[1, 2, 3, -1, -1]]), np.array([[2, 1, 7, 3, 9]])
    assert am.measure.overlap(short, short).tolist() == [1] == am.measure.rank_biased_overlap(short, short).tolist()
    assert am.measure.overlap(short, long).tolist() == [3 / 5]
    p, shared, least, most = 0.9, [0, 2, 2, 3, 3], 3, 5
    total = sum(x / d * p**d for d, x in enumerate(shared, 1))
    total += sum(shared[2] * (d - least) / (least * d) * p**d for d in range(least + 1, most + 1))
    expected = (1 - p) / p * total + ((shared[4] - shared[2]) / most + shared[2] / least) * p**most
    for a, b in ((short, long), (long, short)):
        assert am.measure.rank_biased_overlap(a, b)[0] == pytest.approx(expected)
    nothing = np.full((1, 5), -1)
    for other in (nothing, long):
        assert am.measure.overlap(nothing, other).tolist() == [0] == am.measure.rank_biased_overlap(nothing, other)


def test_the_order_counts_in_rank_biased_overlap_only():
    a = np.array([[1, 2, 3, 4, 5]])
    late, early = np.array([[1, 2, 3, 4, 9]]), np.array([[9, 2, 3, 4, 5]])
    assert am.measure.overlap(a, late) == am.measure.overlap(a, early)
    assert am.measure.rank_biased_overlap(a, late) > am.measure.rank_biased_overlap(a, early)


@pytest.mark.parametrize("rows", [20, 200])
def test_cka_is_that_of_kornblith(rows):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((rows, 30)), rng.standard_normal((rows, 40))
    y[:, :30] += x
    ids = [str(row) for row in range(rows)]
    centring = np.eye(rows) - 1 / rows

    def hsic(a, b):
        return np.trace(a @ a.T @ centring @ b @ b.T @ centring)

    expected = hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))
    assert am.measure.cka(am.Features(x, ids), am.Features(y, ids)) == pytest.approx(expected, rel=1e-4)
    turned = x @ np.linalg.qr(rng.standard_normal((30, 30)))[0] * 3
    assert am.measure.cka(am.Features(x, ids), am.Features(turned, ids)) == pytest.approx(1, abs=1e-5)


def test_disagreement_is_sorted():
    lists = {"a": np.array([[1, 2], [0, 2]]), "b": np.array([[1, 2], [3, 4]]), "c": np.array([[2, 1], [3, 0]])}
    found = am.measure.disagreement(["p", "q"], lists)
    assert found["id"].tolist() == ["q", "p"]
    np.testing.assert_allclose(found["overlap"], [(0 + 0.5 + 0.5) / 3, 1])


def test_wrong_use_is_told():
    a = np.zeros((2, 3), dtype=int)
    for call, words in (
        (lambda: am.measure.overlap(a, a[:, :2]), "give two of the same shape"),
        (lambda: am.measure.rank_biased_overlap(a, a, p=1), "between 0 and 1"),
        (lambda: am.measure.disagreement(["p"], {"a": a, "b": a}), "do not match"),
        (lambda: am.measure.disagreement(["p", "q"], {}), "at least one"),
        (
            lambda: am.measure.cka(am.Features(np.eye(2), ["a", "b"]), am.Features(np.eye(2), ["b", "a"])),
            "same pictures",
        ),
        (
            lambda: am.measure.cka(am.Features(np.ones((2, 2)), ["a", "b"]), am.Features(np.eye(2), ["a", "b"])),
            "are equal",
        ),
    ):
        with pytest.raises(am.QueryError, match=words):
            call()
