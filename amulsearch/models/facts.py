"""What is known of the networks in the table before they run: size, accuracy, speed, and quality on the cartoons."""

from __future__ import annotations

from typing import NamedTuple


class Facts(NamedTuple):
    """Numbers that help to choose a network; None where there is none.

    MB: the size of the weights file, in millions of bytes. ImageNet: the top-1 accuracy, in percent, as torchvision
    states it for these weights. ms: the processor time of the network alone for a picture, in float32, of an AMD EPYC;
    several cores share it. P5, mAP: of the penultimate layer on the bundled cartoons. The last three are from
    `benchmarks/networks.py`.
    """

    MB: float
    ImageNet: float | None
    ms: float
    P5: float | None = None
    mAP: float | None = None


FACTS = {
    "squeezenet1_1": Facts(4.9, None, 4.4, 0.399, 0.178),
    "tf_efficientnet_lite0": Facts(18.8, None, 5.3, 0.443, 0.201),
    "tf_efficientnet_lite1": Facts(21.9, None, 8.1, 0.451, 0.197),
    "tf_efficientnet_lite2": Facts(24.7, None, 11.8, 0.450, 0.204),
    "alexnet": Facts(244.4, 56.5, 7.0),
    "vgg19": Facts(574.7, 72.4, 152.0),
    "resnet152": Facts(241.6, 78.3, 100.0),
    "densenet161": Facts(115.7, 77.1, 74.0),
    "inception_v3": Facts(109.0, 77.3, 49.0),
    "convnext_tiny_22k": Facts(114.4, None, 48.0),
    "eva02_tiny": Facts(23.0, None, 67.0),
    "dinov2_small": Facts(88.3, None, 58.0),
    "dinov3_small": Facts(86.3, None, 60.0),
    "siglip_base": Facts(371.5, None, 158.0),
}
