"""The numbers that the solutions of notebook 13 state; those of large collections are from benchmarks."""

import pytest

import amulsearch as am

SOLUTIONS = "solutions/13_million"


def test_widths(bundled_features, stated, tmp_path):
    features = bundled_features["squeezenet1_1", "penultimate"]
    size, recall = {}, {}
    for width in (32, 128):
        made = am.transforms.PCA.fit(features, width)(features)
        points, new = am.indexes.enlarge(made, 16_000), am.indexes.enlarge(made.vectors, 200, seed=1)
        index = am.AnnoyIndex.build(points, n_trees=10)
        size[width] = next(index.save(tmp_path / f"{width}").rglob("*.ann")).stat().st_size / 1e6
        recall[width] = am.indexes.tradeoff(index, new, efforts=[1000])["recall"].iloc[0]
    assert stated(SOLUTIONS, r"from (\d\.\d) MB to") == pytest.approx(size[32], abs=0.1)
    assert stated(SOLUTIONS, r"from \d\.\d MB to (\d+\.\d)\.") == pytest.approx(size[128], abs=0.1)
    assert stated(SOLUTIONS, r"recall falls from (\.\d+) to") == pytest.approx(recall[32], abs=0.01)
    assert stated(SOLUTIONS, r"recall falls from \.\d+ to (\.\d+):") == pytest.approx(recall[128], abs=0.01)
