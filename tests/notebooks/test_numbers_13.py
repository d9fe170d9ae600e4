"""The numbers that the solutions of notebook 13 state; those of large collections are from benchmarks."""

import numpy as np
import pytest

import amulsearch as am

SOLUTIONS = "solutions/13_million"


def test_widths(bundled_features, stated, tmp_path):
    features = bundled_features["squeezenet1_1", "penultimate"]
    rng, ids, size, recall = np.random.default_rng(0), [f"point {row}" for row in range(16_000)], {}, {}
    first, part = rng.integers(len(features), size=16_200), rng.random((16_200, 1), dtype=np.float32)
    choice = rng.integers(100, size=16_200)
    for width in (32, 128):
        short = am.transforms.PCA.fit(features, width)(features)
        near, _ = am.ExactIndex.build(short).all_neighbours(100)
        points = (1 - part) * short.vectors[first] + part * short.vectors[near[first, choice]]
        index = am.AnnoyIndex.build(points[:16_000], ids, n_trees=10)
        size[width] = next(index.save(tmp_path / f"{width}").rglob("*.ann")).stat().st_size / 1e6
        recall[width] = am.indexes.tradeoff(index, points[16_000:], efforts=[1000])["recall"].iloc[0]
    assert stated(SOLUTIONS, r"from (\d\.\d) MB to") == pytest.approx(size[32], abs=0.1)
    assert stated(SOLUTIONS, r"from \d\.\d MB to (\d+\.\d)\.") == pytest.approx(size[128], abs=0.1)
    assert stated(SOLUTIONS, r"recall falls from (\.\d+) to") == pytest.approx(recall[32], abs=0.01)
    assert stated(SOLUTIONS, r"recall falls from \.\d+ to (\.\d+):") == pytest.approx(recall[128], abs=0.01)
