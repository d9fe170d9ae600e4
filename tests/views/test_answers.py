"""The living part of a page: what it holds is what the indexes, the maps and the pictures are."""

import base64
import hashlib
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import amulsearch as am
from amulsearch.views import answers, seeing

HERE = Path(answers.__file__).parent


@pytest.fixture(scope="module")
def some(cartoons):
    return cartoons.subset(cartoons.ids[:120])


@pytest.fixture(scope="module")
def features(some, bundled_features):
    made = bundled_features["squeezenet1_1", "penultimate"]
    return am.Features(made.vectors[:120], some.ids, some.labels, made.fingerprint)


@pytest.fixture(scope="module")
def layout(features):
    return am.views.Map.fit(features)


def data_of(page) -> dict:
    html = page if isinstance(page, str) else page.html()
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    return json.loads(text)


def numbers(text: str, dtype: str, *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape)


def test_the_data_are_those_of_the_systems(some, features, layout):
    index = am.systems.calibrated(am.ExactIndex.build(features))
    fusion = am.Fusion([index, index], "borda", depth=20)
    systems, maps = {"one": index, "borda": fusion}, {"all": layout}
    data = data_of(am.views.Page("ask").answers(some, systems, maps, query=some.ids[7], k=5))
    assert data["ids"] == some.ids and data["query"] == some.ids[7] and data["labels"] == some.labels
    one, borda = data["systems"]
    rows, distances = index.all_neighbours(5)
    assert np.array_equal(numbers(one["rows"], "<i4", -1, 5), rows) and one["measure"] == "distance"
    assert np.array_equal(numbers(one["values"], "<f4", -1, 5), distances.astype("f4"))
    likely = np.rint(100 * index.calibration.probability(distances))
    assert np.array_equal(numbers(one["likely"], "<u1", -1, 5), likely)
    assert (
        np.array_equal(numbers(borda["rows"], "<i4", -1, 5), fusion.all_neighbours(5)[0])
        and borda["measure"] == "score"
    )
    assert np.array_equal(numbers(data["maps"][0]["cells"], "<u4", -1, 2), layout.cells)


@pytest.mark.parametrize("side", [96, 48])  # of many pictures, the thumbnails are smaller
def test_thumbnails_lie_in_the_order_of_the_collection(some, features, monkeypatch, side):
    monkeypatch.setattr(answers, "ACROSS", 10)  # two sheets
    monkeypatch.setattr(answers, "PIXELS", 120 * side**2)
    data = data_of(am.views.Page("sheets").answers(some, {"one": am.ExactIndex.build(features)}))
    assert data["side"] == side and len(data["sheets"]) == 2
    for row in (0, 57, 119):
        content = base64.b64decode(data["sheets"][row // 100].removeprefix("data:image/webp;base64,"))
        line, column = divmod(row % 100, 10)
        corner = column * side, line * side, (column + 1) * side, (line + 1) * side
        found = Image.open(io.BytesIO(content)).convert("RGB").crop(corner)
        picture = some.open(some.ids[row])
        picture.thumbnail((side, side))
        square = Image.new("RGB", (side, side), "white")
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        assert np.abs(np.asarray(found, int) - np.asarray(square, int)).mean() < 8


def ranked(ids, rows):
    """A system that answers with these rows (N, k)."""
    return SimpleNamespace(
        ids=ids, quantity="score", calibration=None, all_neighbours=lambda k: (rows, np.ones(rows.shape))
    )


def test_it_opens_where_the_first_system_is_better(some):
    """The first system is right about one picture only, the second about none."""
    labels = np.array(some.labels)
    wrong = np.array([np.flatnonzero(labels != label)[:2] for label in labels])
    row = next(row for row in range(40, 120) if (labels == labels[row]).sum() > 2)
    right = wrong.copy()
    right[row] = [other for other in np.flatnonzero(labels == labels[row]) if other != row][:2]
    systems = {"right": ranked(some.ids, right), "wrong": ranked(some.ids, wrong)}
    page = am.views.Page("best").answers(some, systems, k=2)
    assert data_of(page)["query"] == some.ids[row]


def test_names_and_keywords_are_in_the_page_as_they_are(tmp_path):
    """A name cannot end the script that holds it."""
    words = {"0<script>alert<!--.png": ["ice\u202fcream", "it's \\o/"], "1.png": ["two words", "café"]}
    for name in words:
        Image.new("RGB", (20, 20)).save(tmp_path / name)
    collection = am.Collection.from_folder(tmp_path, keywords=words, progress=False)
    page = am.views.Page("words").answers(collection, {"one": am.ExactIndex.build(np.eye(2), collection.ids)}).html()
    assert data_of(page)["words"] == ["ice\u202fcream it's \\o/", "two words café"]
    assert "<script>alert" not in page and data_of(page)["ids"] == collection.ids == [*words]


def test_mistakes_are_told(some, features, layout):
    index, page, fewer = am.ExactIndex.build(features), am.views.Page("mistakes"), some.subset(some.ids[:50])
    other = am.ExactIndex.build(np.eye(50), fewer.ids)
    for message, pictures, systems, options in (
        ("at least one system", some, {}, {}),
        ("needs at least two pictures", some[:1], {"one": am.ExactIndex.build(np.eye(1), some.ids[:1])}, {}),
        ("k must be an integer of at least 1, not 0", some, {"one": index}, {"k": 0}),
        ("no picture 'nobody' on the page", some, {"one": index}, {"query": "nobody"}),
        ("one is not of the pictures", fewer, {"one": index}, {}),
        ("the map all is not of the pictures", fewer, {"one": other}, {"maps": {"all": layout}}),
    ):
        with pytest.raises(am.errors.QueryError, match=message):
            page.answers(pictures, systems, **options)


def test_a_page_that_sees_has_the_network_and_the_vectors(some, features):
    index = am.systems.calibrated(am.ExactIndex.build(features))
    reduced = am.ExactIndex.build(am.transforms.PCA.fit(features, 32)(features))
    own = am.ExactIndex.build(np.random.default_rng(0).normal(size=(120, 8)), some.ids)
    systems = {"one": index, "reduced": reduced, "own": own, "fused": am.Fusion([index, own], "rrf")}
    data = data_of(am.views.Page("sees").answers(some, systems))
    one, pca, *blind = (system["compared"] for system in data["systems"])
    assert blind == [None, None] and one["pooling"] == "mean" and one["odds"][0] == index.calibration.slope
    low, step = (numbers(one[name], "<f4", 512) for name in ("low", "step"))
    vectors = low + step * numbers(one["codes"], "<u1", 120, 512)
    assert np.abs(vectors - index.take(range(120))).max() <= step.max() * 0.51
    assert np.allclose(numbers(one["spacing"], "<f4", 120), index.spacing(1000)) and not pca["spacing"]
    assert np.array_equal(numbers(pca["axes"], "<f4", 32, 512), reduced.makers[0].axes)
    state = am.models.get("squeezenet1_1").weights.read()
    weights = numbers(data["network"]["weights"], "<f2", -1)
    kernel, bias = state["fire9/expand3x3"]
    assert np.allclose(weights[-256:], bias, atol=1e-3)
    last = weights[-256 - 9 * 64 : -256].reshape(3, 3, 64)  # of the last output
    assert np.allclose(last, kernel[..., -1], rtol=1e-3, atol=1e-4)
    assert data["network"]["background"] == [255, 255, 255] and data["network"]["most"] == some.opening["max_pixels"]


def test_a_page_sees_only_as_the_collection_was_opened(some, features, monkeypatch):
    index = {"one": am.ExactIndex.build(features)}
    for changed in ({"framing": "crop"}, {"background": "black"}, {"weights": "others"}, {"layer": "logits"}):
        other = am.Features(features.vectors, some.ids, some.labels, {**features.fingerprint, **changed})
        with pytest.raises(am.errors.QueryError, match="the page cannot see: give an index"):
            am.views.Page("blind").answers(some, {"one": am.ExactIndex.build(other)}, sees=True)
    assert data_of(am.views.Page("not asked").answers(some, index, sees=False))["network"] is None
    monkeypatch.setattr(seeing, "MOST", 2_000_000)
    assert data_of(am.views.Page("too large").answers(some, index))["network"] is None
    assert data_of(am.views.Page("asked").answers(some, index, sees=True))["network"]


def test_the_script_is_that_of_its_source_and_opens_no_connection():
    """`npm run build` in web/ writes the digest of what it was built from."""
    script = (HERE / "front.js").read_text(encoding="utf-8")
    sources = sorted((HERE / "web" / "src").glob("*.ts"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    assert script.startswith(f"/* {digest} */")
    assert not re.search(r"\bfetch\(|XMLHttpRequest|WebSocket|importScripts|https?://(?!www\.w3\.org)", script)
