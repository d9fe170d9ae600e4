"""Classes found by part of their name, collections ranked by a class, and the classes that two pictures share."""

import numpy as np
import pytest

import amulsearch as am
from amulsearch.index.classes import find_class, probabilities


def test_classes_are_found_by_a_part_of_their_name():
    assert am.indexes.list_classes("missile").values.tolist() == [[657, "missile"]]
    found = am.indexes.list_classes(" FISH ")
    assert "goldfish" in found["name"].tolist()
    assert found["name"].str.contains("fish").all()
    assert len(am.indexes.list_classes()) == 1000
    assert am.indexes.list_classes("a", ["cat", "dog"])["name"].tolist() == ["cat"]


def test_a_class_by_name_part_or_number():
    assert find_class("Missile") == (657, "missile")
    assert find_class("projecti") == (744, "projectile")
    assert find_class("croquet") == find_class("croquet ball")
    assert find_class("crane") == (517, "crane")  # a full name wins over names that contain it
    assert find_class(744) == (744, "projectile")
    assert find_class(2, 6) == (2, "class 2")
    assert find_class("dog", 2, ["cat", "dog"]) == (1, "dog")


@pytest.mark.parametrize(
    "category, message",
    [
        ("fish", r"6 classes, choose one: goldfish \(1\), jellyfish"),
        ("misile", "did you mean missile"),
        ("qqqqqqqq", r"am.indexes.list_classes\(\) lists them all"),
        (1000, "0 to 999"),
        (-1, "0 to 999"),
    ],
)
def test_an_unknown_class_is_told_with_a_hint(category, message):
    with pytest.raises(am.QueryError, match=message):
        find_class(category)


def test_concept_ranks_by_the_probability_of_a_class():
    logits = np.log([[0.2, 0.8], [0.9, 0.1], [0.5, 0.5], [0.5, 0.5]])
    features = am.Features(logits, ["a", "b", "c", "d"], ["x", None, "x", None])
    table = am.indexes.query_class(features, "dog", 3, names=["cat", "dog"])
    assert table["id"].tolist() == ["a", "c", "d"]
    assert table["rank"].tolist() == [1, 2, 3]
    np.testing.assert_allclose(table["score"], [0.8, 0.5, 0.5], rtol=1e-6)
    assert table["label"].tolist() == ["x", "x", None]
    with pytest.raises(am.QueryError, match="k=5"):
        am.indexes.query_class(features, 0, 5)


def test_a_missile_among_the_cartoons(bundled_features):
    name = "tf_efficientnet_lite2"
    table = am.indexes.query_class(bundled_features[name, "logits"], "missile", 5)
    assert table["label"].iloc[0] == "transportation/vehicles"
    assert "tools/weapons/projectile_01.webp" in table["id"].tolist()
    assert (table["model"] == name).all()
    fused = am.fuse(
        [am.indexes.query_class(bundled_features[of, "logits"], "missile", 20) for of in am.models.BUNDLED], "rrf"
    )
    assert "projectile" in fused["id"].iloc[0] or "airplane" in fused["id"].iloc[0]
    with pytest.raises(am.QueryError, match="extract the layer logits"):
        am.indexes.query_class(bundled_features[name, "penultimate"], "missile")


def test_probabilities_of_large_logits():
    np.testing.assert_allclose(probabilities([[1000.0, 1000.0, 0.0]]), [[0.5, 0.5, 0]], atol=1e-7)


def test_shared_classes_are_those_that_both_pictures_have():
    query, match = np.log([0.6, 0.3, 0.1]), np.log([0.05, 0.35, 0.6])
    table = am.indexes.shared_classes(query, match, 2, names=["a", "b", "c"])
    assert table["name"].tolist() == ["b", "c"]
    np.testing.assert_allclose(table[["query", "match"]], [[0.3, 0.35], [0.1, 0.6]], rtol=1e-5)
    with pytest.raises(am.QueryError, match="same length"):
        am.indexes.shared_classes(query, match[:2])
