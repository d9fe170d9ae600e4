"""The page that answers: what it holds is what the indexes, the maps and the pictures are."""

import base64
import hashlib
import json
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

import amulsearch as am
from amulsearch.views import answers

HERE = Path(answers.__file__).parent


@pytest.fixture(scope="module")
def some(cartoons):
    return cartoons.subset(cartoons.ids[::13][:120])


@pytest.fixture(scope="module")
def features(some, bundled_features):
    made = bundled_features["squeezenet1_1", "penultimate"]
    return am.Features(made.vectors[::13][:120], some.ids, some.labels, made.fingerprint)


def data_of(page: str) -> dict:
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


def numbers(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype)


def test_the_data_are_those_of_the_systems(some, features):
    index = am.measure.calibrated(am.ExactIndex.build(features))
    fused = am.measure.fuse_all([index.all_neighbours(20), index.all_neighbours(20)], "borda", k=5)
    layout = am.views.Map.fit(features)
    page = am.views.Page("ask").answers(some, {"one": index, "borda": fused}, {"all": layout}, query=some.ids[7], k=5)
    data = data_of(page.html())
    assert data["names"] == some.ids and data["query"] == 7
    assert [data["labelNames"][code] for code in data["labels"]] == some.labels
    one, borda = data["systems"]
    rows, distances = index.all_neighbours(5)
    assert np.array_equal(numbers(one["rows"], "<u2").reshape(-1, 5), rows)
    steps = numbers(one["values"], "<u2").reshape(-1, 5) / 65535
    assert np.allclose(one["least"] + steps * (one["most"] - one["least"]), distances, atol=2e-5)
    likely = numbers(one["likely"], "<u1").reshape(-1, 5)
    assert np.array_equal(likely, np.rint(100 * index.calibration.probability(distances)))
    assert np.array_equal(numbers(borda["rows"], "<u2").reshape(-1, 5), fused[0]) and borda["measure"] == "score"
    (drawn,) = data["maps"]
    assert np.array_equal(numbers(drawn["cells"], "<u4").reshape(-1, 2), layout.cells)


def test_thumbnails_lie_in_the_order_of_the_collection(some, features, monkeypatch, tmp_path):
    monkeypatch.setattr(answers, "ACROSS", 10)  # two sheets
    index = am.ExactIndex.build(features)
    assert "my files" not in am.views.Page("small").answers(some, {"one": index}, folder="my files").html()
    monkeypatch.setattr("amulsearch.views.page.WHOLE", 119)
    am.views.Page("files").answers(some, {"one": index}, folder=tmp_path / "my files").save(tmp_path / "page.html")
    data = data_of((tmp_path / "page.html").read_text(encoding="utf-8"))
    sheets = [(one["src"], one["columns"], one["rows"]) for one in data["sheets"]]
    assert sheets == [("my%20files/sheet-000.webp", 10, 10), ("my%20files/sheet-001.webp", 10, 2)]
    monkeypatch.setattr("amulsearch.views.page.WHOLE", 120)
    inside = am.views.Page("one file").answers(some, {"one": index}).html()
    assert data_of(inside)["sheets"][0]["src"].startswith("data:image/webp")
    for row in (0, 57, 119):
        sheet = Image.open(tmp_path / unquote(data["sheets"][row // 100]["src"])).convert("RGB")
        line, column = divmod(row % 100, 10)
        found = sheet.crop((column * 96, line * 96, column * 96 + 96, line * 96 + 96))
        picture = some.open(some.ids[row])
        picture.thumbnail((96, 96))
        square = Image.new("RGB", (96, 96), "white")
        square.paste(picture, ((96 - picture.width) // 2, (96 - picture.height) // 2))
        assert np.abs(np.asarray(found, int) - np.asarray(square, int)).mean() < 6


def test_it_opens_where_the_first_system_is_better(some):
    """The first system is right about one picture only, the second about none."""
    labels = np.array(some.labels)
    wrong = np.array([np.flatnonzero(labels != label)[:2] for label in labels])
    row = next(row for row in range(40, 120) if (labels == labels[row]).sum() > 2)
    right = wrong.copy()
    right[row] = [other for other in np.flatnonzero(labels == labels[row]) if other != row][:2]
    scores = np.ones((120, 2))
    page = am.views.Page("best").answers(some, {"right": (right, scores), "wrong": (wrong, scores)}, k=2)
    assert data_of(page.html())["query"] == row


def test_keywords_are_in_the_page_as_they_are(tmp_path):
    words = {"0.png": ["ice\u202fcream", "it's \\o/"], "1.png": ["two words", "café"]}
    for name in words:
        Image.new("RGB", (20, 20)).save(tmp_path / name)
    collection = am.Collection.from_folder(tmp_path, keywords=words, progress=False)
    page = am.views.Page("words").answers(collection, {"one": am.ExactIndex.build(np.eye(2), collection.ids)})
    assert data_of(page.html())["words"] == ["ice\u202fcream it's \\o/", "two words café"]


def test_names_cannot_end_the_script(tmp_path):
    folder = tmp_path / "x"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (20, 20), (number * 90, 0, 0)).save(folder / f"<script>alert({number})<!--.png")
    collection = am.Collection.from_folder(folder)
    index = am.ExactIndex.build(np.eye(3), collection.ids)
    page = am.views.Page("evil").answers(collection, {"one": index}).html()
    assert "<script>alert" not in page and data_of(page)["names"] == collection.ids


def test_mistakes_are_told(some, features, monkeypatch, tmp_path):
    index, page = am.ExactIndex.build(features), am.views.Page("mistakes")
    with pytest.raises(am.QueryError, match="at least one system"):
        page.answers(some, {})
    with pytest.raises(am.QueryError, match="needs at least two pictures"):
        page.answers(some[:1], {"one": am.ExactIndex.build(np.eye(1), some.ids[:1])})
    with pytest.raises(am.QueryError, match="k must be an integer of at least 1, not 0"):
        page.answers(some, {"one": index.all_neighbours(3)}, k=0)
    with pytest.raises(am.QueryError, match="no picture 'nobody' on the page"):
        page.answers(some, {"one": index}, query="nobody")
    fewer = some.subset(some.ids[:50])
    with pytest.raises(am.QueryError, match="the index one is not of the pictures"):
        page.answers(fewer, {"one": index})
    with pytest.raises(am.QueryError, match="neighbours of 120 pictures, but the page shows 50"):
        page.answers(fewer, {"one": index.all_neighbours(3)})
    with pytest.raises(am.QueryError, match="the map all is not of the pictures"):
        page.answers(fewer, {"one": am.ExactIndex.build(np.eye(50), fewer.ids)}, {"all": am.views.Map.fit(features)})
    monkeypatch.setattr("amulsearch.views.page.WHOLE", 100)
    with pytest.raises(am.QueryError, match="too many for one file: give folder="):
        page.answers(some, {"one": index})
    (tmp_path / "file").touch()
    with pytest.raises(am.StoreError, match="cannot be written"):
        page.answers(some, {"one": index}, folder=tmp_path / "file")


def test_the_bundles_are_those_of_their_source():
    """`npm run build` in web/ writes the digest of what it was built from."""
    sources = sorted((HERE / "web" / "src").glob("*.ts"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    for name in ("front.js"):
        assert (HERE / name).read_text(encoding="utf-8").startswith(f"/* {digest} */"), name


def test_the_bundle_opens_no_connection():
    text = (HERE / "answers.js").read_text(encoding="utf-8")
    assert not re.search(r"\bfetch\(|XMLHttpRequest|WebSocket|importScripts|https?://(?!www\.w3\.org)", text)
