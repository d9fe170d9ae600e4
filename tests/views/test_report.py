"""The report: contents of the folder, rejected files, near-duplicates, map, grids and evaluation."""

import base64
import re
import shutil
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_answers import data_of
from test_page import Seen

import amulsearch as am
from amulsearch.cli import main
from amulsearch.views import report

KINDS = ("animals/birds", "buildings/homes", "food/fruit", "transportation/roadsigns")


@pytest.fixture(scope="module")
def folder(copied, tmp_path_factory):
    """32 cartoons of four categories, a copy of one of them, a broken picture and a text file."""
    base = copied(tmp_path_factory.mktemp("report") / "my pictures", KINDS, 8)
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
    """The path and the parsed page that the command line wrote."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    assert main(["report", str(folder), "-o", str(path), "-k", "3", "--store", str(kept)]) == 0
    return path, Seen(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def collection(folder):
    return am.Collection.from_folder(folder)


@pytest.fixture(scope="module")
def features(collection, kept, page):
    return am.extract(collection, layers="penultimate", store=kept, progress=False)


@pytest.fixture(scope="module")
def graph(collection, kept, page):
    return am.systems.BEST.build(collection, store=kept, progress=False)


def test_the_intake_is_that_of_the_scan(collection, page):
    text = page[1].text
    assert f"{len(collection)} pictures in my pictures" in text
    assert "JPEG 1" in text and "WEBP 32" in text
    assert "broken <b>.png" in text and collection.rejected["reason"].iat[0] in text
    assert "not a picture: .txt: 1" in text
    assert [one["alt"] for one in page[1].of("img")[-33:]] == collection.ids
    assert page[0].stat().st_size < 3_000_000
    assert "unfinished" not in text and "A random sample" not in text


def test_a_copy_and_its_original_are_a_group(folder, page):
    original = next((folder / "food/fruit").glob("*.webp"))
    shown = [one["alt"] for one in page[1].of("img")][:-33]  # without the contact sheet
    group = shown[max(place for place, alt in enumerate(shown) if re.match(r"\d+: ", alt)) + 1 :]
    assert {f"food/fruit/{original.name}", "food/fruit/zz_copy.jpg"} <= set(group)
    assert re.search(r"[1-4] groups with \d+ pictures", page[1].text)
    contents = [path.read_bytes() for path in folder.rglob("*.webp")]
    same = sum(contents.count(one) > 1 for one in contents)  # the other copy is a JPEG
    assert same == 2 and "2 of these pictures are byte for byte the same as another in the group" in page[1].text


def test_the_summary_says_in_words_how_often_the_first_neighbour_is_right(collection, features, graph, page):
    text = page[1].text.split("Ask with any picture")[0]
    assert "33 pictures can be searched. 1 more file looks like a picture but cannot be used" in text
    right, chance = map(int, re.search(r"For (\d+)% of them.*by chance it would be (\d+)%", text).groups())
    others = {"preset best": graph}
    table = am.compare(features, fusions=("vote", "rrf", "combsum"), others=others, progress=False).table
    assert table["system"].iat[0] in text and right == round(100 * table["P@1"].iat[0])
    sizes = pd.Series(collection.labels).value_counts()
    assert chance == round(100 * (sizes * (sizes - 1)).sum() / 33 / 32)


def test_good_examples_come_before_hard_ones(collection, graph, page):
    label = dict(zip(collection.ids, collection.labels, strict=True))
    good = [
        one["alt"].removeprefix("query ")
        for one in Seen(page[0].read_text("utf-8").split("Where the networks differ most")[0]).of("img")
        if one["alt"].startswith("query ")
    ]
    assert "Where preset best is right" in page[1].text and len({label[id] for id in good}) == len(good) == 3
    for id in good:
        assert (graph.query(id, 3)["label"] == label[id]).all()


def test_the_map_holds_all_and_is_measured(collection, graph, page):
    data = data_of(page[0].read_text(encoding="utf-8"))
    assert data["ids"] == collection.ids
    assert [one["name"] for one in data["maps"]] == ["all networks", "squeezenet1_1"]
    names = ["preset best", *am.models.BUNDLED, "vote", "rrf", "combsum"]
    assert [one["name"] for one in data["systems"]] == names
    expected = graph.all_neighbours(8)[0]
    assert np.array_equal(np.frombuffer(base64.b64decode(data["systems"][0]["rows"]), "<i4").reshape(-1, 8), expected)
    purity, chance = map(int, re.search(r"(\d+)% of a picture's.* chance level is (\d+)%", page[1].text).groups())
    assert purity > chance
    assert chance == round(100 * (24 * 7 + 9 * 8) / 33 / 32)


def test_the_grids_are_where_networks_differ_most(collection, features, page):
    indexes = {name: am.ExactIndex.build(made) for (name, _), made in features.items()}
    lists = [index.all_neighbours(10)[0] for index in indexes.values()]
    shared = {
        id: sum(len({*one[row]} & {*other[row]}) for one, other in combinations(lists, 2))
        for row, id in enumerate(collection.ids)
    }
    good, hard = (Seen(part) for part in page[0].read_text("utf-8").split("Where the networks differ most"))
    before = {one["alt"].removeprefix("query ") for one in good.of("img") if one["alt"].startswith("query ")}
    asked = [one["alt"].removeprefix("query ") for one in hard.of("img") if one["alt"].startswith("query ")]
    assert shared[asked[0]] == min(count for id, count in shared.items() if id not in before)
    assert len({id.rpartition("/")[0] for id in asked}) == len(asked) == 3
    found = am.query_all(indexes, asked[0], 3)
    shown = [one["alt"] for one in hard.of("img")]
    place = shown.index(f"query {asked[0]}") + 1 + 3  # after the column of the preset
    expected = [f"{row.rank}: {row.id}" for table in found.values() for row in table.itertuples()]
    assert shown[place : place + 12] == expected
    assert "fused (combsum)" in page[1].text


def test_the_evaluation_is_that_of_evaluate(collection, features, page):
    relevance = am.Relevance.from_labels(collection.ids, collection.labels)
    mean = am.evaluate(features["squeezenet1_1", "penultimate"], relevance).mean()
    assert f"{mean['mAP']:.3f}" in page[1].text.split("Retrieval quality")[1]
    for kind in KINDS:
        assert kind in page[1].text.split("by label, best first")[1]


def test_a_large_folder_is_sampled_and_the_page_says_where(folder, tmp_path, monkeypatch):
    for name, value in (("JOINED", 30), ("ANSWERED", 20), ("ASKED", 10)):
        monkeypatch.setattr(report, name, value)
    path = am.views.write_report(folder, tmp_path / "page.html", models="squeezenet1_1,tf_efficientnet_lite0")
    page = Seen(path.read_text(encoding="utf-8"))
    parts = page.text.split("Ask with any picture")[1]
    asked, _, parts = parts.partition("Where squeezenet1_1 is right")
    examples, _, parts = parts.partition("Retrieval quality")
    quality, _, copies = parts.partition("Near-duplicates")
    assert "A random sample of 20 of the 33 pictures." in asked
    assert examples.count("A random sample of 10 of the 33 pictures.") == 2
    assert "10 pictures query all others" in quality and "A random sample of 10 of 33 pictures queried." in quality
    assert "A random sample of 30 of the 33 pictures." in copies
    data = data_of(path.read_text(encoding="utf-8"))
    assert len(data["ids"]) == 20 and set(data["ids"]) <= set(am.Collection.from_folder(folder).ids)


def test_an_interrupted_report_leaves_what_was_done(folder, tmp_path, monkeypatch):
    path = tmp_path / "page.html"

    def interrupt(*_):
        assert "(unfinished)" in path.read_text(encoding="utf-8")
        raise KeyboardInterrupt

    monkeypatch.setitem(report._PARTS, "quality", interrupt)
    with pytest.raises(KeyboardInterrupt):
        am.views.write_report(folder, path, models="squeezenet1_1", progress=False)
    text = Seen(path.read_text(encoding="utf-8")).text
    assert "33 pictures in my pictures (unfinished)" in text
    assert "33 pictures can be searched" in text and "Ask with any picture" in text
    assert "Retrieval quality" not in text and "Contents of the folder" not in text
    assert [one.name for one in tmp_path.iterdir()] == ["page.html"]


def test_a_flat_folder_and_one_network(folder, tmp_path, capsys):
    (tmp_path / "flat").mkdir()
    for path in sorted((folder / KINDS[0]).iterdir())[:2]:
        shutil.copy(path, tmp_path / "flat")
    store = tmp_path / "store"
    arguments = ["report", str(tmp_path / "flat"), "-o", str(tmp_path / "page.html"), "--models", "squeezenet1_1"]
    assert main([*arguments, "--store", str(store)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "page.html")
    text = Seen((tmp_path / "page.html").read_text(encoding="utf-8")).text
    assert "nothing says which results are right" in text and "there is no ground truth" in text
    assert am.features.FeatureSet.open(store)


@pytest.mark.parametrize("count, told", [(2, "nothing is measured"), (3, "the 2 pictures whose label another one has")])
def test_few_pictures_are_reported_as_far_as_there_are(folder, tmp_path, count, told):
    """Two pictures of a label and one of another: only two can say which neighbour is right, and none is hard."""
    for place, kind in enumerate((KINDS[0], KINDS[1], KINDS[0])[:count]):
        (tmp_path / "few" / kind).mkdir(parents=True, exist_ok=True)
        shutil.copy(sorted((folder / kind).iterdir())[place], tmp_path / "few" / kind)
    models = "squeezenet1_1,tf_efficientnet_lite0"
    path = am.views.write_report(tmp_path / "few", tmp_path / "page.html", models=models, progress=False)
    text = Seen(path.read_text(encoding="utf-8")).text
    assert told in text and "100% of their first" not in text and "1 groups" not in text


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["none", "-o", "page.html"], "none is not a folder"),
        (["empty", "-o", "page.html"], "no picture in empty can be used"),
        (["single", "-o", "page.html"], "a report needs at least two pictures, but only 1"),
        (["two", "-o", "none/page.html"], "cannot be written to none/page.html: No such file or directory"),
        (["two", "-o", "empty"], "empty is no name of a page"),
        (["two", "-o", "page.html", "--models", "resnet9000"], "no network 'resnet9000'"),
        (["two", "-o", "page.html", "-k", "0"], "must be an integer of at least 1"),
        (["two"], "-o"),
    ],
)
def test_what_cannot_be_reported_is_told_in_a_line(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, count in (("empty", 0), ("single", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        for number in range(count):
            Image.new("RGB", (40, 40), (90 * number, 0, 99)).save(tmp_path / name / f"{number}.png")
    try:
        status = main(["report", *arguments])
    except SystemExit as ended:  # usage errors
        status = ended.code
    *before, said = capsys.readouterr().err.strip().splitlines()
    assert status == 2
    assert before in ([], [f"scanning {arguments[0]}"]) and words in said
    assert not (tmp_path / "page.html").exists()
