"""Heat maps of pictures pasted at known places, and sums."""

import numpy as np
import pytest
import torch
from PIL import Image

import amulsearch as am
from amulsearch.views import similarity_maps

SQUEEZENET, LITE0, LITE1, LITE2 = am.models.BUNDLED


@pytest.fixture(scope="module")
def pairs(cartoons):
    """Six random pairs of cartoons."""
    rng = np.random.default_rng(0)
    return [[str(id) for id in rng.choice(cartoons.ids, 2, replace=False)] for _ in range(6)]


def beside(left, right):
    """Two pictures side by side on a white sheet."""
    sheet = Image.new("RGB", (640, 320), "white")
    for start, picture in ((0, left), (320, right)):
        picture = picture.copy()
        picture.thumbnail((300, 300))
        sheet.paste(picture, (start + (320 - picture.width) // 2, (320 - picture.height) // 2))
    return sheet


def right_part(values):
    """The fraction of the positive values in the right half; a middle column counts half."""
    light = np.maximum(values, 0).sum(axis=0)
    place = (np.arange(len(light)) + 0.5) / len(light)
    return float((light * ((place > 0.5) + 0.5 * (place == 0.5))).sum() / light.sum())


@pytest.mark.parametrize("name", [SQUEEZENET, LITE0])
def test_of_two_pasted_pictures_the_one_that_matches_lights_up(name, cartoons, pairs, bundled_features):
    usual = bundled_features[name, "penultimate"]
    lit, by_match = [], []
    for pair in pairs:
        left, right = (cartoons.open(id) for id in pair)
        both, parts = beside(left, right), []
        for match, own in ((left, lambda part: 1 - part), (right, lambda part: part)):
            query, _ = similarity_maps(both, match, name, against=usual)
            lit.append(own(right_part(query.values)))
            parts.append(right_part(similarity_maps(both, match, name)[0].values))
        by_match.append(parts[1] - parts[0])
    assert np.mean(lit) > 0.75
    assert sum(part > 0.5 for part in lit) >= len(lit) - 1
    assert min(by_match) > 0  # without `against`, the values still shift to the matching half


@pytest.mark.parametrize("name", am.models.BUNDLED)
def test_the_maps_add_up_to_the_cosine_that_search_compares(name, cartoons, bundled_features):
    query, match = cartoons.sample(2, seed=5)
    for layer in ("penultimate", "last:gem", "logits"):
        features = bundled_features[name, layer]
        found = am.ExactIndex.build(features).query(query, len(cartoons) - 1).set_index("id")
        cosine = 1 - found["distance"][match] ** 2 / 2
        for heat in similarity_maps(cartoons.open(query), cartoons.open(match), name, layer):
            assert heat.total == pytest.approx(cosine, abs=2e-3)
            # Only the biases of the EfficientNet classifiers add to the cosine without belonging to a place.
            exact = layer != "logits" or name == SQUEEZENET
            assert heat.values.sum() + heat.rest == pytest.approx(heat.total, abs=1e-5)
            assert abs(heat.rest) < (1e-5 if exact else 0.02)


def test_against_a_collection_a_map_adds_up_to_the_cosine_above_the_mean(cartoons, bundled_features):
    query, match = cartoons.sample(2, seed=6)
    features = bundled_features[LITE0, "last:gem"]
    vectors = features.vectors / np.linalg.norm(features.vectors, axis=1, keepdims=True)
    own, other = (vectors[cartoons.ids.index(id)] for id in (query, match))
    pair = similarity_maps(cartoons.open(query), cartoons.open(match), LITE0, "last:gem", against=features)
    for heat, vector in zip(pair, (own, other), strict=True):
        assert heat.values.sum() == pytest.approx(own @ other - (vectors @ vector).mean(), abs=2e-3)
        assert abs(heat.rest) < 1e-5
    with pytest.raises(am.errors.QueryError, match="must be features of tf_efficientnet_lite0 penultimate"):
        similarity_maps(cartoons.open(query), cartoons.open(match), LITE0, against=features)


class Biased(torch.nn.Module):
    """A feature map, its mean, and a layer with a bias before the classifier."""

    def __init__(self):
        super().__init__()
        self.features = torch.nn.Conv2d(3, 4, 3, stride=8)
        self.inner, self.head = torch.nn.Linear(4, 5), torch.nn.Linear(5, 6)

    def forward(self, values):
        return self.head(self.inner(self.features(values).mean((2, 3))).relu())


def test_networks_of_ones_own(cartoons):
    """A bias between map and vector leaves a rest; a layer may have no map."""
    torch.manual_seed(0)
    images = [cartoons.open(id) for id in cartoons.sample(2)]
    biased = am.models.own("biased", Biased(), head="head", feature_map="features")
    heat, _ = similarity_maps(*images, biased)
    assert abs(heat.rest) > 0.01
    assert heat.total == pytest.approx(heat.values.sum() + heat.rest, abs=1e-6)
    with pytest.raises(am.errors.ModelError, match="inner gives no feature map"):
        similarity_maps(*images, biased, "inner")


def test_wrong_use_is_told(cartoons):
    with pytest.raises(am.errors.QueryError, match="a picture must be a PIL image"):
        similarity_maps(cartoons.ids[0], cartoons.ids[1], LITE0)
