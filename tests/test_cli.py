"""The command line as a script sees it: output, errors in one line, and exit status."""

import json
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import amulsearch as am
from amulsearch.cli import main
from amulsearch.measure.ensemble import METHODS

MODELS = ["squeezenet1_1", "tf_efficientnet_lite0"]


@pytest.fixture(scope="module")
def indexed(tmp_path_factory, copied):
    """A folder of cartoons, and the store that `amulsearch index` makes from it."""
    base = tmp_path_factory.mktemp("cli")
    folder, store = copied(base / "my pictures", ("animals/birds", "food/fruit"), 10), base / "store"
    assert main(["index", str(folder), "--store", str(store), "--models", ",".join(MODELS)]) == 0
    return folder, store


@pytest.fixture
def ask(indexed, capsys):
    """`query --json` as a function of the query and further arguments."""

    def ask(query, *arguments):
        capsys.readouterr()
        assert main(["query", str(query), "--store", str(indexed[1]), "--json", *arguments]) == 0
        return json.loads(capsys.readouterr().out)

    return ask


def first_id(folder):
    return am.Collection.from_folder(folder).ids[0]


def test_probabilities_and_novelty(copied, openclipart, tmp_path, capsys):
    """With five labels or more, each neighbour has a probability; a new picture has a p-value."""
    categories = ("animals/birds", "food/fruit", "people", "tools", "plants/flowers", "buildings/homes")
    folder, store = copied(tmp_path / "six", categories, 9), str(tmp_path / "store")
    asked = ["--store", store, "--models", "squeezenet1_1", "--layer", "penultimate", "-k", "5"]
    assert main(["index", str(folder), *asked[:4], "--layers", "penultimate"]) == 0
    id = first_id(folder)
    capsys.readouterr()
    assert main(["query", id, *asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    features = am.features.FeatureSet.open(store)["squeezenet1_1", "penultimate"]
    index = am.indexes.open_default(am.Store.open(store), "squeezenet1_1 penultimate")
    labels = am.Relevance.from_labels(features.ids, features.labels)
    expected = am.measure.calibrate(index, labels).probability([one["distance"] for one in told["results"]])
    assert [one["probability"] for one in told["results"]] == pytest.approx(expected.tolist())
    assert "p_value" not in told
    assert main(["query", id, *asked]) == 0
    out = capsys.readouterr().out
    assert "probability" in out and "Not unlike" not in out
    assert ("nothing is likely to fit" in out) == (expected < 0.1).any()
    new = str(
        openclipart / "animals/birds" / sorted(path.name for path in (openclipart / "animals/birds").iterdir())[20]
    )
    assert main(["query", new, *asked, "--json"]) == 0
    test = am.indexes.NoveltyTest.build([features], sample=400)
    assert json.loads(capsys.readouterr().out)["p_value"] == pytest.approx(test.p_value(new), abs=0.03)
    # An index without a calibration is built again with one.
    am.indexes.default_kind().build(features).save_in(am.Store.open(store), "squeezenet1_1 penultimate")
    assert main(["index", str(folder), *asked[:4], "--layers", "penultimate"]) == 0
    assert "1 of 1 indexes built" in capsys.readouterr().out
    assert am.indexes.open_default(am.Store.open(store), "squeezenet1_1 penultimate").calibration


def test_a_query_is_opened_as_its_collection(tmp_path, openclipart, capsys):
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
    index = ["index", str(folder), *asked, "--layers", "penultimate"]
    assert main(index) == 0
    assert main([*index, "--frame", "1", "--background", "black"]) == 0
    collection = am.Store.open(store).collection()
    assert collection.opening == {"frame": 1, "background": "black", "max_pixels": 64_000_000}
    shutil.copy(folder / "0.gif", new := tmp_path / "new.gif")
    shutil.copy(folder / "white\u202f1.png", icon := tmp_path / "icon.png")
    by_name = am.indexes.open_default(am.Store.open(store), "squeezenet1_1 penultimate")
    for path, id in ((new, "0.gif"), (icon, "white\u202f1.png")):
        capsys.readouterr()
        assert main(["query", str(path), *asked, "-k", "2", "--json"]) == 0
        first, second = json.loads(capsys.readouterr().out)["results"]
        assert first["id"] == id and first["distance"] < 0.01 and second["distance"] > 0.1
        assert by_name.query(path, 1)["id"].tolist() == [id]
    capsys.readouterr()
    assert main(["query", str(folder / "white 1.png"), *asked, "-k", "3", "--json"]) == 0
    assert len({one["id"] for one in json.loads(capsys.readouterr().out)["results"]} - {"white\u202f1.png"}) == 3
    assert by_name.query("white 1.png", 3)["id"].tolist() == by_name.query("white\u202f1.png", 3)["id"].tolist()
    # What is not said again stays, and a picture that is gone leaves the table although another one is rejected.
    (folder / "1.gif").unlink()
    (folder / "notes.txt").touch()
    assert main(index) == 0
    told = capsys.readouterr()
    assert "4 pictures, 1 rejected, 0 extracted" in told.out and "passed over: not a picture: .txt: 1" in told.err
    again = am.Store.open(store).collection()
    assert again.opening == collection.opening and "1.gif" not in again
    assert main([*index, "--frame", "-1"]) == 2
    assert "frame must be an integer of at least 0" in capsys.readouterr().err


def test_results_are_copied_and_nothing_is_overwritten(indexed, ask, tmp_path, capsys):
    folder, _ = indexed
    out = tmp_path / "results"
    told = ask(first_id(folder), "-k", "3", "--copy-to", str(out))
    expected = {entry["id"] for entry in told["results"]}
    assert len(told["results"]) == 6  # of two networks, some of them the same
    assert {path.read_bytes() for path in out.iterdir()} == {(folder / id).read_bytes() for id in expected}
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    ask(first_id(folder), "-k", "3", "--copy-to", str(out))
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    (tmp_path / "file").touch()
    assert main(["query", first_id(folder), "--store", str(indexed[1]), "--copy-to", str(tmp_path / "file")]) == 2
    assert "is a file: give a folder" in capsys.readouterr().err


def test_without_a_command_the_help_is_shown(capsys):
    assert main([]) == 0
    assert "find the pictures that are most similar" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0 and re.fullmatch(r"amulsearch \d+\.\d+\S*\n", capsys.readouterr().out)


def test_a_typing_error_gets_near_names(indexed, capsys):
    folder, store = indexed
    id = first_id(folder)
    wrong = id[:-6] + id[-5:]  # one letter is missing
    assert main(["query", wrong, "--store", str(store)]) == 2
    assert f"did you mean {id[:20]}" in capsys.readouterr().err
    assert main(["query", "qqqq", "--store", str(store)]) == 2
    assert "did you mean" not in capsys.readouterr().err
    for option, near in (("--models=squeezenet1_2", "squeezenet1_1"), ("--layer=penultimat", "penultimate")):
        assert main(["query", id, "--store", str(store), option]) == 2
        error = capsys.readouterr().err
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


def test_the_text_begins_with_one_answer_of_all_networks(indexed, ask, capsys, monkeypatch):
    folder, store = indexed
    id = first_id(folder)
    fused, alone = ask(id, "--fuse", "combsum")["results"], ask(id)["results"]
    monkeypatch.chdir(folder.parent)
    assert main(["query", id, "--store", str(store)]) == 0
    text = capsys.readouterr().out
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
    assert main(["query", id, "--store", str(store), "--models", MODELS[0]]) == 0
    ((name, (_, rows)),) = lists_of(capsys.readouterr().out).items()  # nothing to combine
    assert name == MODELS[0] and [row[-1] for row in rows] == [one["id"] for one in alone[:4]]
    monkeypatch.chdir(store)
    assert main(["query", id, "--store", str(store), "--fuse", "rrf", "-k", "1"]) == 0
    (_, (row,)) = lists_of(capsys.readouterr().out)["rrf of 2"]
    assert row[-1] == str(folder.resolve() / ask(id, "--fuse", "rrf")["results"][0]["id"])


def test_a_preset_that_is_indexed_answers_first(indexed, tmp_path, capsys):
    folder, store, id = tmp_path / "copy", str(tmp_path / "store"), first_id(indexed[0])
    shutil.copytree(indexed[0], folder)
    query, index = ["query", id, "--store", store], ["index", str(folder), "--store", store]
    assert main([*index, "--preset", "best"]) == 0
    assert f"Next: amulsearch query {id} --store {store}\n" in capsys.readouterr().out
    assert main([*query, "--preset", "best", "--json"]) == 0
    best = json.loads(capsys.readouterr().out)
    assert main([*query, "--json"]) == 0  # there is nothing else
    assert json.loads(capsys.readouterr().out) == best
    assert main([*index, "--models", MODELS[0], "--layers", "penultimate"]) == 0
    capsys.readouterr()
    assert main(query) == 0
    lists = lists_of(capsys.readouterr().out)
    assert list(lists) == ["preset best, all networks together", MODELS[0]]
    rows = lists["preset best, all networks together"][1]
    assert [(row[1], row[-1]) for row in rows] == [
        (f"{one['distance']:.3f}", shlex.quote(one["path"])) for one in best["results"]
    ]
    assert main(["evaluate", "--store", store, "--json"]) == 0
    systems = json.loads(capsys.readouterr().out)["systems"]
    assert main(["evaluate", "--store", store, "--preset", "best", "--json"]) == 0
    (alone,) = json.loads(capsys.readouterr().out)["systems"]
    assert alone in systems and alone["model"] == "best"
    (folder / id).unlink()
    other = first_id(folder)
    assert main([*index, "--models", MODELS[0], "--layers", "penultimate"]) == 0
    capsys.readouterr()
    assert main(["query", other, "--store", store]) == 0  # the preset still has the picture
    told = capsys.readouterr()
    assert "the preset best is left out" in told.err and list(lists_of(told.out)) == [MODELS[0]]


def test_models_are_listed_with_their_readiness(capsys):
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    assert main(["models", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
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


@pytest.mark.parametrize("method", METHODS)
def test_fused_query_has_one_entry_a_rank(method, ask, indexed):
    answer = ask(first_id(indexed[0]), "--fuse", method, "-k", "6")
    assert [entry["rank"] for entry in answer["results"]] == [1, 2, 3, 4, 5, 6]
    scores = [entry["score"] for entry in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    for entry in answer["results"]:
        assert set(entry) == {"rank", "id", "path", "score", "model", "layer"}
        assert entry["model"] == MODELS


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


def test_evaluate_measures_what_is_stored(indexed, capsys):
    folder, store = indexed
    assert main(["evaluate", "--store", str(store), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["queries"], answer["excluded"]) == (20, 0)
    features = am.extract(am.Collection.from_folder(folder), MODELS, ["logits", "penultimate"])
    fused = {("vote of 2", "penultimate"), ("combsum of 2", "penultimate")}
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
            expected = am.evaluate(am.measure.fused_similarities(parts, method), relevance).mean()
            assert {key: system[key] for key in expected.index} == pytest.approx(expected.to_dict())
            continue
        own = features[name, layer]
        first = [
            am.ExactIndex.build(own).query(id, 1)["label"].iat[0] == label
            for id, label in zip(own.ids, own.labels, strict=True)
        ]
        assert system["P@1"] == pytest.approx(np.mean(first), abs=0.051)
        assert system["mAP_low"] < system["mAP"] < system["mAP_high"]
    assert main(["evaluate", "--store", str(store)]) == 0
    text = capsys.readouterr().out
    assert "20 queries" in text and "chance level: 0.474" in text and "vote ranks no more than" in text


def test_evaluate_says_what_it_leaves_out(indexed, copied, tmp_path, capsys):
    folder, store = indexed
    ids = am.Collection.from_folder(folder, progress=False).ids
    judgements = am.measure.Judgements(tmp_path / "judgements.csv")
    for id, relevance in ((ids[1], 1), (ids[-1], 0), ("gone.png", 1)):
        judgements.add(ids[0], id, relevance)
    evaluate = ["evaluate", "--store", str(store), "--judgements", str(judgements.path)]
    assert main(evaluate) == 0
    out, err = capsys.readouterr()
    assert "1 of 3 judgements are left out: their query or their picture is not in the store" in err
    assert out.startswith("1 queries, 19 excluded")
    judgements.add(ids[0], ids[-1], None)
    assert main(evaluate) == 2
    assert "judge some of both" in capsys.readouterr().err

    few = copied(tmp_path / "few", ["animals/birds", "food/fruit"], 2)
    shutil.copy(
        few / "animals" / "birds" / sorted(path.name for path in few.glob("animals/birds/*"))[0], few / "b.webp"
    )
    assert main(["index", str(few), "--store", str(tmp_path / "store"), "--models", MODELS[0]]) == 0
    assert main(["evaluate", "--store", str(tmp_path / "store")]) == 0
    out = capsys.readouterr().out
    assert "4 queries, 1 excluded" in out and "chance level: 0.333" in out and "1 pictures have no label" in out


def test_grid_is_a_picture_with_a_column_a_model(indexed, tmp_path, capsys):
    folder, store = indexed
    sizes = {}
    for name, models in (("one", MODELS[:1]), ("two", MODELS)):
        file = tmp_path / f"{name}.png"
        arguments = ["query", first_id(folder), "--store", str(store), "--models", ",".join(models)]
        assert main([*arguments, "--grid", str(file)]) == 0
        sizes[name] = Image.open(file).size
        assert capsys.readouterr().out.strip() == str(file)
    assert sizes["one"][0] > 2 * sizes["one"][1]  # a row
    assert sizes["two"][0] < sizes["two"][1]


def test_the_grid_of_a_new_picture_says_its_name(indexed, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    folder, store = indexed
    shutil.copy(folder / first_id(folder), tmp_path / "my photo.webp")
    captions = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: captions.append([axis.texts for axis in self.axes]))
    query = ["query", str(tmp_path / "my photo.webp"), "--store", str(store), "--models", MODELS[0]]
    assert main([*query, "--grid", str(tmp_path / "grid.png")]) == 0
    assert captions[0][0][0].get_text() == "query\nmy photo"


def test_indexing_again_extracts_only_what_changed(indexed, capsys):
    folder, store = indexed
    arguments = ["index", str(folder), "--store", str(store), "--models", ",".join(MODELS)]
    assert main(arguments) == 0
    assert "20 pictures, 0 rejected, 0 extracted, 0 of 4 indexes built" in capsys.readouterr().out
    path = folder / first_id(folder)
    before = path.read_bytes()
    Image.open(path).rotate(90).save(path)
    assert main(arguments) == 0
    assert "20 pictures, 0 rejected, 1 extracted, 4 of 4 indexes built" in capsys.readouterr().out
    path.write_bytes(before)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "20 pictures, 1 rejected, 0 extracted" in captured.out  # the picture of before is still known
    assert captured.err.startswith(f"scanning {shlex.quote(str(folder))}\n20 pictures: ")
    last = captured.out.splitlines()[-1]
    assert last.startswith("Next: amulsearch query ") and shlex.split(last)[3:] == [
        first_id(folder),
        "--store",
        str(store),
    ]
    assert captured.err.splitlines()[-1].startswith("rejected broken.png: ")
    (folder / "broken.png").unlink()
    assert main(arguments) == 0


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
        (["query", "FOLDER", "--store", "STORE"], "it is a folder"),
        (["index", "NOWHERE", "--store", "STORE"], "is not a folder"),
        (["index", "FOLDER", "--store", "STORE", "--models", "nonet"], "there is no network 'nonet'"),
        (["index", "FOLDER", "--store", "STORE", "--models", "squeezenet1_1", "--layers", "fc"], "no layer 'fc"),
        (["index", "FOLDER", "--store", "TEXT"], "is a file"),
        (["index", "EMPTY", "--store", "STORE"], "no picture in"),
        (["index"], "required"),
        (["nonsense"], "invalid choice"),
    ],
)
def test_an_error_is_one_line_and_status_2(arguments, words, indexed, tmp_path, capfd):
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
    try:
        status = main(given)
    except SystemExit as stopped:
        status = stopped.code
    captured = capfd.readouterr()
    message = captured.err.replace("\r", "\n").strip().splitlines()[-1]
    assert status == 2
    assert message.startswith("amulsearch: ")
    assert words in message
    assert "Traceback" not in captured.err


def test_a_model_without_weights_and_network_says_what_to_do(indexed, tmp_path):
    """In a process with an unreachable proxy, the download fails as it does without a network."""
    import os

    environment = {**os.environ, "AMULSEARCH_WEIGHTS": str(tmp_path / "weights"), "https_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "amulsearch", "index", str(indexed[0]), "--store", str(tmp_path / "new")]
    done = subprocess.run(
        [*command, "--models", "resnet152"], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 2
    message = done.stderr.strip().splitlines()[-1]
    for part in ("resnet152-394f9c45.pth", str(tmp_path / "weights"), *am.models.BUNDLED):
        assert part in message
    assert "Traceback" not in done.stderr


def test_query_by_id_imports_neither_torch_nor_matplotlib(indexed):
    program = (
        "import sys\nfrom amulsearch.cli import main\n"
        f"assert main(['query', {first_id(indexed[0])!r}, '--store', {str(indexed[1])!r}, '--fuse', 'rrf']) == 0\n"
        "print([name for name in ('torch', 'matplotlib', 'faiss', 'nmslib', 'hnswlib') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("arguments", [["--help"], ["query", "--help"], ["query"], ["index", ".", "--framing", "none"]])
def test_help_and_errors_of_usage_load_no_library(arguments):
    code = (
        "import sys\nfrom amulsearch.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print('loaded', [name for name in ('numpy', 'pandas', 'PIL') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded []"


def test_the_command_line_offers_what_the_library_has():
    from amulsearch import cli
    from amulsearch.models import FRAMINGS

    assert (*METHODS,) == cli.METHODS and (*FRAMINGS,) == cli.FRAMINGS and (am.BEST.name,) == cli.PRESETS
