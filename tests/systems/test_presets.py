"""The presets: on pictures that took no part in their choice, on a tiny folder, on the command line."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image, ImageOps
from safetensors.torch import save_file

import amulsearch as am
from amulsearch import open_image

TWO = am.models.BUNDLED[:2]


def test_better_than_one_network_and_than_joined_vectors_on_the_other_half(all_features, all_preset, course_store):
    """Several networks together beat one, and their joined vectors: the open question of the post."""
    cartoons = all_features.collection
    relevance = am.Relevance.from_labels(cartoons.ids, cartoons.labels)
    names = np.array(sorted(set(cartoons.labels)))
    chosen_on = set(names[np.random.default_rng(0).permutation(len(names))[: len(names) // 2]])
    queries = [id for id, label in zip(cartoons.ids, cartoons.labels, strict=True) if label not in chosen_on]
    parts = am.systems.SAME_KIND.reduced(am.systems.SAME_KIND.layers_of(cartoons, store=course_store, progress=False))
    assert [part.vectors.shape[1] for part in parts[::2]] == [256, 256, 256, 192, 256, 192, 256, 208]
    graph = am.evaluate(all_preset, relevance, queries=queries)
    whitened = [part for part in parts if part.fingerprint["layer"].endswith("whitened 0.5")]
    joined = am.evaluate(am.transforms.concatenate(whitened), relevance, queries=queries)
    single = am.evaluate(all_features["tf_efficientnet_lite2", "penultimate"], relevance, queries=queries)
    for metric in ("P@1", "P@5", "AP"):
        change = graph.compare(single, metric, by="label")
        assert change["low"] > 0.02 and change["p"] < 0.01, metric
    assert graph.compare(joined, "AP", by="label")["low"] > 0


def test_a_picture_of_the_collection_is_found_by_its_file(cartoons, preset):
    for id in cartoons.ids[::40]:
        assert id in preset.query(cartoons.open(id), 2)["id"].tolist()


def test_few_pictures(small_folder, tmp_path):
    few = am.Collection.from_folder(small_folder / "food", progress=False)
    recipe = am.preset(TWO)
    parts = recipe.reduced(recipe.layers_of(few, progress=False))
    assert len(parts) == 8 and {part.vectors.shape for part in parts} == {(8, 7), (8, 2)}
    index = am.Diffusion.build(parts)
    assert sorted(index.query(few.ids[0], 7)["id"]) == few.ids[1:]
    for path in sorted((small_folder / "food").rglob("*.webp"))[2:]:
        path.unlink()
    with pytest.raises(am.errors.QueryError, match="at least 3 pictures"):
        am.systems.SAME_KIND.build(am.Collection.from_folder(small_folder / "food", progress=False))


def test_both_questions_on_the_command_line(small_folder, tmp_path, run):
    store = ["--store", tmp_path / "store"]
    kind, models = [*store, "--preset", "same-kind"], ["--models", ",".join(TWO)]
    assert "32 pictures indexed with the preset same-kind" in run("index", small_folder, *kind, *models).out
    id = "food/fruit/" + min(path.name for path in (small_folder / "food" / "fruit").iterdir())
    results = json.loads(run("query", id, *kind, "-k", "3", "--json").out)["results"]
    assert [entry["rank"] for entry in results] == [1, 2, 3]
    shutil.copy(small_folder / id, tmp_path / "new.webp")
    told = json.loads(run("query", tmp_path / "new.webp", *kind, "-k", "1", "--json").out)
    assert told["results"][0]["id"] == id and told["p_value"] > 0.9
    Image.effect_noise((300, 200), 80).save(noise := tmp_path / "noise.png")
    for asked in (kind, store):  # nothing else is indexed
        assert json.loads(run("query", noise, *asked, "-k", "1", "--json").out)["p_value"] == 1 / 33
    assert "Nothing here is likely to fit" in run("query", noise, *kind).out
    assert "leave out --models, --layer and --fuse" in run("query", id, *kind, "--fuse", "rrf", status=2).err
    run("index", small_folder, *store, "--preset", "same-thing", *models)
    ImageOps.grayscale(open_image(small_folder / id)).save(tmp_path / "grey.png")
    out = run("query", tmp_path / "grey.png", *store).out
    first, second = (out.index(f"{name}, all networks together") for name in ("same-kind", "same-thing"))
    assert first < second and id in out[second:]
    for name, layer in (("same-kind", "diffusion over 8 parts"), ("same-thing", "4 layers joined")):
        (system,) = json.loads(run("evaluate", *store, "--preset", name, "--json").out)["systems"]
        assert (system["model"], system["layer"]) == (name, layer) and 0 < system["mAP"] <= 1


def by_numpy(layers):
    """The order (N, N) of the recipe same-thing, each picture last in its own."""
    unit = lambda vectors: vectors / np.linalg.norm(vectors, axis=1, keepdims=True)  # noqa: E731

    def whitened(vectors, width, power):
        centred = unit(vectors.astype(np.float64))
        centred -= centred.mean(axis=0)
        _, spread, axes = np.linalg.svd(centred, full_matrices=False)
        return unit(centred @ (axes[:width].T / spread[:width] ** power))

    joined = whitened(np.hstack([whitened(layer.vectors, min(256, len(layer) // 4), 1) for layer in layers]), 512, 0.5)
    cosines = joined @ joined.T
    np.fill_diagonal(cosines, -9)
    return np.argsort(np.sort(cosines)[:, -10:].mean(axis=1) - 2 * cosines, axis=1, kind="stable")


def test_the_same_thing_is_the_recipe_in_numpy(cartoons, store):
    layers = am.systems.SAME_THING.layers_of(cartoons[::3], store=store, progress=False)
    assert [layer.fingerprint["preprocess"]["blur"] for layer in layers] == [3] * 8
    rows, _ = am.systems.SAME_THING.system(layers).all_neighbours(5)
    assert (rows == by_numpy(layers)[:, :5]).mean() > 0.99


def test_of_other_networks():
    assert am.preset("bundled") == am.preset(am.models.BUNDLED) == am.systems.SAME_KIND == am.preset()
    viewed = "resnet152@blur3"
    assert am.preset("resnet152", "same-thing").keys == [(viewed, "last:gem"), (viewed, "layer3:gem")]
    with pytest.raises(am.errors.QueryError, match="use one of same-kind, same-thing"):
        am.preset("bundled", "best")
    asked = ("resnet152", "siglip_base", "squeezenet1_1")
    layers = [("last:gem", "layer3:gem"), ("penultimate", "blocks.8:mean"), ("last:gem", "features.9:gem")]
    assert am.preset(",".join(asked)).layers == dict(zip(asked, layers, strict=True))
    with pytest.raises(am.errors.QueryError, match="needs at least one network"):
        am.preset("")


def test_of_a_network_that_is_not_in_the_table(in_hub_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("AMULSEARCH_WEIGHTS", str(tmp_path))
    name = "timm/test_vit.r160_in1k"
    save_file(am.models.get(name).build().state_dict(), in_hub_cache(tmp_path, am.models.get(name).weights))
    assert am.preset(f"{name},{name}@96").layers == dict.fromkeys(
        (name, f"{name}@96"), ("penultimate", "blocks.4:mean")
    )
