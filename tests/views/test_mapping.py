"""Maps: each picture has a place of its own, near similar pictures."""

import itertools

import numpy as np
import pytest

import amulsearch as am
from amulsearch.views import mapping


def clouds(count, kinds=3, seed=0):
    """Vectors in clusters around `kinds` directions, and the cluster of each."""
    rng = np.random.default_rng(seed)
    kind = np.arange(count) % kinds
    vectors = rng.normal(size=(kinds, 40))[kind] + 0.3 * rng.normal(size=(count, 40))
    return am.Features(vectors, [str(row) for row in range(count)], [f"kind {one}" for one in kind])


def purity(rows, labels):
    """The fraction of neighbours that have the label of their picture."""
    k = rows.shape[1]
    return am.measure.precision_at_k({"map": rows}, labels, at=[k]).at["map", f"P@{k}"]


def test_pictures_of_a_kind_lie_together_and_none_share_a_cell():
    features = clouds(90)
    made = am.views.Map.fit(features)
    assert made.ids == features.ids and made.labels == features.labels
    assert made.positions.min() == 0 and made.positions.max() == 1
    assert len({tuple(cell) for cell in made.cells}) == 90
    assert (made.cells >= 0).all() and (made.cells < (made.columns, made.rows)).all()
    assert made.columns * made.rows >= 1.3 * 90
    assert made.columns / made.rows == pytest.approx(4 / 3, rel=0.2)
    assert purity(made.neighbours(5), made.labels) > 0.95


@pytest.mark.parametrize("count", [2, 3, 4, 5, 7, 40])
def test_few_pictures_and_the_same_picture_many_times_have_a_map(count, recwarn):
    features = am.Features(np.ones((count, 8)), [str(row) for row in range(count)])
    for made in (am.views.Map.fit(clouds(count)), am.views.Map.fit(features)):
        assert len({tuple(cell) for cell in made.cells}) == len(made) == count
        assert np.isfinite(made.positions).all()
    assert not recwarn.list


def test_a_sample_of_many_pictures_is_laid_out(monkeypatch):
    monkeypatch.setattr("amulsearch.views.mapping.SAMPLE", 50)
    features = clouds(1200)
    made, again = (am.views.Map.fit(features) for _ in range(2))
    assert repr(made).startswith("Map(50 pictures in a grid of ")
    assert len({tuple(cell) for cell in made.cells}) == len(set(made.ids)) == 50
    assert np.array_equal(made.positions, again.positions) and np.array_equal(made.cells, again.cells)
    assert made.ids == again.ids == sorted(made.ids, key=int)
    assert made.labels == [features.labels[int(id)] for id in made.ids]
    assert purity(made.neighbours(5), made.labels) > 0.9
    with pytest.raises(am.errors.QueryError, match="at least two pictures"):
        am.views.Map.fit(am.Features(np.ones((1, 4)), ["a"]))


def test_the_assignment_is_the_best_of_all():
    points = np.random.default_rng(3).random((5, 2)) * (3, 2)
    cells = np.empty((5, 2), dtype=np.int64)
    mapping._assign(points, np.arange(5), (0, 0, 3, 2), cells)
    every = list(itertools.product(range(3), range(2)))

    def way(order):
        return ((np.array(order) + 0.5 - points) ** 2).sum()

    assert way(cells) == pytest.approx(min(way(order) for order in itertools.permutations(every, 5)))


def test_a_large_grid_is_halved_and_stays_near():
    rng = np.random.default_rng(0)
    points, cells = rng.random((5000, 2)) * (90, 73), np.full((5000, 2), -1)
    mapping._assign(points, np.arange(5000), (0, 0, 90, 73), cells)
    assert len({tuple(cell) for cell in cells}) == 5000
    assert (cells >= 0).all() and (cells < (90, 73)).all()
    assert np.abs(cells + 0.5 - points).mean() < 1.5


def test_the_bundled_cartoons_part_into_animals_food_and_vehicles(all_features):
    bundled_features, cartoons = all_features, all_features.collection
    groups = [label.split("/")[0] for label in cartoons.labels]
    kept = [row for row, group in enumerate(groups) if group in ("animals", "food", "transportation")]
    joined = am.transforms.concatenate([bundled_features[name, "penultimate"] for name in am.models.BUNDLED])
    made = am.views.Map.fit(am.Features(joined.vectors[kept], [cartoons.ids[row] for row in kept]))
    kinds = [groups[row] for row in kept]
    assert purity(made.neighbours(10), kinds) > 0.75 > 1.5 * am.measure.chance_level(kinds)
