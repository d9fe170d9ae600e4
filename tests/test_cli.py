"""The command line as a script sees it: output, errors in one line, and exit status."""

import json
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import amulsearch as am
from amulsearch.cli import main
from amulsearch.systems import METHODS

MODELS = ["squeezenet1_1", "tf_efficientnet_lite0"]


@pytest.fixture(scope="module")
def indexed(tmp_path_factory, copied):
    """A folder of cartoons, and the store that `amulsearch index` makes from it."""
    base = tmp_path_factory.mktemp("cli")
    folder, store = copied(base / "my pictures", ("animals/birds", "food/fruit"), 10), base / "store"
    assert main(["index", str(folder), "--store", str(store), "--models", ",".join(MODELS)]) == 0
    return folder, store


@pytest.fixture
def ask(indexed, run):
    """`query --json` as a function of the query and further arguments."""
    return lambda *arguments: json.loads(run("query", *arguments, "--store", indexed[1], "--json").out)


def first_id(folder):
    return am.Collection.from_folder(folder).ids[0]


def test_probabilities_and_novelty(copied, openclipart, tmp_path, run):
    """With five labels or more, each neighbour has a probability; a new picture has a p-value."""
    categories = ("animals/birds", "food/fruit", "people", "tools", "plants/flowers", "buildings/homes")
    folder, store = copied(tmp_path / "six", categories, 9), str(tmp_path / "store")
    asked = ["--store", store, "--models", "squeezenet1_1", "--layer", "penultimate", "-k", "5"]
    run("index", folder, *asked[:4], "--layers", "penultimate")
    id = first_id(folder)
    told = json.loads(run("query", id, *asked, "--json").out)
    features = am.features.FeatureSet.open(store)["squeezenet1_1", "penultimate"]
    index = am.systems.open_system(am.Store.open(store), "squeezenet1_1 penultimate")
    labels = am.Relevance.from_labels(features.ids, features.labels)
    expected = am.systems.calibrate(index, labels).probability([one["distance"] for one in told["results"]])
    assert [one["probability"] for one in told["results"]] == pytest.approx(expected.tolist())
    assert "p_value" not in told
    out = run("query", id, *asked).out
    assert "probability" in out and "Not unlike" not in out
    assert ("nothing is likely to fit" in out) == (expected < 0.1).any()
    new = str(sorted((openclipart / "animals/birds").iterdir())[20])
    p_value = json.loads(run("query", new, *asked, "--json").out)["p_value"]
    test = am.systems.NoveltyTest.build([features], sample=400)
    assert p_value == pytest.approx(test.p_value(new), abs=0.03)
    # An index without a calibration is built again with one.
    am.indexes.default_kind().build(features).save_in(am.Store.open(store), "squeezenet1_1 penultimate")
    assert "1 of 1 indexes built" in run("index", folder, *asked[:4], "--layers", "penultimate").out
    assert am.systems.open_system(am.Store.open(store), "squeezenet1_1 penultimate").calibration


def test_a_query_is_opened_as_its_collection(tmp_path, openclipart, run):
    """White icons on nothing, animations with an empty first frame, a name with a narrow space."""
    folder, store = tmp_path / "icons", str(tmp_path / "store")
    folder.mkdir()
    for place, box in enumerate([(8, 8, 30, 30), (20, 2, 38, 46), (2, 20, 60, 28)]):
        icon = Image.new("RGBA", (64, 48), (255, 255, 255, 0))
        icon.paste((255, 255, 255, 255), box)
        icon.save(folder / f"white\u202f{place}.png")
    for place, path in enumerate(sorted((openclipart / "animals/birds").iterdir())[:2]):
        frames = [Image.new("RGB", (64, 48)), Image.open(path).convert("RGB").resize((64, 48))]
        frames[0].save(folder / f"{place}.gif", save_all=True, append_images=frames[1:])
    whole = sorted((openclipart / "animals/birds").iterdir())[0].read_bytes()
    (folder / "cut.webp").write_bytes(whole[: len(whole) // 2])
    asked = ["--store", store, "--models", "squeezenet1_1"]
    index = ["index", folder, *asked, "--layers", "penultimate"]
    run(*index)
    run(*index, "--frame", "1", "--background", "black")
    collection = am.Store.open(store).collection()
    assert collection.opening == {"frame": 1, "background": "black", "max_pixels": 64_000_000}
    shutil.copy(folder / "0.gif", new := tmp_path / "new.gif")
    shutil.copy(folder / "white\u202f1.png", icon := tmp_path / "icon.png")
    by_name = am.systems.open_system(am.Store.open(store), "squeezenet1_1 penultimate")
    for path, id in ((new, "0.gif"), (icon, "white\u202f1.png")):
        first, second = json.loads(run("query", path, *asked, "-k", "2", "--json").out)["results"]
        assert first["id"] == id and first["distance"] < 0.01 and second["distance"] > 0.1
        assert by_name.query(path, 1)["id"].tolist() == [id]
    narrow = json.loads(run("query", folder / "white 1.png", *asked, "-k", "3", "--json").out)["results"]
    assert len({one["id"] for one in narrow} - {"white\u202f1.png"}) == 3
    assert by_name.query("white 1.png", 3)["id"].tolist() == by_name.query("white\u202f1.png", 3)["id"].tolist()
    # What is not said again stays, and a picture that is gone leaves the table although another one is rejected.
    (folder / "1.gif").unlink()
    (folder / "notes.txt").touch()
    told = run(*index)
    assert "4 pictures, 1 rejected, 0 extracted" in told.out and "passed over: not a picture: .txt: 1" in told.err
    again = am.Store.open(store).collection()
    assert again.opening == collection.opening and "1.gif" not in again
    assert "frame must be an integer of at least 0" in run(*index, "--frame", "-1", status=2).err


def test_the_results_of_several_networks_are_copied_once(indexed, ask, tmp_path):
    folder, _ = indexed
    out = tmp_path / "results"
    told = ask(first_id(folder), "-k", "3", "--copy-to", str(out))
    expected = {entry["id"] for entry in told["results"]}
    assert len(told["results"]) == 6  # of two networks, some of them the same
    assert {path.read_bytes() for path in out.iterdir()} == {(folder / id).read_bytes() for id in expected}


def test_without_a_command_the_help_is_shown(run):
    assert "find the pictures that are most similar" in run().out
    assert re.fullmatch(r"amulsearch \d+\.\d+\S*\n", run("--version").out)


def test_a_typing_error_gets_near_names(indexed, run):
    folder, store = indexed
    id = first_id(folder)
    wrong = id[:-6] + id[-5:]  # one letter is missing
    assert f"did you mean {id[:20]}" in run("query", wrong, "--store", store, status=2).err
    assert "did you mean" not in run("query", "qqqq", "--store", store, status=2).err
    for option, near in (("--models=squeezenet1_2", "squeezenet1_1"), ("--layer=penultimat", "penultimate")):
        error = run("query", id, "--store", store, option, status=2).err
        assert f"did you mean {near}" in error
        assert ("there is no network 'squeezenet1_2'" in error) == option.startswith("--models")


def lists_of(text):
    """The lists that `query` prints, by the first word of their titles: their columns, and the cells of each row."""
    found = {}
    for block in text.split("\n\n"):
        lines = block.strip().splitlines()
        at = next((place for place, line in enumerate(lines) if line.startswith("rank")), None)
        if at is not None:
            rows = [shlex.split(line) for line in lines[at + 1 :] if re.match(r" +\d", line)]
            found[lines[at - 1].partition(":")[0]] = lines[at].split(), rows
    return found


def test_the_text_begins_with_one_answer_of_all_networks(indexed, ask, run, monkeypatch):
    folder, store = indexed
    id = first_id(folder)
    fused, alone = ask(id, "--fuse", "combsum")["results"], ask(id)["results"]
    monkeypatch.chdir(folder.parent)
    text = run("query", id, "--store", store).out
    assert "the greater the score, the better" in text and "the smaller the distance, the nearer" in text
    assert not re.search(r"\.\d{4}", text)
    lists = lists_of(text)
    assert list(lists) == ["combsum of 2, all networks together", *MODELS]
    columns, rows = lists.pop("combsum of 2, all networks together")
    assert columns == ["rank", "score", "votes", "path"]
    assert [row[-1] for row in rows] == [f"my pictures/{entry['id']}" for entry in fused]
    assert [float(row[1]) for row in rows] == pytest.approx([entry["score"] for entry in fused], abs=6e-4)
    printed = [(name, *row) for name, (_, rows) in lists.items() for row in rows]
    assert printed == [
        (one["model"], str(one["rank"]), f"{one['distance']:.3f}", f"my pictures/{one['id']}") for one in alone
    ]
    monkeypatch.chdir(folder)
    ((name, (_, rows)),) = lists_of(run("query", id, "--store", store, "--models", MODELS[0]).out).items()
    # There is nothing to combine.
    assert name == MODELS[0] and [row[-1] for row in rows] == [one["id"] for one in alone[:4]]
    monkeypatch.chdir(store)
    (_, (row,)) = lists_of(run("query", id, "--store", store, "--fuse", "rrf", "-k", "1").out)["rrf of 2"]
    assert row[-1] == str(folder.resolve() / ask(id, "--fuse", "rrf")["results"][0]["id"])


def test_a_preset_that_is_indexed_answers_first(indexed, tmp_path, run):
    folder, store, id = tmp_path / "copy", str(tmp_path / "store"), first_id(indexed[0])
    shutil.copytree(indexed[0], folder)
    query, index = ["query", id, "--store", store], ["index", str(folder), "--store", store]
    one_network = ["--models", MODELS[0], "--layers", "penultimate"]
    assert f"Next: amulsearch query {id} --store {store}\n" in run(*index, "--preset", "same-kind").out
    best = json.loads(run(*query, "--preset", "same-kind", "--json").out)
    assert json.loads(run(*query, "--json").out) == best  # there is nothing else
    run(*index, *one_network)
    lists = lists_of(run(*query).out)
    assert list(lists) == ["same-kind, all networks together", MODELS[0]]
    rows = lists["same-kind, all networks together"][1]
    assert [(row[1], row[-1]) for row in rows] == [
        (f"{one['distance']:.3f}", shlex.quote(one["path"])) for one in best["results"]
    ]
    run(*index, "--preset", "same-thing", "--models", MODELS[0])
    fused = json.loads(run(*query, "--fuse", "rrf", "--json").out)["results"]
    assert fused[0]["model"] == [MODELS[0]]  # not the preset, which combines networks already
    systems = json.loads(run("evaluate", "--store", store, "--json").out)["systems"]
    (alone,) = json.loads(run("evaluate", "--store", store, "--preset", "same-kind", "--json").out)["systems"]
    assert alone in systems and alone["model"] == "same-kind"
    (folder / id).unlink()
    other = first_id(folder)
    run(*index, *one_network)
    with pytest.warns(UserWarning, match="the preset same-kind is left out"):
        told = run("query", other, "--store", store)  # the preset still has the picture
    assert list(lists_of(told.out)) == [MODELS[0]]


def test_models_are_listed_with_their_readiness(run):
    printed, table = run("models").out, json.loads(run("models", "--json").out)
    assert {entry["name"] for entry in table} == set(am.models.TABLE)
    assert all(entry["ready"] for entry in table if entry["name"] in am.models.BUNDLED)
    assert all(entry["name"] in printed and entry["licence"] in printed for entry in table)
    assert {entry["ImageNet"] is None for entry in table if entry["group"] == "bundled"} == {True}


def test_query_json_is_the_contract(indexed, ask):
    folder, _ = indexed
    id = first_id(folder)
    answer = ask(id)
    assert answer["query"] == id
    assert [(entry["model"], entry["rank"]) for entry in answer["results"]] == [
        (model, rank) for model in MODELS for rank in (1, 2, 3, 4)
    ]
    features = am.extract(am.Collection.from_folder(folder), MODELS, "penultimate")
    for model in MODELS:
        expected = am.ExactIndex.build(features[model, "penultimate"]).query(id, 4)
        mine = [entry for entry in answer["results"] if entry["model"] == model]
        assert [entry["id"] for entry in mine] == expected["id"].tolist()
        np.testing.assert_allclose([entry["distance"] for entry in mine], expected["distance"], rtol=1e-3)
        for entry in mine:
            assert set(entry) == {"rank", "id", "path", "distance", "model", "layer"}
            assert entry["layer"] == "penultimate"
            assert entry["path"] == str((folder / entry["id"]).resolve())
    fused = ask(id, "--fuse", "vote", "-k", "6")["results"]
    scores = [entry["score"] for entry in fused]
    assert [entry["rank"] for entry in fused] == [1, 2, 3, 4, 5, 6] and scores == sorted(scores, reverse=True)
    assert all(set(entry) == {"rank", "id", "path", "score", "model", "layer"} for entry in fused)
    assert all(entry["model"] == MODELS for entry in fused)


def test_a_path_into_the_collection_is_its_id_and_a_new_picture_is_not(indexed, ask, tmp_path):
    folder, _ = indexed
    id = first_id(folder)
    by_id, by_path = ask(id)["results"], ask(folder / id)["results"]
    assert by_id == by_path
    assert id not in [entry["id"] for entry in by_id]
    shutil.copy(folder / id, tmp_path / "copy.webp")
    new = ask(tmp_path / "copy.webp", "--models", MODELS[0], "-k", "1", "--layer", "logits")["results"]
    assert [(entry["id"], entry["layer"]) for entry in new] == [(id, "logits")]
    assert new[0]["distance"] == pytest.approx(0, abs=0.02)


def test_evaluate_measures_what_is_stored(indexed, run):
    folder, store = indexed
    answer = json.loads(run("evaluate", "--store", store, "--json").out)
    assert (answer["queries"], answer["excluded"]) == (20, 0)
    features = am.extract(am.Collection.from_folder(folder), MODELS, ["logits", "penultimate"])
    fused = {(f"{method} of 2", "penultimate") for method in ("vote", "combsum")}
    systems = {(system["model"], system["layer"]): system for system in answer["systems"]}
    assert set(systems) == {*features, *fused}
    means = [system["mAP"] for system in answer["systems"]]
    assert means == sorted(means, reverse=True)
    assert answer["chance"] == pytest.approx(9 / 19)
    relevance = am.Relevance.from_labels(features.collection.ids, features.collection.labels)
    for (name, layer), system in systems.items():
        if (name, layer) in fused:
            method = name.partition(" ")[0]
            parts = [features[model, layer] for model in MODELS]
            expected = am.evaluate(am.Fusion(parts, method), relevance).mean()
            assert {key: system[key] for key in expected.index} == pytest.approx(expected.to_dict())
            continue
        own = features[name, layer]
        first = [
            am.ExactIndex.build(own).query(id, 1)["label"].iat[0] == label
            for id, label in zip(own.ids, own.labels, strict=True)
        ]
        assert system["P@1"] == pytest.approx(np.mean(first), abs=0.051)
        assert system["mAP_low"] < system["mAP"] < system["mAP_high"]
    text = run("evaluate", "--store", store).out
    assert "20 queries" in text and "chance level: 0.474" in text and "vote ranks no more than" in text


def test_evaluate_says_what_it_leaves_out(indexed, copied, tmp_path, run):
    folder, store = indexed
    ids = am.Collection.from_folder(folder, progress=False).ids
    judgements = am.measure.Judgements(tmp_path / "judgements.csv")
    for id, relevance in ((ids[1], 1), (ids[-1], 0), ("gone.png", 1)):
        judgements.add(ids[0], id, relevance)
    judgements.add("birds", ids[1], 1)
    evaluate = ["evaluate", "--store", store, "--judgements", judgements.path]
    out, err = run(*evaluate)
    assert "2 of 4 judgements are left out: their query or their picture is not in the store" in err
    assert out.startswith("1 queries, 19 excluded")
    judgements.add(ids[0], ids[-1], None)
    assert "judge some of both" in run(*evaluate, status=2).err

    few = copied(tmp_path / "few", ["animals/birds", "food/fruit"], 2)
    shutil.copy(sorted(few.glob("animals/birds/*"))[0], few / "b.webp")
    run("index", few, "--store", tmp_path / "store", "--models", MODELS[0])
    out = run("evaluate", "--store", tmp_path / "store").out
    assert "4 queries, 1 excluded" in out and "chance level: 0.333" in out and "1 pictures have no label" in out


def test_grid_is_a_picture_with_a_column_a_model_and_the_name_of_a_new_one(indexed, tmp_path, run, monkeypatch):
    folder, store = indexed
    sizes = {}
    for name, models in (("one", MODELS[:1]), ("two", MODELS)):
        file = tmp_path / f"{name}.png"
        query = ["query", first_id(folder), "--store", store, "--models", ",".join(models)]
        assert run(*query, "--grid", file).out.strip() == str(file)
        sizes[name] = Image.open(file).size
    assert sizes["one"][0] > 2 * sizes["one"][1]  # a row
    assert sizes["two"][0] < sizes["two"][1]
    shutil.copy(folder / first_id(folder), new := tmp_path / "my photo.webp")
    captions = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: captions.append(self.axes[0].texts[0].get_text()))
    run("query", new, "--store", store, "--models", MODELS[0], "--grid", tmp_path / "grid.png")
    assert captions == ["query\nmy photo"]


def test_indexing_again_extracts_only_what_changed(indexed, run):
    folder, store = indexed
    index = ["index", folder, "--store", store, "--models", ",".join(MODELS)]
    assert "20 pictures, 0 rejected, 0 extracted, 0 of 4 indexes built" in run(*index).out
    path = folder / first_id(folder)
    before = path.read_bytes()
    Image.open(path).rotate(90).save(path)
    assert "20 pictures, 0 rejected, 1 extracted, 4 of 4 indexes built" in run(*index).out
    path.write_bytes(before)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    captured = run(*index)
    assert "20 pictures, 1 rejected, 0 extracted" in captured.out  # the picture of before is still known
    assert captured.err.startswith(f"scanning {shlex.quote(str(folder))}\n20 pictures: ")
    last = captured.out.splitlines()[-1]
    assert last.startswith("Next: amulsearch query ")
    assert shlex.split(last)[3:] == [first_id(folder), "--store", str(store)]
    assert captured.err.splitlines()[-1].startswith("rejected broken.png: ")
    (folder / "broken.png").unlink()
    run(*index)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["query", "nothing.png", "--store", "STORE"], "neither a file nor an id"),
        (["query", "FIRST", "--store", "NOWHERE"], "is not a store"),
        (["query", "FIRST", "--store", "STORE", "-k", "20"], "k=20 is more than the 19"),
        (["query", "FIRST", "--store", "STORE", "-k", "0"], "must be an integer of at least 1"),
        (["query", "FIRST", "--store", "STORE", "-k", "x"], "must be an integer of at least 1"),
        (["query", "FIRST", "--store", "STORE", "--layer", "features.3"], "it has squeezenet1_1 logits"),
        (["query", "FIRST", "--store", "STORE", "--models", "vgg19"], "no index of vgg19"),
        (["query", "FIRST", "--store", "STORE", "--models", "nonet"], "there is no network 'nonet'"),
        (["query", "FIRST", "--store", "STORE", "--fuse", "mean"], "vote"),
        (["query", "FIRST", "--store", "STORE", "--grid", "NOWHERE/grid.png"], "cannot be written"),
        (["query", "TEXT", "--store", "STORE"], "not a picture"),
        (["evaluate", "--store", "STORE", "--preset", "same-kind"], "the preset same-kind is not indexed"),
        (["query", "FOLDER", "--store", "STORE"], "not a regular file"),
        (["index", "NOWHERE", "--store", "STORE"], "is not a folder"),
        (["index", "FOLDER", "--store", "STORE", "--models", "squeezenet1_1", "--layers", "fc"], "no layer 'fc"),
        (["index", "EMPTY", "--store", "STORE"], "no picture in"),
        (["index"], "required"),
        (["nonsense"], "invalid choice"),
    ],
)
def test_an_error_is_one_line_and_status_2(arguments, words, indexed, tmp_path, run):
    folder, store = indexed
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("no picture")
    stands_for = {
        "STORE": str(store),
        "FIRST": first_id(folder),
        "FOLDER": str(folder),
        "NOWHERE": str(tmp_path / "nowhere"),
        "TEXT": str(tmp_path / "text.png"),
        "EMPTY": str(tmp_path / "empty"),
    }
    given = [stands_for.get(word, word.replace("NOWHERE", stands_for["NOWHERE"])) for word in arguments]
    told = run(*given, status=2).err
    message = told.replace("\r", "\n").strip().splitlines()[-1]
    assert message.startswith("amulsearch: ") and words in message and "Traceback" not in told


def test_a_model_without_weights_and_network_says_what_to_do(indexed, tmp_path, run, monkeypatch):
    """Through a proxy that cannot be reached, a download fails as it does without a network."""
    monkeypatch.setenv("AMULSEARCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    told = run("index", indexed[0], "--store", tmp_path / "new", "--models", "resnet152", status=2)
    message = told.err.strip().splitlines()[-1]
    assert "resnet152-394f9c45.pth" in message and str(tmp_path / "weights") in message
    assert "Traceback" not in told.err


def test_query_by_id_imports_neither_torch_nor_matplotlib(indexed):
    program = (
        "import sys\nfrom amulsearch.cli import main\n"
        f"assert main(['query', {first_id(indexed[0])!r}, '--store', {str(indexed[1])!r}, '--fuse', 'rrf']) == 0\n"
        "print([name for name in ('torch', 'matplotlib', 'faiss', 'nmslib', 'hnswlib') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_and_errors_of_usage_load_no_library():
    given = [["--help"], ["query", "--help"], ["query"], ["index", ".", "--framing", "none"]]
    code = (
        "import sys\nfrom amulsearch.cli import main\n"
        f"for arguments in {given}:\n"
        "    try:\n        main(arguments)\n    except SystemExit:\n        pass\n"
        "    print('loaded', [name for name in ('numpy', 'pandas', 'PIL') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("loaded []\n") == len(given)


def test_the_command_line_offers_what_the_library_has():
    from amulsearch import cli
    from amulsearch.models import FRAMINGS

    assert (*METHODS,) == cli.METHODS and (*FRAMINGS,) == cli.FRAMINGS and (*am.systems.PRESETS,) == cli.PRESETS
