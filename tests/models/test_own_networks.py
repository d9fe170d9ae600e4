"""Networks of one's own: what they give, what a store keeps of them, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from test_networks import close, normalised

import amulsearch as am
from amulsearch import models
from amulsearch.intake import Decoded
from amulsearch.models.architectures import import_timm, import_torchvision
from amulsearch.models.preprocess import Preprocess


def small_module(classes=6) -> torch.nn.Module:
    torch.manual_seed(0)
    nn = torch.nn
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))
    )


def logits(model, picture=None):
    return am.embed(picture or Image.new("RGB", (32, 32), "red"), model, "logits")["logits"]


def random_batch(side=32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, side, side, 3), np.uint8)


def test_a_network_of_one_s_own(photographs):
    module = small_module()
    model = models.own("mine", module, Preprocess(32, (0, 0, 0), (255, 255, 255)))
    image = am.open_image(photographs["cat"])
    square = model.preprocess.pixels(Decoded(np.array(image), image.size), "pad", "white")
    with torch.inference_mode():
        expected = module(torch.from_numpy(square.transpose(2, 0, 1)[None] / np.float32(255))).numpy()
    vectors = am.embed(image, model, ["logits", "penultimate", "0"])
    weight, bias = (value.detach().numpy() for value in module[4].parameters())
    assert close(vectors["logits"], expected) and close(vectors["penultimate"] @ weight.T + bias, expected)
    assert vectors["0"].shape == (1, 4)


def test_it_is_what_it_was_when_its_record_was_made():
    module = small_module()
    model = models.own("mine", module, Preprocess(32))
    before = logits(model)
    for changed in (module, models.load(model).module):
        with torch.no_grad():
            changed[4].weight.mul_(2)
        assert np.array_equal(logits(model), before)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_scripted_one():
    module = small_module()
    plain, scripted = (models.own("mine", made, Preprocess(32)) for made in (module, torch.jit.script(module)))
    assert close(logits(scripted), logits(plain))


def test_a_transformer():
    torch.manual_seed(0)
    shape = {"image_size": 32, "patch_size": 8, "num_layers": 4, "num_heads": 2, "hidden_dim": 24, "mlp_dim": 48}
    module = import_torchvision().models.VisionTransformer(**shape, num_classes=7)
    network = models.Network(models.own("mine", module, Preprocess(32)), module)
    batch = random_batch()
    vectors = network(batch, ["penultimate", "cls", "last", "last:gem"])
    with torch.inference_mode():
        tokens = module._process_input(normalised(network.model, batch))
        tokens = module.encoder(torch.cat([module.class_token.expand(3, -1, -1), tokens], 1)).numpy()  # (3, 1 + 16, 24)
    assert close(vectors["cls"], tokens[:, 0]) and close(vectors["penultimate"], tokens[:, 0])
    assert close(vectors["last"], tokens[:, 1:].mean(1))
    assert close(vectors["last:gem"], (np.maximum(tokens[:, 1:], 1e-6) ** 3).mean(1) ** (1 / 3))
    assert network.inner_layer() == "encoder.layers.encoder_layer_2:mean"
    assert network.stages()["node"].tolist() == ["encoder.layers.encoder_layer_0", "last"]
    larger = models.Network(models.own("mine", module, Preprocess(64)), module)
    with pytest.raises(am.errors.ModelError, match=r"mine takes no pictures of 64 pixels: .*32"):
        larger(larger.blank(), ["penultimate"])


def test_one_without_classes():
    torch.manual_seed(0)
    module = import_timm().create_model("test_vit", num_classes=0).eval()
    model = models.own("mine", module, Preprocess(160))
    assert models.main_layers(model) == ["penultimate"] and models.standard_layers(model) == ["penultimate", "last:gem"]
    network = models.Network(model, module)
    batch = random_batch(160)
    with torch.inference_mode():
        assert close(network(batch, "penultimate")["penultimate"], module(normalised(model, batch)))
    with pytest.raises(am.errors.ModelError, match=r"no layer 'logits': use penultimate, last:gem, or"):
        network(batch, "logits")


class Tokens(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.cls_token, self.patches = torch.nn.Parameter(torch.full((1, 1, 6), 50.0)), torch.nn.Conv2d(3, 6, 8, 8)
        self.norm, self.head = torch.nn.Identity(), torch.nn.Linear(6, 4)

    def forward(self, values):
        places = self.patches(values).flatten(2).mT
        return self.head(self.norm(torch.cat([self.cls_token.expand(len(places), -1, -1), places], 1))[:, 0])


def test_a_class_token_is_left_out_of_the_places():
    model = models.own("mine", module := Tokens(), Preprocess(32))
    batch = random_batch()
    with torch.inference_mode():
        places = module.patches(normalised(model, batch)).flatten(2).mean(2).numpy()
    vectors = models.load(model)(batch, ["norm", "cls"])
    assert close(vectors["norm"], places) and (vectors["cls"] == 50).all()


class Net(torch.nn.Module):
    """A network with a given forward."""

    def __init__(self, forward):
        super().__init__()
        self.head, self.inner, self.outer = torch.nn.Linear(5, 4), torch.nn.Linear(3, 4), torch.nn.Linear(4, 5)
        self.code = forward

    def forward(self, values: torch.Tensor):
        return self.code(self, values.mean((2, 3)))


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, values: net.head(net.outer(net.inner(values))),  # two layers are as wide as the output
        lambda net, values: net.head(input=net.outer(net.inner(values))),
    ],
)
def test_the_classifier_is_the_last_layer_to_run_also_if_it_is_called_by_keyword(forward):
    torch.manual_seed(0)
    network = models.Network(models.own("mine", net := Net(forward), Preprocess(32)), net)
    vectors = network(random_batch(), ["logits", "penultimate"])
    weight, bias = (value.detach().numpy() for value in net.head.parameters())
    assert close(vectors["penultimate"] @ weight.T + bias, vectors["logits"])


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda net, values: 1 / 0, "mine takes no pictures of 32 pixels: division by zero"),
        (lambda net, values: net.head(values), "mine takes no pictures of 32 pixels: mat1 and mat2"),
        (lambda net, values: {"logits": net.inner(values)}, "must return one"),
        (lambda net, values: net.inner(values)[:1], "must return one"),
        (lambda net, values: net.inner(values)[..., None], r"mine: the network must return one \(B, classes\) tensor"),
        (lambda net, values: net.inner(values).argmax(1, keepdim=True), "must return one"),
        (lambda net, values: net.inner(values) * 1j, "must return one"),
    ],
)
def test_one_that_fails_is_named(forward, message):
    model = models.own("mine", Net(forward), Preprocess(32))
    for layer in ("logits", "penultimate"):
        with pytest.raises(am.errors.ModelError, match=message):
            am.embed([Image.new("RGB", (32, 32))] * 3, model, layer)


def test_one_without_a_classifier_to_find():
    module = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    with pytest.raises(am.errors.ModelError, match="bare: no classifier was found: name it with head="):
        am.embed(Image.new("RGB", (32, 32)), models.own("bare", module, Preprocess(32)), "penultimate")


def test_a_layer_must_give_something_for_each_picture():
    windows = torch.nn.Sequential(torch.nn.Flatten(0, 1), torch.nn.Unflatten(0, (-1, 3)), torch.nn.AdaptiveAvgPool2d(1))
    module = torch.nn.Sequential(windows, torch.nn.Flatten(), torch.nn.Linear(3, 4))
    network = models.Network(models.own("mine", module, Preprocess(32)), module)
    assert "0.0" not in set(network.nodes()["node"])
    with pytest.raises(am.errors.ModelError, match=r"mine: 0\.0 outputs no tensor to pool"):
        network(network.blank(), ["0.0"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"module": torch.nn.ReLU}, r"give a torch.nn.Module, such as MyNetwork\(\), not a type"),
        ({"module": None}, "give a torch.nn.Module, .*, not a NoneType"),
        ({"module": torch.nn.Linear(3, 4, device="meta")}, "mine: the module cannot be read: .*meta"),
        ({"head": "fc"}, r"mine has no module 'fc': use one such as 0, 1, 2, 3, 4"),
        ({"head": ["4"]}, "mine has no module"),
        ({"feature_map": 3}, "mine has no module 3"),
        ({"preprocess": "crop"}, "preprocess must be a Preprocess, not a str"),
        *(({"name": name}, "a string that no network in the table has") for name in ("alexnet", "bundled", " ", None)),
    ],
)
def test_what_cannot_be_a_network_of_one_s_own(arguments, message):
    with pytest.raises(am.errors.ModelError, match=message):
        models.own(**{"name": "mine", "module": small_module(), **arguments})


def test_two_of_one_name_are_refused(cartoons):
    """Once, the vectors of the second were those of the first."""
    both = [models.own("mine", small_module(classes), Preprocess(32)) for classes in (5, 6)]
    with pytest.raises(am.errors.ModelError, match="two different models have the name mine"):
        am.extract(cartoons[:2], both, progress=False)


# In a store


def test_a_store_keeps_it_by_its_version_only(small_folder, tmp_path):
    store, module = tmp_path / "store", small_module()
    pictures = am.Collection.from_folder(small_folder, progress=False)[:2]
    made = [models.own("mine", module, Preprocess(32), version=version) for version in (None, None, 1, 1, "two")]
    assert made[0].describe() != made[1].describe() and made[2].describe() == made[3].describe()
    with pytest.raises(am.errors.ModelError, match=r"mine has no version, .* am.models.own a version="):
        am.extract(pictures, made[0], "logits", store=store, progress=False)
    assert not store.exists() and len(am.extract(pictures, made[0], "logits", progress=False)["mine", "logits"]) == 2
    for model, computed in ((made[2], 2), (made[3], 0), (made[4], 2)):
        assert am.extract(pictures, model, "logits", store=store, progress=False).extracted == computed


def test_other_weights_layers_or_settings_are_another_network_of_the_same_version():
    def identity(change=lambda module: None) -> str:
        module = small_module()
        change(module)
        return str(models.own("mine", module, version=1).describe())

    with_bias = identity(lambda module: module[0].bias.data.add_(1))
    with_gelu = identity(lambda module: module.__setitem__(1, torch.nn.GELU()))
    assert len({identity(), with_bias, with_gelu}) == 3 and identity() == identity()
