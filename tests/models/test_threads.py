"""Networks in several threads, as in a notebook whose explorer warms them up while a cell runs."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import amulsearch as am

MODEL = "tf_efficientnet_lite0"


def test_threads_that_use_one_network_get_what_each_asked_for(cartoons):
    images = [cartoons.open(id) for id in cartoons.ids[:8]]
    layers = ["blocks.0:mean", "conv_stem:mean", "penultimate"]
    asked = [(image, layer) for image in images for layer in layers]
    alone = [am.embed(image, MODEL, layer)[layer][0] for image, layer in asked]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda one: am.embed(one[0], MODEL, one[1])[one[1]][0], asked))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_two_threads_load_their_first_network_at_once():
    code = """
from concurrent.futures import ThreadPoolExecutor
import amulsearch as am
with ThreadPoolExecutor(2) as pool:
    names = [network.model.name for network in pool.map(am.models.load, ["squeezenet1_1", "tf_efficientnet_lite0"])]
print(*names)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["squeezenet1_1", "tf_efficientnet_lite0"], done.stderr[-2000:]
