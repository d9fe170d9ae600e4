import numpy as np
import pytest
from PIL import Image

import amulsearch as am

RED, WHITE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 0)


def picture(colour, size=(64, 64)) -> Image.Image:
    return Image.new("RGB", size, colour)


def stripes(turned: bool) -> Image.Image:
    pixels = np.zeros((128, 128, 3), np.uint8)
    pixels[(np.arange(128) // 8) % 2 == 0] = 255
    return Image.fromarray(pixels.transpose(1, 0, 2) if turned else pixels)


@pytest.fixture(scope="module")
def animals(openclipart) -> am.Collection:
    collection = am.Collection.from_folder(openclipart / "animals" / "birds", progress=False)
    return collection.subset(collection.ids[:24])


@pytest.fixture(scope="module")
def sift(animals):
    return am.learning.learn_sift(animals, 40, sample=12, progress=False)


def test_a_histogram_counts_colours():
    half = picture(RED)
    half.paste(WHITE, (0, 0, 32, 64))
    vector = am.embed(half, "colour", "descriptor")["descriptor"][0]
    cells = vector[:512].reshape(8, 8, 8)
    assert cells[7, 0, 0] == pytest.approx(cells[7, 7, 7], rel=0.02) == pytest.approx(0.5**0.5, rel=0.02)
    assert (cells > 0.1).sum() == 2


def test_hog_tells_directions_and_not_colours():
    level, upright = (am.embed(stripes(turned), "hog", "descriptor")["descriptor"][0] for turned in (False, True))
    paler = am.embed(stripes(False).point(lambda value: value // 2), "hog", "descriptor")["descriptor"][0]
    assert level @ paler > 0.99 and level @ upright < 0.1


def test_a_turned_picture_keeps_its_words_and_loses_its_edges(animals, sift):
    images = [animals.open(id) for id in animals.ids]
    turned = [image.rotate(90, expand=True) for image in images]
    found = {}
    for model in (sift, "hog"):
        before, after = (am.embed(some, model, "descriptor")["descriptor"] for some in (images, turned))
        found[am.models.get(model).name] = (np.argmax(after @ before.T, axis=1) == np.arange(len(images))).mean()
    assert found["sift"] > 0.8 > found["hog"]


def test_a_blank_picture_has_a_direction_of_its_own(animals, sift):
    for model in (sift, "hog"):
        blank, other, drawing = am.embed(
            [picture(WHITE), picture(BLACK), animals.open(animals.ids[0])], model, "descriptor"
        )["descriptor"]
        assert blank @ other == 1 and blank @ drawing == 0


def test_they_go_through_every_station(animals, sift, tmp_path):
    features = am.extract(animals, ["colour", "hog", sift], "descriptor", store=tmp_path, progress=False)
    again = am.extract(animals, ["colour", "hog", sift], "descriptor", store=tmp_path, progress=False)
    assert features.extracted == 24 and again.extracted == 0
    image = animals.open(animals.ids[3])
    for (name, _), made in features.items():
        index = am.AnnoyIndex.build(made)
        index.save(tmp_path / "kept" / name)
        opened = am.AnnoyIndex.open(tmp_path / "kept" / name, model=sift if name == "sift" else None)
        best = opened.query(image, 1)
        assert best["id"][0] == animals.ids[3] and best["distance"][0] < 0.05
    lists = am.query_all({name: am.ExactIndex.build(made) for (name, _), made in features.items()}, animals.ids[0], 5)
    assert len(am.fuse(lists, method="rrf", k=4)) == 4
    relevance = am.Relevance.from_keywords(
        animals.ids, {id: "even" if row % 2 else "odd" for row, id in enumerate(animals.ids)}
    )
    assert len(am.compare(features, relevance, fusions=["combsum"], progress=False).table) == 4


def test_a_vocabulary_is_the_same_for_the_same_seed_and_kept(animals, sift, tmp_path):
    again = am.learning.learn_sift(animals, 40, sample=12, progress=False)
    other = am.learning.learn_sift(animals, 40, sample=12, seed=1, progress=False)
    kept = am.learning.load_vocabulary(am.learning.save_vocabulary(sift, tmp_path / "words"))
    assert sift.describe() == again.describe() == kept.describe() != other.describe()
    vectors = [am.embed(animals.open(animals.ids[0]), one, "descriptor")["descriptor"] for one in (sift, kept)]
    assert np.array_equal(*vectors)
    assert "12 pictures" in kept.learned and "seed 0" in kept.learned
    assert not np.load(tmp_path / "words.npz", allow_pickle=False)["about"].dtype.hasobject


def test_the_version_of_opencv_counts(sift, monkeypatch):
    import cv2

    before = sift.describe()
    monkeypatch.setattr(cv2, "__version__", "0.0")
    assert sift.describe() != before


def test_words_stand_for_the_patches_nearest_to_them(animals, sift):
    from skimage.metrics import normalized_root_mse

    assert normalized_root_mse(np.linalg.norm(sift.words, axis=1), np.ones(40)) < 0.3  # they are means of unit vectors
    vector = am.embed(animals.open(animals.ids[0]), sift, "descriptor")["descriptor"][0]
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5) and (vector >= 0).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c, p: am.extract(c, "colour", "penultimate", progress=False), "'penultimate': use 'descriptor'"),
        (lambda c, p: am.extract(c, "sift", "descriptor", progress=False), "learn_sift"),
        (lambda c, p: am.learning.learn_sift(c, 5000, progress=False), "fewer words"),
        (lambda c, p: am.learning.learn_sift(c, 0, progress=False), "words"),
        (lambda c, p: am.learning.load_vocabulary(p / "none.npz"), "cannot be read"),
        (lambda c, p: am.learning.save_vocabulary(am.models.get("hog"), p / "hog"), "needs no file"),
    ],
)
def test_what_cannot_be(animals, tmp_path, call, words):
    with pytest.raises(am.AmulsearchError, match=words):
        call(animals.subset(animals.ids[:3]), tmp_path)


def test_a_damaged_vocabulary_is_told(sift, tmp_path):
    path = am.learning.save_vocabulary(sift, tmp_path / "words")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(am.StoreError, match="run learn_sift again"):
        am.learning.load_vocabulary(path)
