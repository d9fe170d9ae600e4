"""`amulsearch query --text`: what answers depends on what the store has."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import amulsearch as am
from amulsearch.cli import main

MODELS = ["squeezenet1_1", "tf_efficientnet_lite0"]
FOLDERS = {"animals/birds": "bird", "food/fruit": "fruit", "plants/flowers": "flower"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, copied):
    """A folder of cartoons, and the ids in it."""
    folder = copied(tmp_path_factory.mktemp("words") / "pictures", FOLDERS, 8)
    return folder, sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.webp"))


@pytest.fixture(scope="module")
def store(folder, tmp_path_factory):
    """A store with keywords: the name of what is in the folder, and "even" for every second picture."""
    folder, ids = folder
    base = tmp_path_factory.mktemp("stored")
    words = [FOLDERS[id.rpartition("/")[0]] + (";even" if place % 2 == 0 else "") for place, id in enumerate(ids)]
    pd.DataFrame({"id": ids, "keywords": words}).to_csv(base / "words.csv", index=False)
    more = ["--keywords", str(base / "words.csv"), "--models", ",".join(MODELS)]
    assert main(["index", str(folder), "--store", str(base / "store"), *more]) == 0
    return str(base / "store")


@pytest.fixture
def ask(run):
    return lambda *arguments: json.loads(run("query", *arguments, "--json").out)


def ids_of(answer: dict) -> list[str]:
    return [one["id"] for one in answer["results"]]


def test_words_find_keywords(store, ask, folder, run):
    answer = ask("--text", "Birds", "--store", store, "-k", 8)
    assert answer["how"] == "by the keywords of the pictures" and answer["text"] == "Birds" and answer["query"] is None
    assert {id.rpartition("/")[0] for id in ids_of(answer)} == {"animals/birds"}
    assert [one["rank"] for one in answer["results"]] == list(range(1, 9))
    assert {(one["model"], one["layer"]) for one in answer["results"]} == {("keywords", "keywords")}
    odd = ids_of(ask("--text", "bird", "--avoid", "even", "--store", store, "-k", 8))
    assert odd == [id for place, id in enumerate(folder[1]) if id.startswith("animals/birds") and place % 2]
    said = run("query", "--text", "bird", "--store", store, "-k", 2)
    assert said.err == "found by the keywords of the pictures\n" and said.out.startswith("keywords: the greater")


@pytest.mark.parametrize("inside", [True, False])
def test_words_and_a_picture_find_what_looks_like_it_among_the_carriers(store, ask, folder, tmp_path, inside):
    folder, ids = folder
    query = ids[0]  # a bird
    if not inside:
        picture = Image.open(folder / query).convert("RGBA").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        picture.save(tmp_path / "new.png")
    given = query if inside else tmp_path / "new.png"
    answer = ask(given, "--text", "flower", "--store", store, "-k", 8, "--models", MODELS[0])
    assert answer["how"] == "by the keywords of the pictures, and among these by the picture"
    features = am.features.FeatureSet.open(store)[MODELS[0], "penultimate"]
    vector = features.vector(query) if inside else am.embed(picture, MODELS[0], "penultimate")["penultimate"][0]
    cosine = am.features.l2_normalize(features.vectors) @ (vector / np.linalg.norm(vector))
    flowers = [row for row in np.argsort(-cosine) if features.ids[row].startswith("plants/flowers")]
    assert ids_of(answer) == [features.ids[row] for row in flowers]


def test_two_networks_answer_words_and_a_picture_together(store, ask, folder, run):
    bird = folder[1][0]
    answer = ask(bird, "--text", "fruit bird", "--store", store, "-k", 6, "--fuse", "combsum")
    assert bird not in ids_of(answer) and not any(id.startswith("plants") for id in ids_of(answer))
    assert answer["results"][0]["model"] == MODELS and len(answer["results"]) == 6
    each = ask(bird, "--text", "fruit bird", "--store", store, "-k", 6)["results"]
    assert [one["model"] for one in each] == [MODELS[0]] * 6 + [MODELS[1]] * 6
    text = run("query", bird, "--text", "fruit", "--store", store).out
    assert text.index("combsum of 2, all networks together") < text.index(f"\n{MODELS[0]}\n")


def test_without_keywords_and_a_text_tower_it_says_what_to_do(folder, tmp_path, run):
    store = tmp_path / "store"
    run("index", folder[0], "--store", store, "--models", MODELS[1], "--layers", "logits")
    said = "there are neither keywords nor a network with a text tower: index again with --keywords FILE.csv, or with"
    error = run("query", "--text", "banana", "--store", store, status=2).err
    assert error == f"amulsearch: {said} --models open_clip/REPOSITORY\n"


def test_keywords_stay_when_the_folder_is_indexed_again_without_them(folder, tmp_path, ask, run):
    """Also those of a picture that has changed; a new picture has none."""
    pictures = shutil.copytree(folder[0], tmp_path / "pictures")
    ids, store = folder[1], str(tmp_path / "store")
    pd.DataFrame({"path": ids[:4], "keywords": ["one", "one;two", "two", "one"]}).to_csv(tmp_path / "words.csv")
    index = ["index", str(pictures), "--store", store, "--models", MODELS[0], "--layers", "penultimate"]
    run(*index, "--keywords", tmp_path / "words.csv")
    shutil.copy(pictures / ids[10], pictures / "food/fruit/new.webp")
    shutil.copy(pictures / ids[11], pictures / ids[0])
    run(*index)
    assert sorted(ids_of(ask("--text", "one", "--store", store))) == [ids[0], ids[1], ids[3]]
    error = run("query", ids[2], "--text", "two", "--avoid", "one", "--store", store, status=2).err
    assert f"no picture but {ids[2]!r} itself fits the words 'two': look for others" in error
    collection = am.Store.open(store).collection()
    assert collection.keywords["food/fruit/new.webp"] == [] and len(collection) == len(ids) + 1
    (tmp_path / "words.csv").write_text(f"id,keywords\n{ids[7]},three\n")
    run(*index, "--keywords", tmp_path / "words.csv")
    assert {id: words for id, words in am.Store.open(store).collection().keywords.items() if words} == {
        ids[7]: ["three"]
    }


def test_the_grid_has_the_words_in_place_of_a_picture(store, tmp_path, run):
    run("query", "--text", "red bird", "--store", store, "--grid", tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as image:
        image.load()
        assert image.width > 2 * image.height


@pytest.mark.parametrize(
    "arguments, told",
    [
        ([], "give a picture, an id of the collection, or words: --text WORDS"),
        (["--avoid", "red", "PICTURE"], "--avoid goes with --text"),
        (["--text", " "], "give at least one word to look for"),
        (["--text", "bird", "--preset", "same-kind"], "leave out --preset"),
        (["--text", "brid"], "no picture has the keyword brid"),
        (["--text", "bird", "none.png"], "is neither a file nor an id"),
        (["--text", "bird", "PICTURE", "--layer", "logit"], "has no index of any model logit (did you mean logits?)"),
        (["--text", "bird", "PICTURE", "--models", "alexnet"], "has no index of alexnet penultimate"),
    ],
)
def test_errors_are_one_line(arguments, told, store, folder, run):
    arguments = [folder[1][0] if one == "PICTURE" else one for one in arguments]
    said = run("query", *arguments, "--store", store, status=2).err.splitlines()
    assert len(said) == 1 and said[0].startswith("amulsearch: ") and told in said[0]
