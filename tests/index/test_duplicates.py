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


def groups_by_brute_force(vectors, threshold):
    """The groups of rows that chains of pairs connect."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    close, left, groups = unit @ unit.T >= threshold, set(range(len(vectors))), set()
    while left:
        group, ahead = set(), {min(left)}
        while ahead:
            group |= ahead
            ahead = {int(other) for row in ahead for other in np.flatnonzero(close[row])} - group
        left -= group
        groups.add(frozenset(group))
    return {group for group in groups if len(group) > 1}


@pytest.fixture
def crowded():
    """80 identical vectors, a dense group of 60, a loose one of 100 that chains hold together, and 260 others."""
    rng = np.random.default_rng(4)
    centres = rng.standard_normal((3, 20))
    steps = np.cumsum(0.2 * rng.standard_normal((100, 20)), axis=0)
    parts = (
        np.repeat(centres[:1], 80, axis=0),
        centres[1] + 0.02 * rng.standard_normal((60, 20)),
        3 * centres[2] + steps,
        rng.standard_normal((260, 20)),
    )
    return np.concatenate(parts)[rng.permutation(500)]


@pytest.mark.parametrize("threshold", [0.5, 0.9, 0.95, 0.99, 0.999])
def test_groups_are_those_of_the_whole_graph(crowded, threshold):
    ids = [str(row) for row in range(500)]
    table = am.indexes.near_duplicates(am.Features(crowded, ids), threshold)
    groups = {frozenset(map(int, group["id"])) for _, group in table.groupby("group")}
    assert groups == groups_by_brute_force(crowded, threshold) and max(map(len, groups)) >= 80
    assert table.attrs["asked"] == 500
    unit = crowded / np.linalg.norm(crowded, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -1)
    np.testing.assert_allclose(table["cosine"], cosine.max(axis=1)[table["id"].astype(int)], atol=1e-6)


def test_of_too_many_pictures_a_sample_asks(crowded):
    ids = [str(row) for row in range(500)]
    features = am.Features(crowded, ids)
    asking = np.sort(np.random.default_rng(7).permutation(500)[:50])
    table = am.indexes.near_duplicates(features, 0.99, sample=50, seed=7)
    unit = crowded / np.linalg.norm(crowded, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -1)
    expected = {row for row in asking if cosine[row].max() >= 0.99}
    expected |= {int(other) for row in asking for other in np.flatnonzero(cosine[row] >= 0.99)}
    assert set(table["id"].astype(int)) == expected and table.attrs["asked"] == 50
    assert table.equals(am.indexes.near_duplicates(features, 0.99, sample=50, seed=7))
    assert am.indexes.near_duplicates(features, 0.99, sample=500).equals(am.indexes.near_duplicates(features, 0.99))


def test_vectors_without_a_direction_are_told():
    with pytest.raises(am.QueryError, match="1 vectors are zero and have no angle, the first is that of 'b'"):
        am.indexes.near_duplicates(am.Features(np.diag([1, 0, 1]), list("abc")))


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
