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
from amulsearch.views import answers

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


def test_the_script_is_that_of_its_source_and_opens_no_connection():
    """`npm run build` in web/ writes the digest of what it was built from."""
    script = (HERE / "front.js").read_text(encoding="utf-8")
    sources = sorted((HERE / "web" / "src").glob("*.ts"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    assert script.startswith(f"/* {digest} */")
    assert not re.search(r"\bfetch\(|XMLHttpRequest|WebSocket|importScripts|https?://(?!www\.w3\.org)", script)
