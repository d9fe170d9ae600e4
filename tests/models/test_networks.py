"""The table of networks, and what each network gives compared with numpy, torch modules and known photographs."""

import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import amulsearch as am
from amulsearch import models
from amulsearch.intake import Decoded
from amulsearch.models import network as loading
from amulsearch.models.architectures import import_timm, import_torchvision
from amulsearch.models.preprocess import Preprocess


def prepared(model, paths, framing="crop") -> np.ndarray:
    return np.stack([pixels(model, np.array(am.open_image(path)), framing) for path in paths])


def pixels(model, rgb: np.ndarray, framing: str) -> np.ndarray:
    return model.preprocess.pixels(Decoded(rgb, rgb.shape[1::-1]), framing, "white")


def normalised(model, batch: np.ndarray) -> torch.Tensor:
    return model.preprocess.normalise(torch.from_numpy(batch))


def close(one, other) -> bool:
    """Equal within 1e-4 of the largest value."""
    one, other = np.asarray(one), np.asarray(other)
    return one.shape == other.shape and np.abs(one - other).max() <= 1e-4 * np.abs(other).max()


def gem(maps: np.ndarray, places=(2, 3)) -> np.ndarray:
    return (np.maximum(maps, 1e-6).astype(np.float64) ** 3).mean(places) ** (1 / 3)


@pytest.fixture(scope="module")
def squeezenet() -> models.Network:
    return models.load("squeezenet1_1")


# The table and the names


def test_the_table_says_what_is_known_of_the_networks():
    table = models.table().set_index("name")
    for group, names in models.GROUPS.items():
        assert table.index[table["group"] == group].tolist() == list(names)
    assert len(table) == 14 and table["ready"][list(models.BUNDLED)].all()
    assert table.drop(columns=["ImageNet", "ms", "P@5", "mAP"]).notna().all(axis=None)
    for name in table.index[table["ready"]]:
        assert table.at[name, "MB"] == round(models.get(name).weights.find().stat().st_size / 1e6, 1)


@pytest.mark.parametrize("name", models.BLOG)
def test_the_post_s_networks_are_torchvision_s_of_2019(name):
    weights, known = import_torchvision().models.get_model_weights(name).IMAGENET1K_V1, models.table().set_index("name")
    assert known.at[name, "MB"] == round(weights.meta["_file_size"] * 2**20 / 1e6, 1)
    assert known.at[name, "ImageNet"] == round(weights.meta["_metrics"]["ImageNet-1K"]["acc@1"], 1)
    assert models.get(name).weights.url == weights.url
    preprocess, transform = models.get(name).preprocess, weights.transforms()
    assert preprocess.size == transform.crop_size[0]
    assert preprocess.crop_pct == pytest.approx(transform.crop_size[0] / transform.resize_size[0])
    assert np.allclose(np.array(preprocess.mean) / 255, transform.mean, atol=1e-4)
    assert np.allclose(np.array(preprocess.std) / 255, transform.std, atol=1e-4)


@pytest.mark.parametrize("name", models.MODERN)
def test_the_networks_of_today_are_timm_s(name):
    model = models.get(name)
    timm_name = model.source.removeprefix("timm ")
    theirs = models.get(f"timm/{timm_name}@{model.preprocess.size}")
    for what in ("weights", "preprocess", "classes", "head", "fixed_size"):
        assert getattr(model, what) == getattr(theirs, what), what
    licence = import_timm().get_pretrained_cfg(timm_name).license
    assert licence.replace("-", " ") == model.licence.lower().replace("-", " ")
    with torch.device("meta"):  # without numbers
        module = model.build()
    assert module.num_features == model.penultimate
    assert models.INNER[name].split(":")[0] in dict(module.named_modules())
    assert models.standard_layers(name)[-1] == models.INNER[name]
    assert models.main_layers(name) == (["penultimate"] if model.classes == 0 else ["logits", "penultimate"])


def test_other_networks_get_a_record():
    resnet50 = import_torchvision().models.ResNet50_Weights
    second = models.get("resnet50.IMAGENET1K_V2")
    assert second.weights.url == resnet50.IMAGENET1K_V2.url and second.preprocess.crop_pct == pytest.approx(224 / 232)
    assert models.get("resnet50").weights.url == resnet50.IMAGENET1K_V1.url
    small = models.get("timm/test_resnet.r160_in1k")
    assert small.weights.repository == "timm/test_resnet.r160_in1k" and small.preprocess.size == 160
    network = models.Network(small, small.build())
    vectors = network(network.blank(), ["logits", "penultimate", "last"])
    weight, bias = (network.module.get_parameter(f"{small.head}.{name}").numpy() for name in ("weight", "bias"))
    assert close(vectors["penultimate"] @ weight.T + bias, vectors["logits"])


@pytest.mark.parametrize("name", ["resnet18", "timm/test_vit.r160_in1k", "timm/test_vit.r160_in1k@96", "resnet18@96"])
def test_records_of_one_name_are_equal(name):
    """So that a network is loaded once."""
    assert models.get(name) == models.get(name) and models.get(f"{name}@mirror") == models.get(f"{name}@mirror")


def test_which_networks_have_the_classes_of_imagenet():
    names = "dinov2_small, resnet18, timm/vit_base_patch32_clip_224.openai, squeezenet1_1"
    assert models.classifiers(names) == ["resnet18", "squeezenet1_1"]
    with pytest.raises(
        am.errors.QueryError, match="none of dinov2_small, siglip_base has: add a network such as resnet18"
    ):
        models.classifiers("dinov2_small, siglip_base")


def test_groups_and_names_are_read():
    assert models.names_of("blog") == list(models.BLOG)
    assert models.names_of("alexnet, bundled,alexnet") == ["alexnet", *models.BUNDLED]
    again = [models.get("squeezenet1_1"), "squeezenet1_1", "bundled"]
    assert [model.name for model in models.get_all(again)] == list(models.BUNDLED)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        *((name, r"use one of squeezenet1_1.*resnet18.*timm/") for name in ("resnet1800", "timm/no_such", "", "timm/")),
        ("fasterrcnn_resnet50_fpn", "there is no network"),
        ("bundled", "bundled is a group of models: use one of"),
        ("resnet18.OLD", r"resnet18 has no weights OLD: write resnet18.NAME, where NAME is one of IMAGENET"),
        ("timm/resnet18.old", r"timm has no weights for resnet18\.old on the hub"),
        ("squeezenet1_1@9", r"has no view @9: use @mirror, @turn90 .*, or @ and a size of 32 to 2048 pixels"),
    ],
)
def test_an_unknown_network_is_refused(name, message):
    with pytest.raises(am.errors.ModelError, match=message):
        models.get(name)


@pytest.mark.parametrize("wrong", [None, 3, b"alexnet", [None], [["alexnet"]]])
def test_what_is_no_model_is_refused(wrong, cartoons):
    for function in (
        models.names_of,
        models.get_all,
        models.classifiers,
        partial(am.extract, cartoons[:1]),
    ):
        with pytest.raises(
            am.errors.ModelError, match=r"must be (names or Models|a name \(a string\) or a Model), not"
        ):
            function(wrong)
    for function in (models.get, models.load, models.main_layers, models.standard_layers):
        with pytest.raises(am.errors.ModelError, match=r"must be a name \(a string\) or a Model, not"):
            function(wrong)
    assert not models.reads_words(wrong)


@pytest.mark.parametrize("wrong", [3, b"last", [None], [["last"]]])
def test_what_is_no_layer_is_refused(wrong, cartoons, squeezenet):
    for function in (
        lambda: am.embed(Image.new("RGB", (32, 32)), "squeezenet1_1", wrong),
        lambda: am.extract(cartoons[:1], "squeezenet1_1", wrong, progress=False),
        lambda: squeezenet(squeezenet.blank(), wrong),
    ):
        with pytest.raises(am.errors.ModelError, match=r"(layers must be names|a layer must be a name) .*, not"):
            function()


def test_layers_of_a_model_that_is_not_among_the_models_are_refused(cartoons):
    layers = {"squeezenet1_1": "logits", "squeezenet": "penultimate"}
    with pytest.raises(
        am.errors.QueryError, match="layers for 'squeezenet', which is none of the models squeezenet1_1"
    ):
        am.extract(cartoons[:1], "squeezenet1_1", layers, progress=False)


def test_a_picture_mirrored_twice_is_itself():
    once, twice = (models.get(f"squeezenet1_1{view}").preprocess.mirror for view in ("@mirror", "@mirror@mirror"))
    assert once and not twice


# The layers


def pooled_by_hand(name: str, module, inner: torch.Tensor) -> torch.Tensor:
    """The vector that the authors of a network take, from the output of its last layer before the pooling."""
    if name.startswith("dino"):
        return inner[:, 0]  # x_norm_clstoken
    if name == "eva02_tiny":
        return module.fc_norm(inner[:, 1:].mean(1))
    if name == "convnext_tiny_22k":
        return torch.nn.functional.layer_norm(inner.mean((2, 3)), (768,), *module.head.norm.parameters(), 1e-6)
    heads, width = 12, 768  # siglip_base: one learned query attends to all patches, then a perceptron
    pool = module.attn_pool
    query = pool.q(pool.latent).reshape(1, 1, heads, -1).transpose(1, 2)
    key, value = pool.kv(inner).reshape(len(inner), -1, 2, heads, width // heads).permute(2, 0, 3, 1, 4)
    weights = (query @ key.transpose(2, 3) / (width // heads) ** 0.5).softmax(3)
    attended = pool.proj((weights @ value).transpose(1, 2).reshape(len(inner), width))
    return attended + pool.mlp(pool.norm(attended))


@pytest.mark.parametrize("name", models.MODERN)
def test_the_networks_of_today_pool_as_their_authors_do(name, monkeypatch):
    torch.manual_seed(0)
    model, timm = models.get(name), import_timm()
    if not name.startswith("convnext"):  # the pooling is the same after one block
        monkeypatch.setattr(timm, "create_model", partial(timm.create_model, depth=1))
    module = model.build()
    for value in module.parameters():  # some are 0 until they are trained
        value.data += 0.02 * torch.randn_like(value)
    network = models.Network(model, module)
    batch = np.random.default_rng(0).integers(0, 256, (2, model.preprocess.size, model.preprocess.size, 3), np.uint8)
    with torch.inference_mode():
        expected = pooled_by_hand(name, module, module.forward_features(normalised(model, batch)))
    assert close(network(batch, ["penultimate"])["penultimate"], expected)


@pytest.mark.parametrize("name", [*models.BUNDLED, *models.BLOG])
def test_all_of_2019_give_the_layers_of_the_record(name, photographs):
    model = models.get(name)
    torch.manual_seed(0)
    network = models.Network(model, model.build())
    vectors = network(prepared(model, [photographs["cat"]]), ["logits", "penultimate"])
    assert vectors["logits"].shape == (1, 1000) and vectors["penultimate"].shape == (1, model.penultimate)
    assert all(values.dtype == np.float32 and np.isfinite(values).all() for values in vectors.values())
    assert name in models.BUNDLED or network.inner_layer() == models.INNER[name]
    linear = [m for m in network.module.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 1000]
    if linear:  # squeezenet classifies by a convolution; inception has an auxiliary classifier before its own
        weight, bias = linear[-1].weight.numpy(), linear[-1].bias.numpy()
        assert close(vectors["penultimate"] @ weight.T + bias, vectors["logits"])


def test_the_squeezenet_s_kernels_are_the_file_s(squeezenet, photographs):
    with squeezenet.model.weights.find().open("rb") as file:
        kernel, bias = pickle.load(file, encoding="latin1")["conv1"]  # (3, 3, 3, 64): height, width, in, out
    batch = normalised(squeezenet.model, prepared(squeezenet.model, [photographs["cat"]]))
    with torch.inference_mode():
        maps = squeezenet.module.features[0](batch).numpy()[0]  # (64, 111, 111)
    for row, column in ((0, 0), (3, 50), (110, 110)):
        patch = batch[0, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]  # stride 2, no padding
        assert close(maps[:, row, column], np.einsum("chw,hwco->o", patch, kernel) + bias)


def test_the_squeezenet_takes_bgr():
    model = models.get("squeezenet1_1")
    orange = normalised(model, pixels(model, np.full((9, 9, 3), (255, 128, 0), dtype=np.uint8), "pad")[None])
    assert np.allclose(orange[0, :, 0, 0], [0 - 103.939, 128 - 116.779, 255 - 123.68])


def test_preprocessing_is_torchvision_s(photographs):
    transform = import_torchvision().models.ResNet152_Weights.IMAGENET1K_V1.transforms()
    model, image = models.get("resnet152"), am.open_image(photographs["coffee"])
    ours = normalised(model, prepared(model, [photographs["coffee"]]))[0]
    # torchvision resizes, rounds to whole pixels, then crops; our preprocessing is a single step.
    assert (ours - transform(image)).abs().mean() < 0.1
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    ours = normalised(model, pixels(model, image, "squash")[None])[0].numpy()
    assert np.abs(ours - ((image / 255 - transform.mean) / transform.std).transpose(2, 0, 1)).max() < 1e-3


CATS, ESPRESSO, ROCKETS = {281, 282, 285}, {967}, {657, 744, 812}  # ImageNet's numbers: tabby, tiger cat, Egyptian cat…


@pytest.mark.parametrize("name", models.BUNDLED)
def test_the_bundled_networks_know_the_photographs(name, photographs):
    network = models.load(name)
    batch = prepared(network.model, [photographs["cat"], photographs["coffee"], photographs["rocket"]])
    layers = ["logits", "penultimate", "last:gem"]
    together = network(batch, layers)
    first = together["logits"].argmax(axis=1)
    assert first[0] in CATS and first[1] in ESPRESSO
    assert ROCKETS & set(np.argsort(-together["logits"][2])[:5])
    for place in (0, 2):
        alone = network(batch[place : place + 1], layers)
        assert all(close(together[layer][place], alone[layer][0]) for layer in layers)


def test_pooling_is_numpy_s():
    values = np.random.default_rng(0).normal(size=(2, 5, 7, 7)).astype(np.float32)
    maps = torch.from_numpy(values)
    assert close(models.pool(maps, "mean"), values.mean((2, 3)))
    assert close(models.pool(maps, "gem"), gem(values))
    assert close(models.pool(maps.permute(0, 2, 3, 1), "gem"), gem(values))
    tokens = values.reshape(2, 5, 49)
    assert close(models.pool(torch.from_numpy(tokens), "mean"), tokens.mean(1))
    assert close(models.pool(torch.from_numpy(tokens[:, 0]), "gem"), tokens[:, 0])
    with pytest.raises(am.errors.ModelError, match="unknown pooling 'max': use mean or gem"):
        models.pool(maps, "max")


def test_a_layer_is_what_its_module_gives(squeezenet, photographs):
    batch = prepared(squeezenet.model, [photographs["cat"]])
    layers = ["features.0", "features.3.squeeze", "features.4:gem", "last", "last:gem", "penultimate"]
    vectors = squeezenet(batch, layers)
    values, features = normalised(squeezenet.model, batch), squeezenet.module.features
    with torch.inference_mode():
        # Each part separately, so that in-place ReLUs do not overwrite the values that were read.
        first = features[0](values).numpy().copy()
        squeeze = features[3].squeeze(features[:3](values)).numpy().copy()
        fourth = features[:5](values).numpy().copy()
        last = features(values).numpy().copy()
    assert first.min() < 0 and close(vectors["features.0"], first.mean((2, 3)))
    assert close(vectors["features.3.squeeze"], squeeze.mean((2, 3)))
    assert close(vectors["features.4:gem"], gem(fourth))
    assert close(vectors["last"], last.mean((2, 3))) and close(vectors["penultimate"], last.mean((2, 3)))
    assert close(vectors["last:gem"], gem(last))


def test_every_listed_node_is_a_layer(squeezenet):
    nodes = squeezenet.nodes()
    vectors = squeezenet(squeezenet.blank(), nodes["node"].tolist())
    assert {node: values.shape[1] for node, values in vectors.items()} == nodes.set_index("node")["width"].to_dict()
    assert len(nodes) > 50


def test_the_stages_are_the_last_maps_of_each_size(squeezenet):
    stages = squeezenet.stages()
    assert stages["node"].tolist() == ["features.1", "features.4", "features.7", "last"]
    nodes = squeezenet.nodes().set_index("node")["shape"]
    assert stages["shape"][1] == nodes["features.4"] and stages["shape"][3] == (512, 13, 13)
    for node, (_, side, _) in zip(stages["node"][:3], stages["shape"], strict=False):
        assert all(shape[-1] != side for shape in nodes.iloc[nodes.index.get_loc(node) + 1 :])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("fc7", r"squeezenet1_1 has no layer 'fc7': use logits, penultimate, last:gem, or the name of a"),
        ("", "has no layer ''"),
        ("last:max", "unknown pooling 'max' in 'last:max': use mean or gem"),
        ("logits:gem", "logits is already a vector: write it without :gem"),
        ("last:", "unknown pooling '' in 'last:'"),
    ],
)
def test_an_unknown_layer_or_pooling_is_refused(squeezenet, layer, message):
    with pytest.raises(am.errors.ModelError, match=message):
        squeezenet(squeezenet.blank(), [layer])


@pytest.mark.parametrize(
    "wrong", [lambda batch: batch / 255, lambda batch: batch[0], list, lambda batch: batch.transpose(0, 3, 1, 2), id]
)
def test_what_is_no_batch_is_refused(squeezenet, wrong):
    with pytest.raises(am.errors.QueryError, match=r"squeezenet1_1 takes an array \(B, size, size, 3\) uint8: see"):
        squeezenet(wrong(squeezenet.blank()), ["logits"])


# What others do to a network


def train(module):
    module.train()
    module(torch.rand(2, 3, 224, 224))  # which changes the statistics of batch normalisation


def double(module):
    with torch.no_grad():
        module.conv_stem.weight.mul_(2)


@pytest.mark.parametrize(
    "change",
    [
        train,
        double,
        torch.nn.Module.train,
        lambda module: setattr(module, "bn2", torch.nn.Identity()),
        lambda module: module.bn2.register_forward_hook(lambda module, values, output: 2 * output),
    ],
)
def test_a_network_that_was_changed_is_loaded_anew(change, photographs):
    name, image = "tf_efficientnet_lite0", am.open_image(photographs["cat"])
    before = am.embed(image, name, "penultimate")["penultimate"]
    change(models.load(name).module)
    assert np.array_equal(am.embed(image, name, "penultimate")["penultimate"], before)


def test_the_precision_is_the_network_s_whatever_torch_was_told(squeezenet, photographs):
    batch = prepared(squeezenet.model, [photographs["cat"]])
    expected = squeezenet(batch, ["logits"])["logits"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(squeezenet(batch, ["logits"])["logits"], expected)


def test_a_network_loaded_in_inference_mode_still_gives_gradients():
    loading._load.cache_clear()
    with torch.inference_mode():
        network = models.load("squeezenet1_1")
    values = torch.zeros(1, 3, 224, 224, requires_grad=True)
    network.run(values, ["last"])["last"].sum().backward()
    assert values.grad.any()


# What a fingerprint knows of a network


def test_what_decides_a_vector_is_in_the_fingerprint(monkeypatch):

    model = models.get("squeezenet1_1")
    before = model.describe()
    for name, value in (("head", "classifier.2"), ("feature_map", "features.9"), ("name", "other"), ("classes", 9)):
        assert replace(model, **{name: value}).describe() != before
    for name, value in (("licence", "other"), ("source", "other"), ("penultimate", 3)):
        assert replace(model, **{name: value}).describe() == before
    for name, value in vars(Preprocess(64, (1, 2, 3), (1, 2, 3), "RGB", "bicubic", 0.5, True, 90, True, 5)).items():
        changed = replace(model, preprocess=replace(model.preprocess, **{name: value}))
        assert changed.describe() != before, name
    monkeypatch.setattr("amulsearch.models.model.POOLING_VERSION", 0)
    assert model.describe() != before
