"""Groups that one system keeps together and another does not, on planted ones."""

import numpy as np
import pytest

import amulsearch as am
from amulsearch.errors import QueryError

COUNT, GROUP = 900, 40


def planted(seed, strength):
    """Two systems that see the same and noise of their own; the first sees also that the first 30 pictures belong
    together."""
    rng = np.random.default_rng(seed)
    same = rng.standard_normal((COUNT, 16))
    more = strength * (np.arange(COUNT) < GROUP)[:, None] * rng.standard_normal(16)
    noisy = lambda vectors: vectors + 0.5 * rng.standard_normal((COUNT, 16))  # noqa: E731
    ids, labels = [f"{row:03}.png" for row in range(COUNT)], ["red" if row < GROUP else "other" for row in range(COUNT)]
    return am.Features(noisy(same + more), ids, labels), am.Features(noisy(same), ids, labels)


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_group_is_found_and_named(seed):
    a, b = planted(seed, 2.0)
    (row,) = am.measure.contrast(a, b).itertuples()
    assert np.mean([int(id[:3]) < GROUP for id in row.ids]) > 0.5
    assert row.size >= 0.8 * GROUP and row.name == "red" and row.p <= 0.05 and 0.2 < row.stability <= 1
    neighbours = [am.ExactIndex.build(one).all_neighbours(10)[0] for one in (a, b)]
    members = [a.ids.index(id) for id in row.ids]
    inside = [np.isin(rows[members], members).sum(axis=1).mean() for rows in neighbours]
    assert inside == pytest.approx([row.kept, row.lost]) and row.kept > row.lost
    assert am.measure.contrast(b, a).empty


def test_of_systems_that_differ_by_noise_hardly_any_is_said_to_see_more():
    found = [len(am.measure.contrast(*planted(seed, 0.0))) for seed in range(25)]
    assert np.mean(np.array(found) > 0) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 25)


def test_other_pictures_and_too_few_are_refused():
    a, b = planted(0, 1.0)
    with pytest.raises(QueryError, match="same pictures"):
        am.measure.contrast(a, am.Features(b.vectors, b.ids[::-1]))
    two = am.Features(np.eye(2), ["a", "b"])
    with pytest.raises(QueryError, match="three pictures"):
        am.measure.contrast(two, two)
    assert am.measure.contrast(a, a).empty
