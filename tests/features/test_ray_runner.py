"""Two nodes of a Ray cluster on this machine; benchmarks/cluster.py also kills one, with ten thousand pictures."""

import numpy as np
import pytest

import amulsearch as am
from amulsearch.features import RayRunner, ray_runner


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray", reason="Ray is there by choice")
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100_000_000})
    nodes.add_node(num_cpus=1, object_store_memory=100_000_000)
    ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def test_the_same_vectors_and_the_same_pictures_left_out(cluster, small_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_runner, "BLOCK", 6)
    fruit = small_folder / "food" / "fruit"
    (fruit / "cut.webp").write_bytes(next(fruit.iterdir()).read_bytes()[:2000])
    collection = am.Collection.from_folder(small_folder, progress=False)
    models, layers = ["squeezenet1_1", "tf_efficientnet_lite0"], ["penultimate", "last:gem"]
    here = am.extract(collection, models, layers, progress=False)
    options = {"store": tmp_path / "store", "runner": RayRunner(), "progress": False}
    there = am.extract(collection, models, layers, **options)
    assert there.rejected.to_dict("list") == here.rejected.to_dict("list") and len(here.rejected) == 1
    for key, made in here.items():
        assert there[key].ids == made.ids and np.array_equal(there[key].vectors, made.vectors)
    assert am.extract(collection, models, layers, **options).extracted == 0


def test_an_error_in_an_actor_is_told_in_a_line(cluster, small_folder):
    collection = am.Collection.from_folder(small_folder, progress=False)
    with pytest.raises(am.errors.AmulsearchError, match="has no layer"):
        am.extract(collection, "squeezenet1_1", "none", runner=RayRunner(), progress=False)


@pytest.mark.parametrize("options", [{"cpus": 0}, {"gpus": -1}])
def test_what_cannot_be(options):
    with pytest.raises(am.errors.QueryError):
        RayRunner(**options)
