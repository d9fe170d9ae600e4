"""Transforms compared with scikit-learn and hand calculation; a new picture is transformed like the collection."""

import json

import numpy as np
import pytest

import amulsearch as am


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    return (rng.standard_normal((60, 12)) * np.arange(1, 13) + 2).astype(np.float32)


@pytest.mark.parametrize("rows", [60, 9])  # more vectors than dimensions, and fewer vectors
def test_pca_and_whitening_are_those_of_scikit_learn(vectors, rows):
    from sklearn.decomposition import PCA

    vectors = vectors[:rows]
    reference = PCA(5).fit(unit(vectors))
    plain = reference.transform(unit(vectors))
    for power in (0, 0.5, 1):
        width = 2 if power == 1 and rows == 9 else 5
        expected = unit((plain / reference.singular_values_**power)[:, :width])
        made = am.transforms.PCA.fit(vectors, 5, whiten=power)(vectors)
        np.testing.assert_allclose(np.abs(made), np.abs(expected), atol=2e-4)
        np.testing.assert_allclose(made @ made.T, expected @ expected.T, atol=2e-4)


def test_a_transform_is_displayed_in_a_line(vectors):
    assert repr(am.transforms.PCA.fit(vectors, 5, whiten=0.5)) == "PCA(PCA 5 whitened 0.5, for vectors of width 12)"


def test_there_are_no_more_components_than_dimensions_or_other_vectors(vectors):
    assert str(am.transforms.PCA.fit(vectors, 13)) == "PCA 12"
    assert am.transforms.PCA.fit(vectors[:7], 512)(vectors).shape == (60, 6)


@pytest.mark.parametrize("count", [10, 40, 64])
def test_full_whitening_keeps_groups_apart_also_of_few_pictures(count):
    """With all N - 1 components, the cosine of any two would be -1 / (N - 1)."""
    rng = np.random.default_rng(0)
    made = np.repeat(rng.standard_normal((2, 64)), count // 2, axis=0) + rng.standard_normal((count, 64))
    whitened = am.transforms.PCA.fit(made, whiten=1)(made)
    same = np.repeat([0, 1], count // 2)
    cosine = whitened @ whitened.T
    alike = (same[:, None] == same) & ~np.eye(count, dtype=bool)
    assert cosine[alike].mean() > cosine[same[:, None] != same].mean() + 0.1
    half = am.transforms.PCA.fit(made, whiten=0.5)
    assert len(half.arrays["axes"]) == min(count - 1, 64), "the components still differ in strength"


def test_components_without_variance_are_left_out():
    line = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [2, 1, 0]], dtype=np.float32)
    assert am.transforms.PCA.fit(line, 3)(line).shape[1] <= 2
    with pytest.raises(am.QueryError, match="all vectors are the same"):
        am.transforms.PCA.fit(np.ones((4, 3)), 2)


def test_expansion_by_hand():
    base = np.array([[1, 0], [0.8, 0.6], [0, 1]], dtype=np.float32)
    made = am.transforms.Expansion.fit(am.Features(base, ["a", "b", "c"]), 1, alpha=2)
    new = made(np.array([[2, 0]], dtype=np.float32))  # its nearest neighbour is a, with a cosine of 1
    np.testing.assert_allclose(new, [[1, 0]], atol=1e-6)
    own = made(am.Features(base, ["a", "b", "c"])).vectors  # the nearest neighbour of a is b, with a cosine of .8
    expected = unit(np.array([[1 + 0.64 * 0.8, 0.64 * 0.6]]))
    np.testing.assert_allclose(own[:1], expected, atol=1e-6)


def test_expansion_is_the_sum_of_the_nearest_weighted_by_their_cosines(vectors):
    features = am.Features(vectors, [str(row) for row in range(60)])
    made, base, new = am.transforms.Expansion.fit(features, 7, alpha=3), unit(vectors.astype(np.float64)), vectors + 1
    for queries, moved, own in ((base, made(features).vectors, True), (unit(new), made(new), False)):
        cosine = queries @ base.T
        if own:
            np.fill_diagonal(cosine, -1)
        cosine[cosine < np.sort(cosine, axis=1)[:, -7:-6]] = 0
        np.testing.assert_allclose(moved, unit(queries + cosine**3 @ base), atol=1e-5)


def test_the_cosine_of_a_concatenation_is_the_mean_of_the_cosines(vectors):
    ids = [str(row) for row in range(60)]
    parts = [am.Features(vectors, ids), am.Features(vectors[:, :5] ** 2, ids)]
    joined = am.transforms.concatenate(parts).vectors
    cosines = [unit(part.vectors) @ unit(part.vectors).T for part in parts]
    np.testing.assert_allclose(joined @ joined.T, np.mean(cosines, axis=0), atol=1e-5)
    mean = am.transforms.average([am.Features(vectors, ids), am.Features(vectors[:, ::-1], ids)]).vectors
    np.testing.assert_allclose(mean, unit(unit(vectors) + unit(vectors[:, ::-1])), atol=1e-6)


def test_wrong_use_is_told(vectors):
    ids = [str(row) for row in range(60)]
    features = am.Features(vectors, ids)
    fitted = am.transforms.PCA.fit(features, 4)
    for call, words in (
        (lambda: fitted(vectors[:, :7]), r"array of numbers of shape \(N, 12\)"),
        (lambda: fitted(vectors * np.nan), "NaN or infinite"),
        (lambda: am.transforms.PCA.fit(vectors * 1e30, 4), "too large to be squared"),
        (lambda: am.transforms.PCA.fit(vectors, 4, whiten=None), "from 0 to 1, not None"),
        (lambda: am.transforms.Expansion.fit(features, 3, alpha="2"), "alpha must be 0 or more, not '2'"),
        (lambda: am.transforms.concatenate(features), "in a list"),
        (lambda: am.transforms.PCA.fit(vectors[:1], 1), "at least two vectors"),
        (lambda: am.transforms.PCA.fit(features, 4, whiten=2), "from 0 to 1"),
        (lambda: am.transforms.PCA.fit(np.full((4, 3), np.nan), 2), "NaN"),
        (lambda: am.transforms.Expansion.fit(features, 60), "the 59 other pictures"),
        (lambda: am.transforms.Expansion.fit(features, 0), "at least 1"),
        (lambda: am.transforms.concatenate([features, am.Features(vectors, ids[::-1])]), "same pictures"),
        (lambda: am.transforms.concatenate([]), "at least one"),
        (lambda: am.transforms.average([features, am.Features(vectors[:, :3], ids)]), "use concatenate"),
    ):
        with pytest.raises(am.QueryError, match=words):
            call()


def test_a_transform_is_of_the_features_it_was_fitted_on(bundled_features):
    a, b = (bundled_features["squeezenet1_1", layer] for layer in ("logits", "penultimate"))
    with pytest.raises(am.QueryError, match="was fitted on squeezenet1_1 logits"):
        am.transforms.PCA.fit(a, 8)(b)


@pytest.mark.parametrize("kind", [am.AnnoyIndex, am.ExactIndex])
def test_a_new_picture_takes_the_same_way(kind, small_folder, tmp_path):
    collection = am.Collection.from_folder(small_folder, progress=False)
    models = ["squeezenet1_1", "squeezenet1_1@mirror"]
    features = am.extract(collection, models, "penultimate", progress=False)
    joined = am.transforms.average([features[name, "penultimate"] for name in models])
    reduced = am.transforms.PCA.fit(joined, 16, whiten=0.5)(joined)
    index = kind.build(reduced)
    image = collection.open(collection.ids[3])
    expected = reduced.vector(collection.ids[3])
    np.testing.assert_allclose(index.encode([image])[0], expected, atol=2e-3)
    index.save(tmp_path / "index")
    opened = kind.open(tmp_path / "index")
    assert opened.query(image, 1)["id"].tolist() == [collection.ids[3]]
    np.testing.assert_allclose(opened.encode([image])[0], index.encode([image])[0], atol=1e-6)

    assert isinstance(opened.makers[-1].arrays["mean"], np.memmap)
    mean = next((tmp_path / "index").glob("indexes/*/0.mean.npy"))
    np.save(mean, np.load(mean) + 1)
    with pytest.raises(am.StoreError, match="changed or damaged after it was written: build the index again"):
        kind.open(tmp_path / "index")
    mean.unlink()
    with pytest.raises(am.StoreError, match="is missing: build the index again"):
        kind.open(tmp_path / "index")


def test_the_mirrored_view_is_the_mirrored_picture(small_folder):
    collection = am.Collection.from_folder(small_folder, progress=False)
    image = collection.open(collection.ids[0])
    seen = am.embed(image.transpose(0), "squeezenet1_1@mirror", "penultimate", framing="squash")["penultimate"]
    plain = am.embed(image, "squeezenet1_1", "penultimate", framing="squash")["penultimate"]
    np.testing.assert_allclose(seen, plain, atol=1e-3)
    assert am.models.get("squeezenet1_1@320").preprocess.size == 320
    for name in ("squeezenet1_1@upside", "squeezenet1_1@7"):
        with pytest.raises(am.ModelError, match="use @mirror, or @ and a size"):
            am.models.get(name)


def test_the_fingerprint_tree_is_plain_json(small_folder):
    collection = am.Collection.from_folder(small_folder, progress=False)
    features = am.extract(collection, "squeezenet1_1", ["logits", "penultimate"], progress=False)
    reduced = am.transforms.PCA.fit(joined := am.transforms.concatenate(list(features.values())), 8)(joined)
    assert json.loads(json.dumps(reduced.fingerprint)) == reduced.fingerprint
    assert reduced.name == "squeezenet1_1 logits + penultimate PCA 8"
