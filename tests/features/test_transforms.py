"""Transforms compared with scikit-learn and hand calculation; a new picture is transformed like the collection."""

import json
from dataclasses import replace

import numpy as np
import pytest

import amulsearch as am
from amulsearch.features.transforms import PCA, concatenate


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


IDS = [str(row) for row in range(60)]
LOGITS = {"model": "net", "layer": "logits"}


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    return (rng.standard_normal((60, 12)) * np.arange(1, 13) + 2).astype(np.float32)


@pytest.mark.parametrize("rows", [60, 9])  # more vectors than dimensions, and fewer vectors
def test_pca_and_whitening_are_those_of_scikit_learn(vectors, rows):
    from sklearn.decomposition import PCA as Reference

    vectors = vectors[:rows]
    reference = Reference(5).fit(unit(vectors))
    plain = reference.transform(unit(vectors))
    for power in (0, 0.5, 1):
        width = 2 if power == 1 and rows == 9 else 5
        expected = unit((plain / reference.singular_values_**power)[:, :width])
        made = PCA.fit(vectors, 5, whiten=power)(vectors)
        np.testing.assert_allclose(np.abs(made), np.abs(expected), atol=2e-4)
        np.testing.assert_allclose(made @ made.T, expected @ expected.T, atol=2e-4)


def test_there_are_no_more_components_than_dimensions_or_other_vectors(vectors):
    assert repr(PCA.fit(vectors, 13, whiten=0.5)) == "PCA 12 whitened 0.5"
    assert PCA.fit(vectors[:7], 512)(vectors).shape == (60, 6)


@pytest.mark.parametrize("count", [10, 40, 64])
def test_full_whitening_keeps_groups_apart_also_of_few_pictures(count):
    """With all N - 1 components, the cosine of any two would be -1 / (N - 1)."""
    rng = np.random.default_rng(0)
    made = np.repeat(rng.standard_normal((2, 64)), count // 2, axis=0) + rng.standard_normal((count, 64))
    whitened = PCA.fit(made, whiten=1)(made)
    same = np.repeat([0, 1], count // 2)
    cosine = whitened @ whitened.T
    alike = (same[:, None] == same) & ~np.eye(count, dtype=bool)
    assert cosine[alike].mean() > cosine[same[:, None] != same].mean() + 0.1
    half = PCA.fit(made, whiten=0.5)
    assert len(half.axes) == min(count - 1, 64), "the components still differ in strength"


def test_components_without_variance_are_left_out():
    line = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [2, 1, 0]], dtype=np.float32)
    assert PCA.fit(line, 3)(line).shape[1] <= 2
    with pytest.raises(am.errors.QueryError, match="all vectors are the same"):
        PCA.fit(np.ones((4, 3)), 2)


def test_the_cosine_of_a_concatenation_is_the_mean_of_the_cosines(vectors):
    parts = [am.Features(vectors, IDS), am.Features(vectors[:, :5] ** 2, IDS)]
    joined = concatenate(parts).vectors
    cosines = [unit(part.vectors) @ unit(part.vectors).T for part in parts]
    np.testing.assert_allclose(joined @ joined.T, np.mean(cosines, axis=0), atol=1e-5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda v, f: PCA.fit(f, 4)(v[:, :7]), r"array of numbers of shape \(N, 12\)"),
        (lambda v, f: PCA.fit(f, 4)(v * np.nan), "NaN or infinite"),
        (lambda v, f: PCA.fit(v * 1e30, 4), "too large to be squared"),
        (lambda v, f: PCA.fit(v, 4, whiten=None), "from 0 to 1, not None"),
        (lambda v, f: PCA.fit(f, 4, whiten=2), "from 0 to 1"),
        (lambda v, f: PCA.fit(v[:1], 1), "at least two vectors"),
        (lambda v, f: PCA.fit(replace(f, fingerprint=LOGITS), 8)(f), "was fitted on net logits, not on own vectors"),
        (lambda v, f: concatenate(f), "in a list"),
        (lambda v, f: concatenate([f, am.Features(v, IDS[::-1])]), "same pictures"),
        (lambda v, f: concatenate([]), "at least one"),
    ],
)
def test_wrong_use_is_told(vectors, call, words):
    with pytest.raises(am.errors.QueryError, match=words):
        call(vectors, am.Features(vectors, IDS))


@pytest.mark.parametrize("kind", [am.AnnoyIndex, am.ExactIndex])
def test_a_new_picture_takes_the_same_way(kind, small_folder, tmp_path):
    collection = am.Collection.from_folder(small_folder, progress=False)
    models = ["squeezenet1_1", "squeezenet1_1@mirror"]
    features = am.extract(collection, models, "penultimate", progress=False)
    joined = concatenate([features[name, "penultimate"] for name in models])
    reduced = PCA.fit(joined, 16, whiten=0.5)(joined)
    assert reduced.name == "squeezenet1_1 + squeezenet1_1@mirror penultimate PCA 16 whitened 0.5"
    assert json.loads(json.dumps(reduced.fingerprint)) == reduced.fingerprint
    index = kind.build(reduced)
    image = collection.open(collection.ids[3])
    expected = reduced.vector(collection.ids[3])
    encoded = lambda one: am.features.encode(image, [one.fingerprint], one.makers)[0][0]  # noqa: E731
    np.testing.assert_allclose(encoded(index), expected, atol=2e-3)
    index.save(tmp_path / "index")
    opened = kind.open(tmp_path / "index")
    assert opened.query(image, 1)["id"].tolist() == [collection.ids[3]]
    np.testing.assert_allclose(encoded(opened), encoded(index), atol=1e-6)

    assert isinstance(opened.makers[-1].mean, np.memmap)
    mean = next((tmp_path / "index").glob("indexes/*/0.mean.npy"))
    np.save(mean, np.load(mean) + 1)
    with pytest.raises(am.errors.StoreError, match=r"deleted, changed or damaged .*: build the index again"):
        kind.open(tmp_path / "index")
    mean.unlink()
    with pytest.raises(am.errors.StoreError, match=r"deleted, changed or damaged .*: build the index again"):
        kind.open(tmp_path / "index")
