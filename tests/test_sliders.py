"""Sliders answer as the indexes behind them do."""

import io

import numpy as np
import pytest
from PIL import Image

import amulsearch as am


@pytest.fixture(scope="module")
def short(bundled_features) -> am.Features:
    features = bundled_features["tf_efficientnet_lite2", "penultimate"]
    return am.PCA.fit(features, 32)(features)


def test_what_is_missed_follows_the_sliders(cartoons, short):
    query, other = cartoons.ids[100], cartoons.ids[900]
    box = am.sliders.missed_neighbours(cartoons, short, query, k=5)
    (trees, nodes), name, said, picture = box.children[0].children, *box.children[1:]
    exact, seen = am.ExactIndex.build(short), []
    for n_trees, search_k, id in ((1, 1, query), (50, 3000, query), (5, 10, other)):
        trees.value, nodes.value, name.value = n_trees, search_k, id
        found = am.AnnoyIndex.build(short, n_trees=n_trees).query(id, 5, search_k=search_k)
        hits = len(set(found["id"]) & set(exact.query(id, 5)["id"]))
        assert said.value == f"{hits} of the 5 nearest are found, {5 - hits} missed"
        seen.append(np.asarray(Image.open(io.BytesIO(picture.value))))
    assert seen[0].shape == seen[1].shape and not np.array_equal(seen[0], seen[1])
    with pytest.raises(am.QueryError, match="k=5000 is more than"):
        am.sliders.missed_neighbours(cartoons, short, query, k=5000)
