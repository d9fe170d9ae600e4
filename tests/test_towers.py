"""Image and text towers from a hub on this machine: the real architecture and tokenizer of CLIP, small and untrained.

open_clip's own functions say what the vectors are.
"""

import importlib.util
import json
import shutil
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image

import amulsearch as am
from amulsearch.cli import main
from amulsearch.features import engine
from amulsearch.models import text_towers as towers
from amulsearch.models.architectures import import_torchvision

pytestmark = pytest.mark.skipif(importlib.util.find_spec("open_clip") is None, reason="open_clip is not installed")

REPOSITORY = "somewhere/CLIP-small"
NAME = f"open_clip/{REPOSITORY}"
TOWERS = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 96, "layers": 2, "width": 64, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
PREPROCESS = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "interpolation": "bicubic", "resize_mode": "shortest"}
SENTENCES = ["a man with an umbrella", "a drawing of a red bird", "Ein Vogel, rot!"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The reference: open_clip's own model, and the folder of its files in the layout of a repository."""
    import_torchvision()
    import open_clip
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    (folder / towers.CONFIG).write_text(json.dumps({"model_cfg": TOWERS, "preprocess_cfg": PREPROCESS}))
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False).eval()
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "w.safetensors")
    return model, folder


def tokens(folder, texts: list[str]) -> torch.Tensor:
    import open_clip

    return open_clip.get_tokenizer(f"local-dir:{folder}")(texts)


@pytest.fixture
def published(clip, local_hub, server, monkeypatch):
    """The same on a hub on this machine; its environment variables."""
    _, folder = clip
    address = f"/{REPOSITORY}/resolve/main"
    server.files[f"{address}/{towers.CONFIG}"] = (folder / towers.CONFIG).read_bytes()
    server.files[f"{address}/open_clip_model.safetensors"] = (folder / "w.safetensors").read_bytes()
    monkeypatch.setattr(engine, "WORTH_CONVERTING", 0)
    return local_hub


def test_pictures_are_as_open_clip_s_own(published, clip, cartoons):
    import open_clip

    model, _ = clip
    made = am.extract(cartoons[:20], NAME, ["penultimate", "last:mean"], framing="crop", progress=False)
    assert made[NAME, "penultimate"].vectors.shape == (20, 32)
    preprocess = am.models.get(NAME).preprocess
    assert preprocess.size == 96 and np.allclose(preprocess.mean, np.array([0.4, 0.5, 0.6]) * 255)
    transform = open_clip.image_transform(96, is_train=False, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    pixels = [
        preprocess.pixels(image, "crop", "white")
        for image in am.intake.decode(list(map(cartoons.request, cartoons.ids[:20])))
    ]
    with torch.no_grad():
        same = model.encode_image(torch.stack([transform(Image.fromarray(one)) for one in pixels])).numpy()
        own = model.encode_image(torch.stack([transform(cartoons.open(id)) for id in cartoons.ids[:20]])).numpy()
    found, fingerprint = made[NAME, "penultimate"].vectors, made[NAME, "penultimate"].fingerprint
    assert importlib.util.find_spec("openvino") is None or fingerprint["backend"].startswith("openvino")
    np.testing.assert_allclose(found, same, atol=1e-5 * np.abs(same).max(), rtol=0)
    cosines = (am.features.l2_normalize(found) * am.features.l2_normalize(own)).sum(axis=1)
    assert cosines.min() > 0.998  # from the file: its resizing rounds in another way


def test_texts_are_as_open_clip_s_own(published, clip):
    model, folder = clip
    with torch.no_grad():
        expected = model.encode_text(tokens(folder, SENTENCES)).numpy()
    several, single = am.features.text(NAME, SENTENCES), am.features.text(NAME, SENTENCES[0])
    assert single.shape == (32,) and single.dtype == np.float32
    for ours, theirs in ((several, expected), (single, expected[0])):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(expected).max(), rtol=0)


def test_words_that_are_cut_are_told(published, recwarn):
    fits = "bird " * 75  # and the tokens of begin and end
    whole = am.features.text(NAME, [fits, "a bird"])
    assert not [one for one in recwarn if "tokens" in str(one.message)]
    with pytest.warns(UserWarning, match=r"words 'bird bird .*' ... are longer than the 77 tokens of .*CLIP-small"):
        cut = am.features.text(NAME, [f"{fits} bird with a red beak", "a bird"])
    assert np.array_equal(whole, cut)


def test_words_find_what_their_vector_is_nearest_to(published, cartoons):
    collection = cartoons[:30]
    features = am.extract(collection, NAME, "penultimate", progress=False)[NAME, "penultimate"]
    scaled = am.features.l2_normalize(features.vectors)
    unit = lambda text: am.features.l2_normalize(am.features.text(NAME, [text]))[0]  # noqa: E731
    picture = Image.new("RGB", (40, 30), "orange")
    seen = am.features.l2_normalize(am.embed(picture, NAME, "penultimate")["penultimate"])[0]
    cases = {
        am.Words("a red bird"): unit("a red bird"),
        am.Words("a red bird", avoid="a cage"): unit("a red bird") - 0.5 * unit("a cage"),
        am.Words("a red bird", pictures=(picture,)): unit("a red bird") + seen,
    }
    for index in (am.ExactIndex.build(features), am.AnnoyIndex.build(features, n_trees=50)):
        for words, vector in cases.items():
            expected = np.argsort(-(scaled @ vector), kind="stable")[:5]
            assert index.query(words, k=5)["id"].tolist() == [features.ids[row] for row in expected]


def test_the_configuration_is_part_of_what_the_weights_are(published, clip, server):
    before = am.models.get(NAME).weights.identity
    assert before.count("sha256:") == 2
    weights = am.models.weights.HuggingFace(REPOSITORY, "open_clip_model.safetensors", towers.CONFIG)
    path = weights.fetch(towers.CONFIG)
    path.resolve().write_text(json.dumps({"model_cfg": {**TOWERS, "quick_gelu": True}, "preprocess_cfg": PREPROCESS}))
    assert am.models.get(NAME).weights.identity != before


def test_a_tower_takes_pictures_of_one_size(published):
    assert am.models.get(f"{NAME}@mirror").preprocess.mirror
    with pytest.raises(am.errors.ModelError, match=r"has no view @320: use @mirror, @turn90 .*pixels \(@blur5\)$"):
        am.models.get(f"{NAME}@320")


def test_what_has_no_text_tower_is_told(published, cartoons):
    with pytest.raises(am.errors.QueryError, match=r"squeezenet1_1 has no text tower: use a network of open_clip"):
        am.features.text("squeezenet1_1", "a bird")
    for name, layer, message in (
        ("squeezenet1_1", "penultimate", "no text tower"),
        (NAME, "last:mean", "with the layer penultimate only, not with last:mean"),
    ):
        index = am.ExactIndex.build(am.extract(cartoons[:8], name, layer, progress=False)[name, layer])
        with pytest.raises(am.errors.QueryError, match=message):
            index.query(am.Words("a bird"))
    for wrong in ("", "  ", 3):
        with pytest.raises(am.errors.QueryError, match="word"):
            am.features.text(NAME, [wrong])
    with pytest.raises(am.errors.QueryError, match="word"):
        am.Words("")


def test_a_repository_that_is_none(published, server):
    with pytest.raises(
        am.errors.ModelError, match=r"could not be downloaded .*: load them .* models--nobody--nothing of its"
    ):
        am.models.get("open_clip/nobody/nothing")
    oblong = {"model_cfg": {**TOWERS, "vision_cfg": {"image_size": [96, 64]}}}
    none = "is not one of open_clip"
    configs = (b"{}", none), (b"no json", none), (json.dumps(oblong).encode(), "square")
    for number, (config, message) in enumerate(configs):
        server.files[f"/nobody/broken{number}/resolve/main/{towers.CONFIG}"] = config
        with pytest.raises(am.errors.ModelError, match=message):
            am.models.get(f"open_clip/nobody/broken{number}")


def test_towers_travel(published, server, tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    monkeypatch.setenv("AMULSEARCH_WEIGHTS", str(here))
    before = am.features.text(NAME, "a bird")
    shutil.copytree(here, there, symlinks=True)
    shutil.rmtree(here)
    monkeypatch.setenv("AMULSEARCH_WEIGHTS", str(there))
    asked = len(server.asked)
    assert np.array_equal(am.features.text(NAME, "a bird"), before)
    assert len(server.asked) == asked


def test_a_tokenizer_of_the_hub(published, clip, server, tmp_path, monkeypatch):
    """That of SigLIP and others, which open_clip reads with transformers."""
    here, calls = tmp_path / "here", []

    class AutoTokenizer:
        @staticmethod
        def from_pretrained(name, cache_dir):
            calls.append((name, cache_dir))
            raise OSError("it is not here\nand more")

    config = {**TOWERS, "text_cfg": {**TOWERS["text_cfg"], "hf_tokenizer_name": "somewhere/words"}}
    address, repository = "/somewhere/CLIP-other/resolve/main", "open_clip/somewhere/CLIP-other"
    server.files[f"{address}/{towers.CONFIG}"] = json.dumps({"model_cfg": config}).encode()
    server.files[f"{address}/open_clip_model.safetensors"] = (clip[1] / "w.safetensors").read_bytes()
    monkeypatch.setitem(sys.modules, "transformers", types.SimpleNamespace(AutoTokenizer=AutoTokenizer))
    monkeypatch.setenv("AMULSEARCH_WEIGHTS", str(here))
    with pytest.raises(am.errors.ModelError, match=r"open_clip cannot load somewhere/CLIP-other: it is not here$"):
        am.features.text(repository, "a bird")
    assert calls == [("somewhere/words", here)]


def test_the_command_line_finds_by_words(published, clip, small_folder, tmp_path, capsys):
    model, folder = clip
    store, avoided = ["--store", str(tmp_path / "store")], "a cage " * 50
    assert main(["index", str(small_folder), "--models", f"squeezenet1_1,{NAME}", *store]) == 0
    capsys.readouterr()
    with pytest.warns(UserWarning, match="^the words 'a cage a cage"):
        assert main(["query", "--text", "a red bird", "--avoid", avoided, "-k", "5", "--json", *store]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["how"] == "by the text tower" and answer["results"][0]["model"] == NAME
    features = am.features.FeatureSet.open(tmp_path / "store")[NAME, "penultimate"]
    with torch.no_grad():
        red, cage = am.features.l2_normalize(model.encode_text(tokens(folder, ["a red bird", avoided])).numpy())
    nearest = np.argsort(-(am.features.l2_normalize(features.vectors) @ (red - 0.5 * cage)))[:5]
    ids = [row["id"] for row in answer["results"]]
    assert ids == [features.ids[row] for row in nearest]
    assert main(["query", ids[0], "--text", "a red bird", "--models", NAME, "-k", "4", "--json", *store]) == 0
    both = json.loads(capsys.readouterr().out)["results"]
    assert [row["rank"] for row in both] == [1, 2, 3, 4] and ids[0] not in [row["id"] for row in both]


def test_the_explorer_answers_words(published, cartoons):
    """With the column that reads them; with none, it says so and nothing changes."""
    pytest.importorskip("anywidget")
    collection = cartoons[:30]
    features = am.extract(collection, [NAME, "squeezenet1_1"], "penultimate", progress=False)
    explorer = am.explore(collection, features, k=4)
    sent = []
    explorer.send = lambda message, buffers=None: sent.append(message)
    explorer._receive(None, {"do": "words", "text": "a red bird -cage"}, [])
    assert list(explorer.found) == [NAME] and sent[-1]["say"] == "view" and sent[-1]["words"]
    expected = am.ExactIndex.build(features[NAME, "penultimate"]).query(am.Words("a red bird", avoid="cage"), k=4)
    assert explorer.found[NAME]["id"].tolist() == expected["id"].tolist()
    words = sent[-1]["examples"][0]["id"]
    explorer._receive(None, {"do": "pictures", "ids": [words], "side": 240}, [])
    assert sent[-1]["say"] == "pictures" and sent[-1]["ids"] == [words]
    explorer._receive(None, {"do": "more", "id": collection.ids[3]}, [])
    assert len(explorer.session.question.examples) == 2 and collection.ids[3] not in set(explorer.found[NAME]["id"])
    for message, told in (
        ({"do": "crop", "id": words, "x": 0, "y": 0, "w": 1, "h": 1}, "words have no parts"),
        ({"do": "words", "text": "-cage"}, "give at least one word"),
        ({"do": "look", "columns": ["squeezenet1_1"]}, "no system reads words"),
    ):
        before = explorer.session.question
        explorer._receive(None, message, [])
        assert sent[-1]["say"] == "error" and told in sent[-1]["text"] and explorer.session.question is before
    explorer._receive(None, {"do": "query", "id": collection.ids[0]}, [])
    assert set(explorer.found) == {NAME, "squeezenet1_1", "rrf"}
