"""Networks of today, each at a small depth: from a hub on this machine to features and an index.

The weights are random, the architectures, the checkpoints and the way to them are real; timm's own forward pass says
what the layers are.
"""

import importlib.util
from functools import partial

import numpy as np
import pytest
import torch

import amulsearch as am
from amulsearch import models
from amulsearch.features import converted, engine, pixels_of
from amulsearch.models.architectures import import_timm

TINY_VIT = {"depth": 2, "embed_dim": 96, "num_heads": 3}
TINY_STAGES = {"depths": (1, 1, 1, 1), "dims": (16, 24, 32, 48)}
FAMILIES = {
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k": {"depth": 2},
    "vit_base_patch32_clip_224.openai": TINY_VIT,
    "vit_base_patch16_siglip_224.webli": TINY_VIT,
    "vit_small_patch14_reg4_dinov2.lvd142m@112": TINY_VIT,
    "vit_small_patch16_dinov3.lvd1689m@128": TINY_VIT,
    "eva02_tiny_patch14_336.mim_in22k_ft_in1k@112": {"depth": 2},
    "swin_tiny_patch4_window7_224.ms_in1k": {"depths": (1, 1, 1, 1), "embed_dim": 24, "num_heads": (1, 1, 2, 2)},
    "convnextv2_tiny.fcmae_ft_in22k_in1k": TINY_STAGES,
}
"""The name of a network in timm, perhaps with a size of input, and what makes it small."""
PREFIX = {"reg4": 5, "dinov3": 5, "siglip": 0}
"""How many tokens come before those of the patches, by a part of the name; else one, the class token."""


@pytest.fixture
def hub(local_hub, server, monkeypatch):
    """A function that puts a small network of timm on a hub on this machine and returns it, with random weights."""
    from safetensors.torch import save

    timm = import_timm()
    create = timm.create_model
    monkeypatch.setattr(engine, "WORTH_CONVERTING", 0)

    def publish(name: str, **smaller):
        monkeypatch.setattr(timm, "create_model", partial(create, **smaller))
        torch.manual_seed(0)
        module = timm.create_model(name).eval()
        for value in module.parameters():  # some are 0 or 1 until they are trained
            value.data += 0.02 * torch.randn_like(value)
        state = {key: value.contiguous() for key, value in module.state_dict().items()}
        server.files[f"/timm/{name}/resolve/main/model.safetensors"] = save(state)
        return module

    return publish


def reference(name: str, size: int, module):
    """The network as timm loads it, for pictures of a size."""
    source = {"state_dict": module.state_dict(), "custom_load": False}
    sized = {"img_size": size} if hasattr(module, "blocks") else {}
    sized |= {"global_pool": "token"} if "dinov3" in name else {}  # as its authors do
    return import_timm().create_model(name, pretrained=True, pretrained_cfg_overlay=source, **sized).eval()


def assert_close(ours, theirs):
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5 * float(theirs.abs().max()), rtol=0)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family(name, hub, cartoons):
    plain = name.partition("@")[0]
    model = models.get(f"timm/{name}")
    theirs = reference(plain, model.preprocess.size, hub(plain, **FAMILIES[name]))
    some = cartoons.subset(cartoons.ids[::20])
    headless = theirs.num_classes == 0

    network = models.load(model)  # over HTTP
    batch = np.stack([pixels_of(some.open(id), model, "pad", "white") for id in some.ids])
    config = import_timm().data.resolve_data_config(pretrained_cfg=theirs.pretrained_cfg)
    mean, std = np.array(config["mean"]), np.array(config["std"])
    values = torch.from_numpy(((batch / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32))
    with torch.inference_mode():
        inner = theirs.forward_features(values)
        penultimate, output = theirs.forward_head(inner, pre_logits=True), theirs(values)
    tokens = inner.ndim == 3
    before = next((count for part, count in PREFIX.items() if part in name), 1)
    places = inner[:, before:] if tokens else inner if inner.shape[1] != inner.shape[2] else inner.movedim(3, 1)
    flat = places if tokens else places.flatten(2).movedim(1, 2)  # (B, places, D)
    expected = {
        **({} if headless else {"logits": output}),
        "penultimate": penultimate,
        "last:mean": flat.mean(1),
        "last:gem": flat.double().clamp(min=1e-6).pow(3).mean(1).pow(1 / 3),
        **({"cls": inner[:, 0]} if tokens and before else {}),
    }
    vectors = network(batch, list(expected))
    for layer, values in expected.items():
        assert_close(vectors[layer], values)
    if headless:
        assert torch.equal(penultimate, output)
        with pytest.raises(am.errors.ModelError, match="has no layer 'logits': use penultimate, "):
            network(batch, ["logits"])
    if "cls" not in expected:
        with pytest.raises(am.errors.ModelError, match="has no layer 'cls'"):
            network(batch, ["cls"])

    nodes = network.nodes().drop_duplicates("node", keep="last").set_index("node")
    assert nodes["width"][network.tap("last").module] == flat.shape[2] and len(network.blocks) == 2 * tokens
    inside, pooling = network.inner_layer().split(":")
    assert (inside, pooling) == ("blocks.1", "mean") if tokens else (pooling == "gem" and inside.endswith(".2"))

    features = am.extract(some, model, [*expected, f"{inside}:{pooling}"], progress=False)
    for layer, values in expected.items():  # through OpenVINO where it is installed
        made = features[model.name, layer].vectors
        np.testing.assert_allclose(made, values.numpy(), atol=2e-3 * float(values.abs().max()), rtol=0)
    assert importlib.util.find_spec("openvino") is None or converted.path_of(model, [of for _, of in features]).exists()
    assert models.main_layers(model) == ["logits", "penultimate"][headless:]

    index = am.ExactIndex.build(features[model.name, "penultimate"])
    unit = am.features.l2_normalize(penultimate.numpy())
    order = [some.ids[row] for row in np.argsort(-(unit @ unit[0])) if row]
    assert index.query(some.ids[0], len(some) - 1)["id"].tolist() == order
