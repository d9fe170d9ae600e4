"""The novelty test: p-values by loops, false alarms among pictures that belong, and pictures that do not."""

import numpy as np
import pytest
from PIL import Image

import amulsearch as am
from amulsearch.errors import QueryError
from amulsearch.index import ExactIndex
from amulsearch.systems import NoveltyTest

IDS = [f"{row:03}.png" for row in range(150)]


@pytest.fixture(scope="module")
def parts():
    chance = np.random.default_rng(4)
    return [am.Features(np.array([4.0, 0, 0, 0]) + chance.standard_normal((150, 4)), IDS) for _ in range(2)]


def angular(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(max(0, 2 - 2 * (a @ b) / np.linalg.norm(a) / np.linalg.norm(b))))


def sums_by_loops(parts, queries, own=None) -> np.ndarray:
    """The standardised distance to the nearest picture, summed over the parts, for each query."""
    total = np.zeros(len(queries[0]))
    for part, asked in zip(parts, queries, strict=True):
        vectors = part.vectors.astype(float)
        among = [min(angular(v, w) for j, w in enumerate(vectors) if j != i) for i, v in enumerate(vectors)]
        skip = [None] * len(asked) if own is None else own
        far = [min(angular(q, w) for j, w in enumerate(vectors) if j != s) for q, s in zip(asked, skip, strict=True)]
        total += (np.array(far) - np.mean(among)) / np.std(among)
    return total


def test_p_values_are_those_of_loops(parts):
    test = NoveltyTest.build(parts)
    chance = np.random.default_rng(5)
    new = [np.array([4.0, 0, 0, 0]) + 1.5 * chance.standard_normal((6, 4)) for _ in parts]
    own = sums_by_loops(parts, [part.vectors.astype(float) for part in parts], own=range(150))
    assert np.allclose(own, test.sums, atol=1e-3)
    for place, value in enumerate(sums_by_loops(parts, new)):
        expected = (1 + (own >= value).sum()) / 151
        assert test.p_value([of[place] for of in new]) == pytest.approx(expected, abs=1 / 151)
    others = np.delete(own, 7)
    assert test.p_value(IDS[7]) == pytest.approx((1 + (others >= own[7]).sum()) / 150)


def test_pictures_that_belong_raise_few_alarms_and_others_raise_many(all_features):
    """One cartoon in five is held out of the test, and asks as a new picture would; so do photographs and noise."""
    from skimage import data

    bundled_features, cartoons = all_features, all_features.collection
    held = np.random.default_rng(0).permutation(len(cartoons)) % 5 == 0
    names = am.models.BUNDLED
    some = [bundled_features[name, "penultimate"] for name in names]
    ids = np.array(cartoons.ids)[~held].tolist()
    test = NoveltyTest.build([am.Features(part.vectors[~held], ids) for part in some])
    belong = [test.p_value([part.vectors[row] for part in some]) for row in np.flatnonzero(held)]
    assert 0.01 < np.mean(np.array(belong) <= 0.05) < 0.09
    assert 0.4 < np.mean(np.array(belong) <= 0.5) < 0.6
    whole = NoveltyTest.build(some)
    chance = np.random.default_rng(0)
    noise = Image.fromarray(chance.integers(0, 256, (200, 200, 3), dtype=np.uint8))
    photographs = [Image.fromarray(getattr(data, name)()).convert("RGB") for name in ("camera", "coins", "page")]
    strange = [whole.p_value(picture) for picture in (noise, *photographs)]
    assert max(strange) < np.median(belong) / 2 and min(strange) < 0.01


def test_a_picture_is_asked_by_id_file_and_image(bundled_features, cartoons):
    features = [bundled_features["squeezenet1_1", layer] for layer in ("penultimate", "last:gem")]
    test = NoveltyTest.build(features, sample=100)
    id = cartoons.ids[12]
    assert 0 < test.p_value(id) <= 1
    assert test.p_value(cartoons.path(id)) > 0.9, "the collection holds the very same picture"
    assert test.p_value(cartoons.open(id)) == test.p_value(cartoons.path(id))
    assert "squeezenet1_1 penultimate, squeezenet1_1 last:gem" in repr(test)


def test_what_a_saved_index_knows_is_not_searched_for_again(parts, tmp_path, monkeypatch):
    index = ExactIndex.build(parts[0])
    expected = NoveltyTest.build([index], sample=40).sums
    opened = ExactIndex.open(index.save(tmp_path / "index"))
    monkeypatch.setattr(ExactIndex, "search", None)  # would fail
    assert np.array_equal(NoveltyTest.build([opened], sample=40).sums, expected)


def test_words_and_mistakes(parts, tmp_path):
    test = NoveltyTest.build(parts)
    assert test.sentence(0.012).startswith("Nothing here is likely to fit: 1.2%")
    assert test.sentence(0.3).startswith("Not unlike the collection: 30%")
    with pytest.raises(QueryError, match="a vector for each of the 2 parts, not 1"):
        test.p_value([np.ones(4)])
    with pytest.raises(QueryError, match="without a model"):
        test.p_value(Image.new("RGB", (9, 9)))
    with pytest.raises(QueryError, match="neither the id of a picture in the index nor a file"):
        test.p_value(str(tmp_path / "nothing.png"))
    with pytest.raises(QueryError, match="at least one"):
        NoveltyTest.build([])
    with pytest.raises(QueryError, match="at least two pictures"):
        NoveltyTest.build([am.Features(np.ones((1, 4)), IDS[:1])])
    with pytest.raises(QueryError, match="not of the same pictures"):
        NoveltyTest.build([parts[0], am.Features(np.ones((2, 4)), IDS[:2])])
    named = am.Features(parts[0].vectors, IDS, fingerprint={"model": "m", "layer": "logits"})
    fitted = am.transforms.PCA.fit(named, 3)(named)
    with pytest.raises(QueryError, match="was fitted to these pictures"):
        NoveltyTest.build([fitted])


@pytest.mark.parametrize("count", [2, 18, 19])
def test_of_few_pictures_it_is_told_that_nothing_can_be_said(count):
    near = np.array([1.0, 0, 0]) + 0.1 * np.random.default_rng(0).standard_normal((count, 3))
    test = NoveltyTest.build([am.Features(near, IDS[:count])])
    told = test.sentence(test.p_value([np.array([-1.0, 0, 0])]))
    few = f"Whether anything here fits cannot be said: that takes at least 19 pictures to compare, not {count}."
    assert told.startswith("Nothing here is likely to fit: 5.0%") if count == 19 else told == few
