"""Near-duplicates compared with groups made by hand, and copies of real cartoons."""

import shutil

import numpy as np
import pytest
from PIL import Image, ImageOps

import amulsearch as am


def at(*degrees):
    """Vectors on the unit circle."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_groups_are_what_a_chain_of_pairs_connects():
    ids = ["alone", "chain 1", "pair 1", "chain 2", "pair 2", "chain 3"]
    features = am.Features(at(200, 0, 90, 10, 92, 20), ids, [None, "a", "b", "a", None, "c"])
    table = am.indexes.near_duplicates(features, np.cos(np.deg2rad(11)))
    assert table["group"].tolist() == [1, 1, 1, 2, 2]
    assert table["id"].tolist() == ["chain 1", "chain 2", "chain 3", "pair 1", "pair 2"]
    assert table["label"].tolist() == ["a", "a", "c", "b", None]
    np.testing.assert_allclose(table["cosine"], np.cos(np.deg2rad([10, 10, 10, 2, 2])), atol=1e-6)
    assert am.indexes.near_duplicates(features, np.cos(np.deg2rad(9)))["id"].tolist() == ["pair 1", "pair 2"]


def test_where_nothing_is_alike_the_table_is_empty():
    assert am.indexes.near_duplicates(am.Features(np.eye(4), list("abcd"))).empty
    assert am.indexes.near_duplicates(am.Features(np.eye(1), ["a"])).columns.tolist() == [
        "group",
        "id",
        "label",
        "cosine",
    ]


def test_a_threshold_of_one_finds_the_same_vectors_at_any_length():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(30, 1000))
    vectors[20] = 3 * vectors[4]
    table = am.indexes.near_duplicates(am.Features(vectors, [f"{row:02}" for row in range(30)]), 1)
    assert table["id"].tolist() == ["04", "20"]
    assert table["cosine"].tolist() == pytest.approx([1, 1], abs=1e-6)


@pytest.mark.parametrize("threshold", [0, -0.5, 1.01, float("nan")])
def test_a_wrong_threshold_is_told(threshold):
    with pytest.raises(am.QueryError, match="a cosine above 0 and at most 1"):
        am.indexes.near_duplicates(am.Features(np.eye(3), list("abc")), threshold)


def test_a_copy_of_a_cartoon_stands_beside_it(small_folder):
    ids = am.Collection.from_folder(small_folder).ids
    edits = {
        ids[0]: lambda image: ImageOps.crop(image, 3),
        ids[9]: lambda image: ImageOps.expand(image, 8, "white"),
    }
    for id, edit in edits.items():
        edit(am.open_image(small_folder / id)).save(small_folder / f"{id}.copy.jpg", quality=80)
    shutil.copy(small_folder / ids[20], small_folder / "same.webp")
    assert Image.open(small_folder / f"{ids[0]}.copy.jpg").format == "JPEG"
    collection = am.Collection.from_folder(small_folder)
    made = am.extract(collection, layers="penultimate", progress=False)
    table = am.indexes.near_duplicates(am.transforms.concatenate(list(made.values())))
    groups = {frozenset(group["id"]) for _, group in table.groupby("group")}
    assert {frozenset([id, f"{id}.copy.jpg"]) for id in edits} | {frozenset([ids[20], "same.webp"])} <= groups
