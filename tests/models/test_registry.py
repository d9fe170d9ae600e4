"""The table of networks, and the output of each network compared with numpy, torch modules and known photographs."""

import dataclasses
import pickle
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import amulsearch as am
from amulsearch import models
from amulsearch.intake.decoding import Decoded
from amulsearch.models import networks, record
from amulsearch.models.architectures import import_timm, import_torchvision
from amulsearch.models.preprocess import OwnTransform, Preprocess


def prepared(model, paths, framing="crop") -> np.ndarray:
    return np.stack([pixels(model, np.array(am.open_image(path)), framing) for path in paths])


def pixels(model, rgb: np.ndarray, framing: str) -> np.ndarray:
    return model.preprocess.pixels(Decoded(rgb, rgb.shape[1::-1]), framing, "white")


def normalised(model, batch: np.ndarray) -> np.ndarray:
    return model.preprocess.normalise(torch.from_numpy(batch)).numpy()


def close(one, other) -> bool:
    """Equal within 1e-4 of the largest value."""
    one, other = np.asarray(one), np.asarray(other)
    return one.shape == other.shape and np.abs(one - other).max() <= 1e-4 * np.abs(other).max()


@pytest.fixture(scope="module")
def squeezenet() -> networks.Network:
    return networks.load(models.get("squeezenet1_1"))


# The table


def test_the_table_holds_the_post_s_networks_and_the_bundled_ones():
    table = models.table().set_index("name")
    assert set(table.index[table["group"] == "blog"]) == {
        "alexnet",
        "vgg19",
        "resnet152",
        "densenet161",
        "inception_v3",
    }
    assert set(table.index[table["group"] == "bundled"]) == {
        "squeezenet1_1",
        *(f"tf_efficientnet_lite{number}" for number in (0, 1, 2)),
    }
    assert tuple(table.index[table["group"] == "modern"]) == models.MODERN
    assert len(table) == 14 and table["ready"][list(models.BUNDLED)].all()
    assert set(models.BUNDLED) <= set(models.ready())
    known = table.drop(columns=["ImageNet", "ms", "P@5", "mAP"])
    assert known.notna().all(axis=None)
    for name in models.ready():
        size = models.get(name).weights.find().stat().st_size
        assert table.at[name, "MB"] == round(size / 1e6, 1)


def test_the_table_says_what_torchvision_says_of_the_post_s_networks():
    choose, table = networks.import_torchvision().models.get_model_weights, models.table().set_index("name")
    for name in models.BLOG:
        meta = choose(name).IMAGENET1K_V1.meta
        assert table.at[name, "MB"] == round(meta["_file_size"] * 2**20 / 1e6, 1)
        assert table.at[name, "ImageNet"] == round(meta["_metrics"]["ImageNet-1K"]["acc@1"], 1)


def test_the_post_s_weights_are_those_of_2019():
    torchvision = networks.import_torchvision()
    for name in models.BLOG:
        current_then = torchvision.models.get_model_weights(name).IMAGENET1K_V1
        assert models.get(name).weights.url == current_then.url
        preprocess, transform = models.get(name).preprocess, current_then.transforms()
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
    seen = pool.proj((weights @ value).transpose(1, 2).reshape(len(inner), width))
    return seen + pool.mlp(pool.norm(seen))


@pytest.mark.parametrize("name", models.MODERN)
def test_the_networks_of_today_pool_as_their_authors_do(name):
    torch.manual_seed(0)
    model = models.get(name)
    module = model.build()
    if hasattr(module, "blocks"):
        module.blocks = module.blocks[-1:]  # the pooling is the same after one block
    for value in module.parameters():  # some are 0 until they are trained
        value.data += 0.02 * torch.randn_like(value)
    network = networks.Network(model, module)
    batch = np.random.default_rng(0).integers(0, 256, (2, model.preprocess.size, model.preprocess.size, 3), np.uint8)
    with torch.inference_mode():
        inner = module.forward_features(torch.from_numpy(normalised(model, batch)))
        expected = pooled_by_hand(name, module, inner).numpy()
    assert close(network(batch, ["penultimate"])["penultimate"], expected)


def test_which_networks_have_the_classes_of_imagenet():
    asked = "dinov2_small, resnet18, timm/vit_base_patch32_clip_224.openai, squeezenet1_1"
    assert models.classifiers(asked) == ["resnet18", "squeezenet1_1"]
    with pytest.raises(
        am.QueryError, match="which none of dinov2_small, siglip_base has: add a network such as resnet18"
    ):
        models.classifiers("dinov2_small, siglip_base")


def test_groups_and_names_are_read():
    assert models.names_of("blog") == list(models.BLOG)
    assert models.names_of("alexnet, bundled,alexnet") == ["alexnet", *models.BUNDLED]
    assert models.names_of(["vgg19", "alexnet"]) == ["vgg19", "alexnet"]


@pytest.mark.parametrize(
    "name", ["resnet1800", "timm/no_such_network", "fasterrcnn_resnet50_fpn", "", "timm/", 3, None]
)
def test_an_unknown_network_is_refused(name):
    with pytest.raises(am.ModelError, match=r"use one of squeezenet1_1.*resnet18.*timm/|must be a name"):
        models.get(name)


@pytest.mark.parametrize("wrong", [None, 3, b"alexnet", [None], [["alexnet"]], [3.5]])
def test_models_of_other_types_are_refused(wrong, cartoons):
    for function in (
        models.names_of,
        models.get_all,
        models.classifiers,
        lambda wrong: am.extract(cartoons[:1], wrong),
    ):
        with pytest.raises(am.ModelError, match=r"must be (names or Models|a name \(a string\) or a Model), not"):
            function(wrong)
    for function in (models.get, models.load, models.main_layers, models.standard_layers):
        with pytest.raises(am.ModelError, match=r"must be a name \(a string\) or a Model, not"):
            function(wrong)
    assert not models.reads_words(wrong)


@pytest.mark.parametrize("wrong", [3, b"last", [None], [["last"]], [3]])
def test_layers_of_other_types_are_refused(wrong, cartoons, squeezenet):
    picture = Image.new("RGB", (32, 32))
    for function in (
        lambda: am.embed(picture, "squeezenet1_1", wrong),
        lambda: am.extract(cartoons[:1], "squeezenet1_1", wrong, progress=False),
        lambda: squeezenet(squeezenet.blank(), wrong),
    ):
        with pytest.raises(am.ModelError, match=r"(layers must be names|a layer must be a name) .*, not"):
            function()


def test_layers_for_a_model_that_is_not_asked_are_told(cartoons):
    layers = {"squeezenet1_1": "logits", "squeezenet": "penultimate"}
    with pytest.raises(
        am.QueryError, match="there are layers for 'squeezenet', which is none of the models squeezenet1_1"
    ):
        am.extract(cartoons[:1], "squeezenet1_1", layers, progress=False)


@pytest.mark.parametrize("wrong", [None, 3, "a.png", np.zeros((2, 3))])
def test_what_is_no_picture_or_no_text_is_told(wrong):
    with pytest.raises(am.QueryError, match="a picture must be a PIL image"):
        am.embed(wrong, "squeezenet1_1")
    with pytest.raises(am.QueryError, match=r"words must be a string|has no text tower"):
        am.text("squeezenet1_1", wrong)


def test_two_models_of_one_name_are_refused(cartoons):
    """Once, the vectors of the second were those of the first."""
    both = [models.own("mine", small_module(classes), Preprocess(32)) for classes in (5, 6)]
    with pytest.raises(am.ModelError, match="two different models have the name mine"):
        am.extract(cartoons[:2], both, progress=False)
    again = [models.get("squeezenet1_1"), "squeezenet1_1", "bundled"]
    assert [model.name for model in models.get_all(again)] == list(models.BUNDLED)


def test_weights_are_a_path():
    with pytest.raises(am.ModelError, match="weights= must be the path of a checkpoint of a network, not int"):
        models.get("alexnet", weights=3)


def test_a_picture_mirrored_twice_is_itself():
    once, twice = (models.get(f"squeezenet1_1{view}").preprocess.mirror for view in ("@mirror", "@mirror@mirror"))
    assert once and not twice


def test_unknown_weights_of_a_known_network_are_refused():
    with pytest.raises(
        am.ModelError, match=r"resnet18 has no weights OLD: write resnet18.NAME, where NAME is one of IMAGENET"
    ):
        models.get("resnet18.OLD")
    with pytest.raises(am.ModelError, match=r"no pretrained weights for resnet18\.old"):
        models.get("timm/resnet18.old")


def test_other_networks_get_a_record():
    torchvision = networks.import_torchvision()
    second = models.get("resnet50.IMAGENET1K_V2")
    assert second.weights.url == torchvision.models.ResNet50_Weights.IMAGENET1K_V2.url
    assert second.preprocess.crop_pct == pytest.approx(224 / 232)
    assert models.get("resnet18").weights.url == torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url
    small = models.get("timm/test_resnet.r160_in1k")
    assert small.weights.repository == "timm/test_resnet.r160_in1k" and small.preprocess.size == 160
    network = networks.Network(small, small.build())
    vectors = network(network.blank(), ["logits", "penultimate", "last"])
    weight, bias = (network.module.get_parameter(f"{small.head}.{name}").numpy() for name in ("weight", "bias"))
    assert close(vectors["penultimate"] @ weight.T + bias, vectors["logits"])


def test_import_is_light():
    program = """if True:
        import sys
        import amulsearch as am
        am.models.table()
        heavy = ("torch", "torchvision", "timm", "matplotlib", "openvino", "faiss", "nmslib", "hnswlib")
        heavy += ("scipy", "sklearn")
        print([name for name in heavy if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# The layers


@pytest.mark.parametrize("name", [*models.BUNDLED, *models.BLOG])
def test_all_of_2019_give_the_layers_of_the_record(name, photographs):
    model = models.get(name)
    torch.manual_seed(0)
    network = networks.Network(model, model.build())
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
        found = squeezenet.module.features[0](torch.from_numpy(batch)).numpy()[0]  # (64, 111, 111)
    for row, column in ((0, 0), (3, 50), (110, 110)):
        patch = batch[0, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]  # stride 2, no padding
        assert close(found[:, row, column], np.einsum("chw,hwco->o", patch, kernel) + bias)


def test_the_squeezenet_takes_bgr():
    model = models.get("squeezenet1_1")
    orange = np.full((9, 9, 3), (255, 128, 0), dtype=np.uint8)
    orange = normalised(model, pixels(model, orange, "pad")[None])
    assert np.allclose(orange[0, :, 0, 0], [0 - 103.939, 128 - 116.779, 255 - 123.68])


def test_preprocessing_is_torchvision_s(photographs):
    transform = networks.import_torchvision().models.ResNet152_Weights.IMAGENET1K_V1.transforms()
    model = models.get("resnet152")
    image = am.open_image(photographs["coffee"])
    difference = np.abs(normalised(model, prepared(model, [photographs["coffee"]]))[0] - transform(image).numpy())
    # torchvision resizes, rounds to whole pixels, then crops; our preprocessing is a single step.
    assert difference.mean() < 0.1
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    ours = normalised(model, pixels(model, image, "squash")[None])[0]
    theirs = (image / 255 - transform.mean) / transform.std
    assert np.abs(ours - theirs.transpose(2, 0, 1)).max() < 1e-3


CATS, ESPRESSO, ROCKETS = {281, 282, 285}, {967}, {657, 744, 812}  # ImageNet's numbers: tabby, tiger cat, Egyptian cat…


@pytest.mark.parametrize("name", models.BUNDLED)
def test_the_bundled_networks_know_the_photographs(name, photographs):
    model = models.get(name)
    batch = prepared(model, [photographs["cat"], photographs["coffee"], photographs["rocket"]])
    network = networks.load(model)
    layers = ["logits", "penultimate", "last:gem"]
    together = network(batch, layers)
    logits = together["logits"]
    first = logits.argmax(axis=1)
    assert first[0] in CATS and first[1] in ESPRESSO
    assert ROCKETS & set(np.argsort(-logits[2])[:5])
    for place in (0, 2):
        alone = network(batch[place : place + 1], layers)
        assert all(close(together[layer][place], alone[layer][0]) for layer in layers)


def test_pooling_is_numpy_s():
    values = np.random.default_rng(0).normal(size=(2, 5, 7, 7)).astype(np.float32)
    positive = np.maximum(values, 1e-6).astype(np.float64)
    maps = torch.from_numpy(values)
    assert close(networks.pool(maps, "mean"), values.mean((2, 3)))
    assert close(networks.pool(maps, "gem"), (positive**3).mean((2, 3)) ** (1 / 3))
    channels_last = maps.permute(0, 2, 3, 1)
    assert close(networks.pool(channels_last, "gem"), (positive**3).mean((2, 3)) ** (1 / 3))
    tokens = values.reshape(2, 5, 49)
    assert close(networks.pool(torch.from_numpy(tokens), "mean"), tokens.mean(1))
    assert close(networks.pool(torch.from_numpy(tokens[:, 0]), "gem"), tokens[:, 0])


def test_a_layer_is_what_its_module_gives(squeezenet, photographs):
    batch = prepared(squeezenet.model, [photographs["cat"]])
    layers = ["features.0", "features.3.squeeze", "features.4:gem", "last", "last:gem", "penultimate"]
    vectors = squeezenet(batch, layers)
    batch = normalised(squeezenet.model, batch)
    features = squeezenet.module.features
    with torch.inference_mode():
        # Each part separately, so that in-place ReLUs do not overwrite the values that were read.
        first = features[0](torch.from_numpy(batch)).numpy().copy()
        squeeze = features[3].squeeze(features[:3](torch.from_numpy(batch))).numpy().copy()
        fourth = features[:5](torch.from_numpy(batch)).numpy().copy()
        last = features(torch.from_numpy(batch)).numpy().copy()
    assert first.min() < 0 and close(vectors["features.0"], first.mean((2, 3)))
    assert close(vectors["features.3.squeeze"], squeeze.mean((2, 3)))
    assert close(vectors["features.4:gem"], (np.maximum(fourth, 1e-6) ** 3).mean((2, 3)) ** (1 / 3))
    assert close(vectors["last"], last.mean((2, 3))) and close(vectors["penultimate"], last.mean((2, 3)))
    assert close(vectors["last:gem"], (np.maximum(last, 1e-6) ** 3).mean((2, 3)) ** (1 / 3))


def test_every_listed_node_is_a_layer(squeezenet):
    nodes = squeezenet.nodes().drop_duplicates("node", keep="last")
    vectors = squeezenet(squeezenet.blank(), nodes["node"].tolist())
    assert {node: values.shape[1] for node, values in vectors.items()} == nodes.set_index("node")["width"].to_dict()
    assert len(nodes) > 50


def test_the_stages_are_the_last_maps_of_each_size(squeezenet):
    stages = squeezenet.stages()
    assert stages["node"].tolist() == ["features.1", "features.4", "features.7", "last"]
    nodes = squeezenet.nodes().set_index("node")["shape"]
    assert stages["shape"][1] == nodes["features.4"] and stages["shape"][3] == (512, 13, 13)
    for size, node in {side: stages["node"][row] for row, (_, side, _) in enumerate(stages["shape"][:3])}.items():
        assert all(shape[-1] != size for shape in nodes.iloc[nodes.index.get_loc(node) + 1 :])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            "fc7",
            r"squeezenet1_1 has no layer 'fc7': use logits, penultimate, last:gem, or .* such as features, classifier",
        ),
        ("", "has no layer ''"),
        ("last:max", "unknown pooling 'max' in 'last:max': use mean or gem"),
        ("logits:gem", "logits is already a vector: write it without :gem"),
        ("penultimate:mean", "penultimate is already a vector"),
        ("last:", "unknown pooling '' in 'last:'"),
    ],
)
def test_an_unknown_layer_or_pooling_is_refused(squeezenet, layer, message):
    with pytest.raises(am.ModelError, match=message):
        squeezenet(squeezenet.blank(), [layer])


@pytest.mark.parametrize(
    "wrong", [lambda batch: batch / 255, lambda batch: batch[0], list, lambda batch: batch.transpose(0, 3, 1, 2), id]
)
def test_what_is_no_batch_is_refused(squeezenet, wrong):
    with pytest.raises(am.QueryError, match=r"squeezenet1_1 takes an array \(B, size, size, 3\) uint8, not"):
        squeezenet(wrong(squeezenet.blank()), ["logits"])


def test_an_unknown_pooling_is_no_gem():
    with pytest.raises(am.ModelError, match="unknown pooling 'max': use mean or gem"):
        models.pool(torch.zeros(1, 2, 3, 3), "max")


# What others do to a network


def test_a_network_that_was_changed_is_loaded_anew(photographs):
    name, image = "tf_efficientnet_lite0", am.open_image(photographs["cat"])
    before = am.embed(image, name, "penultimate")["penultimate"]

    def trained(module):
        module.train()
        module(torch.rand(2, 3, 224, 224))  # which changes the statistics of batch normalisation

    def doubled(module):
        with torch.no_grad():
            module.conv_stem.weight.mul_(2)

    for change in (
        trained,
        doubled,
        torch.nn.Module.train,
        lambda module: setattr(module, "bn2", torch.nn.Identity()),
        lambda module: module.bn2.register_forward_hook(lambda module, values, output: 2 * output),
    ):
        change(models.load(name).module)
        assert np.array_equal(am.embed(image, name, "penultimate")["penultimate"], before)


def test_a_network_of_one_s_own_is_what_it_was_when_its_record_was_made():
    module, picture = small_module(), Image.new("RGB", (32, 32), "red")
    model = models.own("mine", module, Preprocess(32))
    before = am.embed(picture, model, "logits")["logits"]
    for one in (module, models.load(model).module):
        with torch.no_grad():
            one[4].weight.mul_(2)
        assert np.array_equal(am.embed(picture, model, "logits")["logits"], before)


def test_the_precision_is_the_network_s_whatever_torch_was_told(squeezenet, photographs):
    batch = prepared(squeezenet.model, [photographs["cat"]])
    expected = squeezenet(batch, ["logits"])["logits"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(squeezenet(batch, ["logits"])["logits"], expected)


def test_a_network_loaded_in_inference_mode_still_explains(photographs):
    image, networks_cached = am.open_image(photographs["cat"]), networks._load
    networks_cached.cache_clear()
    with torch.inference_mode():
        models.load("squeezenet1_1")
    assert am.views.similarity_maps(image, image, "squeezenet1_1")[0].values.any()


# The user's own networks and checkpoints


def small_module(classes=6) -> torch.nn.Module:
    torch.manual_seed(0)
    nn = torch.nn
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))
    )


def test_a_network_of_one_s_own(photographs):
    module = small_module()
    model = models.own("mine", module, Preprocess(32, (0, 0, 0), (255, 255, 255)))
    image = am.open_image(photographs["cat"])
    values = (
        np.asarray(am.models.resize_image(image, 32, "pad", interpolation="bilinear")).transpose(2, 0, 1)[None] / 255
    )
    with torch.inference_mode():
        expected = module(torch.from_numpy(values.astype(np.float32))).numpy()
    vectors = am.embed(image, model, ["logits", "penultimate", "0"])
    assert close(vectors["logits"], expected)
    assert close(
        vectors["penultimate"] @ module[4].weight.detach().numpy().T + module[4].bias.detach().numpy(), expected
    )
    assert vectors["0"].shape == (1, 4)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_scripted_network_of_one_s_own():
    module, picture = small_module(), Image.new("RGB", (32, 32), "red")
    plain, scripted = (models.own("mine", one, Preprocess(32)) for one in (module, torch.jit.script(module)))
    assert scripted.unknown and not plain.unknown  # what it does is in its code alone
    assert close(*(am.embed(picture, model, "logits")["logits"] for model in (scripted, plain)))


def test_a_transformer_of_one_s_own():
    torch.manual_seed(0)
    shape = {"image_size": 32, "patch_size": 8, "num_layers": 4, "num_heads": 2, "hidden_dim": 24, "mlp_dim": 48}
    module = import_torchvision().models.VisionTransformer(**shape, num_classes=7)
    network = networks.Network(models.own("mine", module, Preprocess(32)), module)
    batch = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    layers = ["penultimate", "cls", "last", "last:gem", "encoder.layers.encoder_layer_1"]
    vectors = network(batch, layers)
    with torch.inference_mode():
        tokens = module._process_input(torch.from_numpy(normalised(network.model, batch)))
        tokens = module.encoder(torch.cat([module.class_token.expand(3, -1, -1), tokens], 1)).numpy()  # (3, 1 + 16, 24)
    assert close(vectors["cls"], tokens[:, 0]) and close(vectors["penultimate"], tokens[:, 0])
    assert close(vectors["last"], tokens[:, 1:].mean(1))
    assert close(vectors["last:gem"], (np.maximum(tokens[:, 1:], 1e-6) ** 3).mean(1) ** (1 / 3))
    assert network.inner_layer() == "encoder.layers.encoder_layer_2:mean"
    assert network.stages()["node"].tolist() == ["encoder.layers.encoder_layer_0", "last"]
    larger = networks.Network(models.own("mine", module, Preprocess(64)), module)
    with pytest.raises(am.ModelError, match=r"mine takes no pictures of 64 pixels: .*32"):
        larger(larger.blank(), ["penultimate"])


def test_a_network_of_one_s_own_without_classes(photographs):
    torch.manual_seed(0)
    module = import_timm().create_model("test_vit", num_classes=0)
    model = models.own("mine", module, Preprocess(160))
    assert models.main_layers(model) == ["penultimate"] and models.standard_layers(model) == ["penultimate", "last:gem"]
    image = am.open_image(photographs["cat"])
    vectors = am.embed(image, model)
    with torch.inference_mode():
        assert close(
            vectors.pop("penultimate"),
            module.eval()(torch.from_numpy(normalised(model, prepared(model, [photographs["cat"]], "pad")))),
        )
    assert not vectors
    with pytest.raises(am.ModelError, match=r"no layer 'logits': use penultimate, cls, last:gem, or"):
        am.embed(image, model, "logits")


def test_a_network_of_one_size_is_built_for_another():
    model = models.get("timm/test_vit.r160_in1k@96")
    assert model.preprocess.size == 96 and model == models.get("timm/test_vit.r160_in1k@96")
    usual = models.get("timm/test_vit.r160_in1k").build()
    module = model.build()
    module.load_state_dict(model.rename(usual.state_dict(), module.state_dict()))
    assert usual.pos_embed.shape[1] == 1 + 10 * 10 and module.pos_embed.shape[1] == 1 + 6 * 6
    assert torch.equal(module.blocks[0].attn.qkv.weight, usual.blocks[0].attn.qkv.weight)
    network = networks.Network(model, module)
    assert network(network.blank(), ["logits"])["logits"].shape == (1, 1000)


def test_a_transform_of_one_s_own(photographs):
    def transform(image):
        return torch.from_numpy(np.array(image.resize((20, 20)))).permute(2, 0, 1) / 255

    module = small_module()
    image = am.open_image(photographs["cat"])
    model = models.own("mine", module, transform)
    with torch.inference_mode():
        expected = module(transform(image)[None]).numpy()
    assert close(am.embed(image, model, "logits")["logits"], expected)
    flat = models.own("flat", module, lambda image: transform(image)[0])
    with pytest.raises(am.ModelError, match=r"must return a \(3, H, W\) tensor, not one of shape \(20, 20\)"):
        am.embed(image, flat, "logits")


def test_the_identity_of_one_s_own_network_is_its_weights():
    first, same = (models.own("mine", small_module()).weights.identity for _ in range(2))
    module = small_module()
    with torch.no_grad():
        module[0].bias[0] += 1
    assert first == same != models.own("mine", module).weights.identity


class Net(torch.nn.Module):
    """A network with a given forward."""

    def __init__(self, forward):
        super().__init__()
        self.head, self.inner, self.outer = torch.nn.Linear(5, 4), torch.nn.Linear(3, 4), torch.nn.Linear(4, 5)
        self.of = forward

    def forward(self, values: torch.Tensor):
        return self.of(self, values.mean((2, 3)))


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, values: net.head(net.outer(net.inner(values))),  # two layers are as wide as the output
        lambda net, values: net.head(input=net.outer(net.inner(values))),
    ],
)
def test_the_classifier_is_the_last_layer_to_run_also_if_it_is_called_by_keyword(forward):
    torch.manual_seed(0)
    network = networks.Network(models.own("mine", net := Net(forward), Preprocess(32)), net)
    vectors = network(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8), ["logits", "penultimate"])
    weight, bias = (value.detach().numpy() for value in net.head.parameters())
    assert close(vectors["penultimate"] @ weight.T + bias, vectors["logits"])


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda net, values: 1 / 0, "mine takes no pictures of 32 pixels: division by zero"),
        (lambda net, values: net.head(values), "mine takes no pictures of 32 pixels: mat1 and mat2"),
        (lambda net, values: {"logits": net.inner(values)}, "must return one"),
        (lambda net, values: net.inner(values)[:1], "must return one"),
        (lambda net, values: net.inner(values).argmax(1, keepdim=True), "must return one"),
        (lambda net, values: net.inner(values) * 1j, "must return one"),
    ],
)
def test_a_network_of_one_s_own_that_fails_is_named(forward, message):
    model = models.own("mine", Net(forward), Preprocess(32))
    for layer in ("logits", "penultimate"):
        with pytest.raises(am.ModelError, match=message):
            am.embed([Image.new("RGB", (32, 32))] * 3, model, layer)


def test_a_layer_must_give_something_for_each_picture():
    windows = torch.nn.Sequential(torch.nn.Flatten(0, 1), torch.nn.Unflatten(0, (-1, 3)), torch.nn.AdaptiveAvgPool2d(1))
    module = torch.nn.Sequential(windows, torch.nn.Flatten(), torch.nn.Linear(3, 4))
    network = networks.Network(models.own("mine", module, Preprocess(32)), module)
    assert "0.0" not in set(network.nodes()["node"])
    with pytest.raises(am.ModelError, match=r"mine: 0\.0 outputs no tensor to pool"):
        network(network.blank(), ["0.0"])


def test_the_class_token_of_one_s_own_transformer_is_left_out_of_its_places():
    class Tokens(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cls_token, self.patches = torch.nn.Parameter(torch.full((1, 1, 6), 50.0)), torch.nn.Conv2d(3, 6, 8, 8)
            self.norm, self.head = torch.nn.Identity(), torch.nn.Linear(6, 4)

        def forward(self, values):
            places = self.patches(values).flatten(2).mT
            return self.head(self.norm(torch.cat([self.cls_token.expand(len(places), -1, -1), places], 1))[:, 0])

    model = models.own("mine", module := Tokens(), Preprocess(32))
    batch = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    with torch.inference_mode():
        places = module.patches(torch.from_numpy(normalised(model, batch))).flatten(2).mean(2).numpy()
    vectors = networks.load(model)(batch, ["norm", "cls"])
    assert close(vectors["norm"], places) and (vectors["cls"] == 50).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"module": torch.nn.ReLU}, r"must be a torch.nn.Module, such as MyNetwork\(\), not the class ReLU"),
        ({"module": None}, "must be a torch.nn.Module, .*, not NoneType"),
        ({"module": models.get("alexnet")}, "must be a torch.nn.Module, .*, not Model"),
        ({"module": torch.nn.Linear(3, 4, device="meta")}, "mine: the module or the transform cannot be read: .*meta"),
        ({"head": "fc"}, r"mine has no module 'fc' for head=: use one such as 0, 1, 2, 3, 4"),
        ({"head": ["4"]}, "mine has no module"),
        ({"feature_map": 3}, "mine has no module 3 for feature_map="),
        ({"preprocess": "crop"}, "preprocess must be a Preprocess or a function of a PIL image, not str"),
        ({"name": "bundled"}, "bundled is the name of a network in the table or of a group"),
        ({"name": None}, "the name of a network must be a string"),
        ({"version": [1]}, "version must be a string or an integer"),
    ],
)
def test_what_cannot_be_a_network_of_one_s_own(given, message):
    with pytest.raises(am.ModelError, match=message):
        models.own(**{"name": "mine", "module": small_module(), **given})


def test_a_transform_that_fails_or_gives_several_sizes_is_named():
    pictures = [Image.new("RGB", (20, 30)), Image.new("RGB", (30, 20))]
    for transform, message in (
        (lambda image: 1 / 0, "the transform fails: division by zero"),
        (lambda image: np.zeros((3, *image.size)), r"the transform of mine gives pictures of different sizes, such as"),
    ):
        with pytest.raises(am.ModelError, match=message):
            am.embed(pictures, models.own("mine", small_module(), transform), "logits")


def test_networks_of_one_s_own_that_cannot_work():
    with pytest.raises(am.ModelError, match="alexnet is the name of a network in the table"):
        models.own("alexnet", small_module())
    picture = Image.new("RGB", (32, 32))
    headless = models.own("maps", torch.nn.Conv2d(3, 4, 3), Preprocess(32))
    with pytest.raises(am.ModelError, match=r"maps: the network must return one \(B, classes\) tensor"):
        am.embed(picture, headless, "logits")
    no_head = models.own("bare", torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()), Preprocess(32))
    with pytest.raises(am.ModelError, match="bare: no classifier was found: name it with head="):
        am.embed(picture, no_head, "penultimate")


@pytest.fixture(scope="module")
def random_squeezenet() -> torch.nn.Module:
    torch.manual_seed(1)
    return models.get("squeezenet1_1").build().eval()


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_checkpoint_of_one_s_own(tmp_path, random_squeezenet, ending):
    path = tmp_path / f"mine.{ending}"
    if ending == "pth":
        torch.save({"state_dict": random_squeezenet.state_dict(), "epoch": 3}, path)
    else:
        from safetensors.torch import save_file

        save_file(random_squeezenet.state_dict(), path)
    model = models.get("squeezenet1_1", weights=path)
    assert model.ready and model.weights.identity != models.get("squeezenet1_1").weights.identity
    network = networks.load(model)
    batch = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    values = torch.from_numpy(normalised(model, batch))
    with torch.inference_mode():
        assert close(network(batch, ["logits"])["logits"], random_squeezenet(values).numpy())


def under(prefix: str, state: dict) -> dict:
    return {f"{prefix}{name}": value for name, value in state.items()}


@pytest.fixture(scope="module")
def random_resnet() -> torch.nn.Module:
    """With 7 classes."""
    torch.manual_seed(1)
    return import_torchvision().models.resnet18(num_classes=7).eval()


WRAPPED = {
    "a data-parallel one": (lambda state: under("module.", state), ""),
    "a compiled one": (lambda state: {"model_state": under("_orig_mod.", state), "epoch": 3}, ""),
    "a trainer's": (lambda state: {**under("model.", state), "loss.weight": torch.ones(3)}, ", without its loss"),
    "with an optimizer": (
        lambda state: {"model": under("module.", state), "optimizer": {"state": {0: {"step": torch.ones(3)}}}},
        ", without its optimizer",
    ),
    "with averages": (lambda state: {"state_dict": state, "state_dict_ema": state}, ", without its state_dict_ema"),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_a_checkpoint_of_another_tool_with_other_classes(tmp_path, random_resnet, kind):
    wrap, without = WRAPPED[kind]
    torch.save(wrap(random_resnet.state_dict()), path := tmp_path / "mine.pth")
    model = models.get("resnet18", path)
    told = rf"^resnet18 was loaded from .*mine.pth with 7 classes instead of 1000{without}$"
    with pytest.warns(UserWarning, match=told):
        network = networks.load(model)
    batch = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    vectors = network(batch, ["logits", "penultimate"])
    with torch.inference_mode():
        assert close(vectors["logits"], random_resnet(torch.from_numpy(normalised(model, batch))).numpy())
    assert vectors["logits"].shape == (2, 7) and vectors["penultimate"].shape == (2, 512)
    with pytest.raises(am.QueryError, match="classes of ImageNet are needed"):
        models.classifiers([model])


def test_a_checkpoint_of_another_depth_or_of_two_networks_is_refused(tmp_path, random_resnet):
    deeper = import_torchvision().models.resnet34(num_classes=7).state_dict()  # which holds all names of resnet18
    state = random_resnet.state_dict()
    for content, message in (
        (deeper, "does not fit this architecture: .*layer1.2"),
        ({"student": state, "teacher": state}, r"mine.pth holds several networks \(student, teacher\): save"),
        ({name: value for name, value in state.items() if "fc" not in name}, r"Missing key.*fc.weight"),
    ):
        torch.save(content, path := tmp_path / "mine.pth")
        with pytest.raises(am.ModelError, match=message):
            networks.load(models.get("resnet18", path))


def test_a_checkpoint_saved_anew_is_loaded_anew(tmp_path):
    path = tmp_path / "mine.pth"
    model = models.get("squeezenet1_1", weights=path)
    seen = []
    for value in (1.0, 2.0):
        state = {name: torch.full_like(tensor, value) for name, tensor in model.build().state_dict().items()}
        torch.save(state, path)
        seen.append((model.weights.identity, networks.load(model).module.features[0].bias[0].item()))
    assert [bias for _, bias in seen] == [1.0, 2.0] and seen[0][0] != seen[1][0]
    assert networks.load(model) is networks.load(model)


def test_checkpoints_that_do_not_fit_are_refused(tmp_path, random_squeezenet):
    good = random_squeezenet.state_dict()
    kernel = good["features.0.weight"]
    bad = {
        "wrong shape": (
            {**good, "features.0.weight": kernel[:, :2]},
            "the checkpoint does not fit this architecture.*features.0",
        ),
        "missing part": ({"features.0.weight": kernel}, "the checkpoint does not fit this architecture.*Missing key"),
        "NaN": ({**good, "features.0.weight": kernel * torch.nan}, "holds NaN or infinite values in features.0.weight"),
        "infinite": (
            {**good, "classifier.1.bias": good["classifier.1.bias"] + torch.inf},
            "NaN or infinite values in cl",
        ),
        "no tensors": ({"epoch": 3, "loss": 0.5}, r"is not a state dict .*save the network's state_dict\(\)"),
        "a list": ([kernel], "is not a state dict"),
    }
    for name, (state, message) in bad.items():
        path = tmp_path / f"{name}.pth"
        torch.save(state, path)
        with pytest.raises(am.ModelError, match=f"squeezenet1_1: .*{message}"):
            networks.load(models.get("squeezenet1_1", weights=path))
    for content in (b"", b"words"):
        (tmp_path / "no.pth").write_bytes(content)
        with pytest.raises(am.ModelError, match=r"squeezenet1_1: .*no\.pth (is not|cannot be read as) a checkpoint"):
            networks.load(models.get("squeezenet1_1", weights=tmp_path / "no.pth"))
    with pytest.raises(am.ModelError, match=r"there is no checkpoint .*missing.pth"):
        networks.load(models.get("squeezenet1_1", weights=tmp_path / "missing.pth"))


# What a fingerprint knows of a model


def test_every_field_of_a_record_counts_but_those_that_decide_nothing():
    model = models.get("squeezenet1_1")

    @dataclasses.dataclass(frozen=True)
    class Newer(type(model)):
        added: int = 0

    values = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    before = Newer(**values).describe()
    assert Newer(**values, added=1).describe() != before
    for name, value in (("head", "classifier.2"), ("feature_map", "features.9"), ("name", "other")):
        assert Newer(**{**values, name: value}).describe() != before
    for name, value in (("licence", "other"), ("source", "other"), ("penultimate", 3)):
        assert Newer(**{**values, name: value}).describe() == before


def test_every_field_of_a_preprocessing_counts(photographs):
    for before, changed in (
        (Preprocess(), vars(Preprocess(64, (1, 2, 3), (1, 2, 3), "BGR", "lanczos", 0.5, True))),
        (OwnTransform(np.asarray, "one"), {"identity": "other"}),
    ):
        newer = dataclasses.make_dataclass("Newer", [("added", int, 0)], bases=(type(before),), frozen=True)
        same = newer(**vars(before))
        for name, value in {**changed, "added": 1}.items():
            assert dataclasses.replace(same, **{name: value}).describe() != same.describe()


def test_the_version_of_the_code_counts(monkeypatch):
    here = [models.get(name) for name in (*models.BUNDLED, *models.BLOG)]
    records = [*here, models.own("mine", small_module())]
    before = [model.describe() for model in records]
    monkeypatch.setattr(record, "POOLING_VERSION", 0)
    assert all(model.describe() != old for model, old in zip(records, before, strict=True))


def test_one_s_own_network_with_another_head_has_other_features(small_folder, tmp_path):
    torch.manual_seed(0)
    collection = am.Collection.from_folder(small_folder, progress=False)[:4]
    layers = [torch.nn.Flatten(), torch.nn.Linear(3 * 64 * 64, 32), torch.nn.Linear(32, 24), torch.nn.Linear(24, 10)]
    net = torch.nn.Sequential(*layers)
    widths = []
    for head in ("2", "3", "2"):
        model = models.own("mine", net, Preprocess(64), head=head)
        made = am.extract(collection, model, "penultimate", store=tmp_path / "store", progress=False)
        widths.append(made["mine", "penultimate"].vectors.shape[1])
    assert widths == [32, 24, 32]
    other = torch.nn.Sequential(*layers[:2], torch.nn.ReLU(), *layers[2:])
    assert (
        models.own("mine", torch.nn.Sequential(torch.nn.ReLU())).weights
        != models.own("mine", torch.nn.Sequential(torch.nn.GELU())).weights
    )
    assert models.own("mine", other).weights != models.own("mine", net).weights


def red(image: Image.Image, side: int = 8) -> torch.Tensor:
    return torch.ones(3, side, side) * np.asarray(image).mean() / 255


class Reddish:
    def __call__(self, image: Image.Image) -> torch.Tensor:
        return red(image)


class Mean(torch.nn.Module):
    """A network with a forward of its own."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(3, 4)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.head(values.mean((2, 3)))


def composed(function) -> object:
    import_torchvision()
    from torchvision.transforms import Compose, Lambda

    return Compose([Lambda(function)])


OWN_CODE = {
    "a function": (small_module, lambda: red, "red"),
    "a partial": (small_module, lambda: partial(red, side=9), "red"),
    "a lambda in a transform": (small_module, lambda: composed(lambda image: red(image)), "<lambda>"),
    "a bound method": (small_module, lambda: Reddish().__call__, r"Reddish.__call__, Reddish"),
    "an object": (small_module, Reddish, "Reddish"),
    "a forward": (Mean, lambda: Preprocess(32), "Mean"),
    "a hook": (lambda: hooked(small_module()), lambda: Preprocess(32), "<lambda>"),
}


def hooked(module: torch.nn.Module) -> torch.nn.Module:
    module[4].register_forward_hook(lambda module, values, output: 2 * output)
    return module


@pytest.mark.parametrize("kind", OWN_CODE)
def test_code_of_one_s_own_is_kept_in_a_store_by_its_version_only(small_folder, tmp_path, kind):
    (build, transform, name), store = OWN_CODE[kind], tmp_path / "store"
    pictures, module = am.Collection.from_folder(small_folder, progress=False)[:2], build()
    made = [models.own("mine", module, transform(), version=version) for version in (None, None, 1, 1, "two")]
    assert made[0].describe() != made[1].describe() and made[2].describe() == made[3].describe()
    with pytest.raises(am.ModelError, match=rf"mine has code of your own \(.*{name}\), .* am.models.own a version="):
        am.extract(pictures, made[0], "logits", store=store, progress=False)
    assert not store.exists() and len(am.extract(pictures, made[0], "logits", progress=False)["mine", "logits"]) == 2
    for model, computed in ((made[2], 2), (made[3], 0), (made[4], 2)):
        assert am.extract(pictures, model, "logits", store=store, progress=False).extracted == computed


def test_what_is_made_of_a_library_s_classes_is_known_in_every_process():
    program = """
from functools import partial
import torch
from amulsearch import models
from amulsearch.models.architectures import import_torchvision
vision = import_torchvision()
def made(build):
    for setting in (2, 4):
        torch.manual_seed(0)
        yield build(setting)
attention = lambda heads: torch.nn.MultiheadAttention(8, heads)  # whose text does not show them
transformer = lambda heads: vision.models.VisionTransformer(32, 8, 1, heads, 24, 48)
found = [models.own("mine", module).weights.identity for build in (attention, transformer) for module in made(build)]
resize = lambda side: vision.transforms.Compose([vision.transforms.Resize(side), vision.transforms.ToTensor()])
part = lambda side: partial(vision.transforms.functional.resize, size=side)
method = lambda side: vision.transforms.Resize(side).forward
for build in (resize, part, method):
    found += [models.own("mine", torch.nn.ReLU(), one).preprocess.identity for one in made(build)]
"""
    exec(program, here := {})
    there = subprocess.check_output([sys.executable, "-c", f"{program}print(*found)"], text=True)
    assert there.split() == here["found"] and len(set(here["found"])) == 10


def test_a_record_of_torchvision_or_timm_is_made_once():
    for name in ("resnet18", "timm/mobilenetv3_small_100"):
        assert models.get(name) is models.get(name) and models.get(f"{name}@mirror") == models.get(f"{name}@mirror")
