"""The numbers that notebook 13 and its solutions state; those of large collections are of the benchmarks they name."""

import pytest
from enlarge import enlarge

import amulsearch as am

NOTEBOOK, SOLUTIONS = "13_million", "solutions/13_million"


def test_widths(bundled_features, stated, tmp_path):
    features = bundled_features["squeezenet1_1", "penultimate"]
    ids, size, recall = [f"point {row}" for row in range(16_000)], {}, {}
    for width in (32, 128):
        short = am.transforms.PCA.fit(features, width)(features).vectors
        index = am.AnnoyIndex.build(enlarge(short, len(ids)), ids, n_trees=10)
        size[width] = index.save(tmp_path / f"{width}").stat().st_size / 1e6
        new = enlarge(short, 200, seed=1)
        recall[width] = am.indexes.tradeoff(index, new, efforts=[1000])["recall"].iloc[0]
    assert stated(SOLUTIONS, r"from (\d\.\d) MB to") == pytest.approx(size[32], abs=0.1)
    assert stated(SOLUTIONS, r"from \d\.\d MB to (\d+\.\d)\.") == pytest.approx(size[128], abs=0.1)
    assert stated(SOLUTIONS, r"recall falls from (\.\d+) to") == pytest.approx(recall[32], abs=0.01)
    assert stated(SOLUTIONS, r"recall falls from \.\d+ to (\.\d+):") == pytest.approx(recall[128], abs=0.01)
