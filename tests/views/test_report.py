"""The report: contents of the folder, rejected files, near-duplicates, map, grids and evaluation."""

import base64
import io
import json
import re
import shutil
from contextlib import redirect_stdout

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_answers import data_of
from test_page import Seen

import amulsearch as am
from amulsearch.cli import main
from amulsearch.views import report, report_parts

KINDS = ("animals/birds", "buildings/homes", "food/fruit", "plants/flowers", "transportation/roadsigns")
TWO = ["squeezenet1_1", "tf_efficientnet_lite0"]


@pytest.fixture(scope="module")
def folder(copied, tmp_path_factory):
    """25 cartoons of five categories, a copy of one of them, a broken picture and a text file."""
    base = copied(tmp_path_factory.mktemp("report") / "my pictures", KINDS, 5)
    am.open_image(next((base / "food/fruit").iterdir())).save(base / "food" / "fruit" / "zz_copy.jpg", quality=50)
    (base / "broken <b>.png").write_bytes(b"no picture")
    (base / "notes.txt").write_text("words")
    return base


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The store of the report, so that the tests compare with the same vectors and compute none again."""
    return tmp_path_factory.mktemp("kept") / "store"


@pytest.fixture(scope="module")
def page(folder, kept, tmp_path_factory):
    """The path and the parsed page that the command line wrote, and what it printed."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    with redirect_stdout(io.StringIO()) as printed:
        assert main(["report", str(folder), "-o", str(path), "--store", str(kept)]) == 0
    return path, Seen(path.read_text(encoding="utf-8")), printed.getvalue()


@pytest.fixture(scope="module")
def collection(folder):
    return am.Collection.from_folder(folder)


@pytest.fixture(scope="module")
def features(collection, kept, page):
    return am.extract(collection, layers="penultimate", store=kept, progress=False)


@pytest.fixture(scope="module")
def presets(collection, kept, page):
    return [preset.build(collection, store=kept, progress=False) for preset in am.systems.PRESETS.values()]


@pytest.fixture(scope="module")
def advice(folder, kept, page):
    return am.views.write_report(folder, store=kept, progress=False)


def test_the_contents_are_those_of_the_scan(collection, page):
    text = page[1].text
    assert f"{len(collection)} pictures in my pictures" in text
    assert "JPEG 1" in text and "WEBP 25" in text
    assert "broken <b>.png" in text and collection.rejected["reason"].iat[0] in text
    assert "not a picture: .txt: 1" in text
    assert [one["alt"] for one in page[1].of("img")[-26:]] == collection.ids
    assert page[0].stat().st_size < 3_000_000
    assert "unfinished" not in text and "A random sample" not in text


def test_a_copy_and_its_original_are_a_group(folder, page):
    original = next((folder / "food/fruit").glob("*.webp"))
    copies = page[0].read_text("utf-8").split("Near-duplicates")[1].split("Contents of the folder")[0]
    assert {f"food/fruit/{original.name}", "food/fruit/zz_copy.jpg"} <= {one["alt"] for one in Seen(copies).of("img")}
    assert re.search(r"[1-4] groups with \d+ pictures", page[1].text)
    contents = [path.read_bytes() for path in folder.rglob("*.webp")]
    same = sum(contents.count(one) > 1 for one in contents)  # the other copy is a JPEG
    assert same == 2 and "2 of these pictures are byte for byte the same as another in the group" in page[1].text


def test_a_turned_copy_is_told(folder, tmp_path):
    shutil.copytree(folder / KINDS[0], tmp_path / "birds")
    original = min((tmp_path / "birds").iterdir())
    am.open_image(original).transpose(Image.Transpose.ROTATE_270).save(tmp_path / "birds" / "zz_turned.png")
    am.views.write_report(tmp_path / "birds", tmp_path / "page.html", models=TWO[:1], progress=False)
    text = (tmp_path / "page.html").read_text("utf-8").split("Near-duplicates")[1].split("Contents of the folder")[0]
    seen = Seen(text)
    assert {original.name, "zz_turned.png"} <= {one["alt"] for one in seen.of("img")}
    assert "turned by 90 degrees" in seen.text and "1 of these pictures is mirrored or turned" in seen.text


def test_the_first_words_are_the_advice(collection, advice, page):
    before, summary = page[1].text.split("Ask with any picture")[0].split("Use ", 1)
    assert len(before.split()) < 12 and f"Use {summary}".startswith(advice.advice[:60])
    assert "26 pictures can be searched. 1 more file looks like a picture but cannot be used" in summary
    right, chance = map(int, re.search(r"For (\d+)% of the 26 .*by chance it would be (\d+)%", summary).groups())
    table = am.compare(advice.panel, progress=False).table.set_index("system")
    assert right == round(100 * table["P@1"][advice.system])
    sizes = pd.Series(collection.labels).value_counts()
    assert chance == round(100 * (sizes * (sizes - 1)).sum() / 26 / 25)


def test_the_command_prints_the_advice_and_how_to_follow_it(folder, kept, page, advice, run):
    assert f"Use {advice.system}" in page[2] and "Next: amulsearch index" in page[2]
    printed = json.loads(run("report", folder, "--store", kept, "--models", TWO[0], "--json").out)
    expected = am.views.write_report(folder, models=TWO[:1], store=kept, progress=False)
    assert printed["measure"] == "mAP" and printed["pictures"] == 26 and printed["system"] == expected.system
    assert [row["system"] for row in printed["systems"]] == expected.table["system"].tolist()


def test_the_chart_and_the_table_show_all_systems(advice, page):
    axis = am.plot.systems_chart(advice).axes[0]
    drawn = dict(zip((text.get_text() for text in axis.get_yticklabels()), axis.lines[0].get_xdata(), strict=True))
    measured = dict(zip(advice.table["system"], advice.table["mAP"], strict=True))
    assert drawn == {am.models.title(name): value for name, value in measured.items()}
    quality = page[1].text.split("Which system is best")[1].split("Near-duplicates")[0]
    for name, value in measured.items():
        assert name in quality and f"{value:.3f}" in quality
    assert all(kind in quality.split("by label, best first")[1] for kind in KINDS)


def test_the_map_and_the_neighbours_are_those_of_the_systems(collection, presets, page):
    data = data_of(page[0].read_text(encoding="utf-8"))
    assert data["ids"] == collection.ids
    assert [one["name"] for one in data["maps"]] == ["all networks", "squeezenet1_1"]
    names = ["same-kind", "same-thing", *am.models.BUNDLED, "vote", "rrf", "combsum"]
    assert [one["name"] for one in data["systems"]] == names
    assert "same-thing looks for the same thing, whoever drew it." in page[1].text
    for preset, shown in zip(presets, data["systems"], strict=False):
        rows = np.frombuffer(base64.b64decode(shown["rows"]), "<i4").reshape(-1, 8)
        assert np.array_equal(rows, preset.all_neighbours(8)[0])
    purity, chance = map(int, re.search(r"(\d+)% of a picture's.* chance level is (\d+)%", page[1].text).groups())
    assert purity > chance == round(100 * (20 * 4 + 6 * 5) / 26 / 25)
    assert data["network"] and [system["name"] for system in data["systems"] if system["compared"]] == ["squeezenet1_1"]


def test_a_large_folder_is_sampled_and_the_page_says_where(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "ANSWERED", 15)
    monkeypatch.setattr(report_parts, "JOINED", 20)
    path = tmp_path / "page.html"
    am.views.write_report(folder, path, models=TWO, sample=10, sees=False, progress=False)
    parts = Seen(path.read_text(encoding="utf-8")).text.split("Ask with any picture")[1]
    asked, _, parts = parts.partition("Which system is best")
    quality, _, copies = parts.partition("Near-duplicates")
    assert "A random sample of 15 of the 26 pictures." in asked
    assert "10 pictures query all others" in quality
    assert "A random sample of 20 of the 26 pictures." in copies
    data = data_of(path.read_text(encoding="utf-8"))
    assert data["network"] is None and len(data["ids"]) == 15
    assert set(data["ids"]) <= set(am.Collection.from_folder(folder).ids)


def test_an_interrupted_report_leaves_what_was_done(folder, tmp_path, monkeypatch):
    path = tmp_path / "page.html"

    def interrupt(*_):
        assert "(unfinished)" in path.read_text(encoding="utf-8")
        raise KeyboardInterrupt

    monkeypatch.setitem(report.PARTS, "quality", interrupt)
    with pytest.raises(KeyboardInterrupt):
        am.views.write_report(folder, path, models=TWO[0], progress=False)
    text = Seen(path.read_text(encoding="utf-8")).text
    assert "26 pictures in my pictures (unfinished)" in text
    assert "26 pictures can be searched" in text and "Ask with any picture" in text
    assert "Which system is best" not in text and "Contents of the folder" not in text
    assert [one.name for one in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_few_pictures_and_a_flat_folder_are_reported_as_far_as_there_are(folder, tmp_path, count):
    shutil.copytree(folder / KINDS[0], tmp_path / "few")
    for path in sorted((tmp_path / "few").iterdir())[count:]:
        path.unlink()
    page, store = tmp_path / "page.html", tmp_path / "store"
    advice = am.views.write_report(tmp_path / "few", page, models=TWO, store=store, progress=False)
    text = Seen(page.read_text(encoding="utf-8")).text
    assert f"{count} pictures can be searched" in text and "1 groups" not in text
    if count < 5:
        assert advice is None and "There are too few pictures to compare systems" in text
    else:
        assert advice.measure == "agreement" and "without labels, nothing says" in text
    assert len(am.features.FeatureSet.open(store)) == 9  # three layers of each network, and three views of one
