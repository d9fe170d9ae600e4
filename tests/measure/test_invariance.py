"""Edited pictures that must find their original."""

import numpy as np
import pytest
from PIL import Image

import amulsearch as am
from amulsearch.measure.invariance import EDITS


@pytest.fixture(scope="module")
def index(cartoons, bundled_features):
    return am.ExactIndex.build(bundled_features["squeezenet1_1", "penultimate"])


def test_an_unchanged_picture_is_found_and_a_blank_one_is_not(cartoons, index):
    edits = {"nothing": lambda image: image, "blank": lambda image: Image.new("RGB", image.size, "white")}
    found = am.measure.known_items(cartoons, index, edits=edits, sample=6, progress=False)
    assert len(found) == 12
    assert (found.loc[found["edit"] == "nothing", "rank"] == 1).all()
    measures = am.measure.mean_reciprocal_rank(found)
    assert measures.loc["nothing"].tolist() == [1, 1]
    assert measures.loc["blank", "MRR"] < 0.1
    blank = found.loc[found["edit"] == "blank", "rank"]
    assert measures.loc["blank", "MRR"] == pytest.approx(np.mean(1 / blank))


def test_every_edit_changes_the_picture_and_leaves_it_a_picture(cartoons, index):
    image = cartoons.open("food/desserts/pie_pumpkin.webp")
    for size in (image.size, (9, 3)):
        for name, edit in EDITS.items():
            edited = edit(image.resize(size))
            assert edited.mode == "RGB", name
            assert edited.size != size or np.asarray(edited).tolist() != np.asarray(image.resize(size)).tolist(), name


def test_an_index_of_another_collection_is_refused(cartoons):
    other = am.ExactIndex.build(np.eye(3), ["a", "b", "c"])
    with pytest.raises(am.QueryError, match="other pictures than the collection"):
        am.measure.known_items(cartoons, other)
