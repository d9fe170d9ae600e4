"""Two nodes of a Ray cluster on this machine; benchmarks/cluster.py also kills one, with ten thousand pictures."""

import numpy as np
import pytest

import amulsearch as am

ray = pytest.importorskip("ray", reason="Ray is there by choice")


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100_000_000})
    nodes.add_node(num_cpus=1, object_store_memory=100_000_000)
    ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def test_the_same_vectors_and_the_same_pictures_left_out(cluster, small_folder, tmp_path):
    (small_folder / "food" / "fruit" / "cut.webp").write_bytes(
        next((small_folder / "food" / "fruit").iterdir()).read_bytes()[:2000]
    )
    collection = am.Collection.from_folder(small_folder, progress=False)
    runner = am.features.RayRunner(block=6, actors=2)
    for name, layer in (("squeezenet1_1", "penultimate"), ("tf_efficientnet_lite0", "last:gem")):
        here = am.extract(collection, name, layer, progress=False)
        there = am.extract(collection, name, layer, store=tmp_path / "store", runner=runner, progress=False)
        assert there[name, layer].ids == here[name, layer].ids
        assert there.rejected.to_dict("list") == here.rejected.to_dict("list") and len(here.rejected) == 1
        assert np.array_equal(there[name, layer].vectors, here[name, layer].vectors)
    again = am.extract(collection, name, layer, store=tmp_path / "store", runner=runner, progress=False)
    assert again.extracted == 0


def test_an_error_in_an_actor_is_told_in_a_line(cluster, small_folder):
    collection = am.Collection.from_folder(small_folder, progress=False)
    with pytest.raises(am.AmulsearchError, match="has no layer"):
        am.extract(collection, "squeezenet1_1", "none", runner=am.features.RayRunner(block=16), progress=False)


@pytest.mark.parametrize("options", [{"block": 0}, {"actors": 0}, {"gpus": -1}])
def test_what_cannot_be(options):
    with pytest.raises(am.QueryError):
        am.features.RayRunner(**options)
