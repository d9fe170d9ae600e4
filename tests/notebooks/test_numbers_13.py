"""The numbers that the solutions of notebook 13 state; those of large collections are from benchmarks."""

import numpy as np
import pytest

import amulsearch as am

NAME, SOLUTIONS = "13_million", "solutions/13_million"


def test_widths(bundled_features, stated, defined, tmp_path):
    enlarge = defined(NAME, "enlarge", np=np, am=am)
    features = bundled_features["squeezenet1_1", "penultimate"]
    size, recall = {}, {}
    for width in (32, 128):
        made = am.transforms.PCA.fit(features, width)(features)
        points, new = enlarge(made, 16_000), enlarge(made, 200, seed=1)
        truth = am.ExactIndex.build(points, range(16_000)).search(new, 10)[0]
        index = am.AnnoyIndex.build(points, range(16_000), n_trees=10)
        size[width] = next(index.save(tmp_path / f"{width}").rglob("*.ann")).stat().st_size / 1e6
        recall[width] = am.measure.overlap(truth, index.search(new, 10, search_k=1000)[0]).mean()
    assert stated(SOLUTIONS, r"from (\d\.\d) MB to") == pytest.approx(size[32], abs=0.1)
    assert stated(SOLUTIONS, r"from \d\.\d MB to (\d+\.\d)\.") == pytest.approx(size[128], abs=0.1)
    assert stated(SOLUTIONS, r"recall falls from (\.\d+) to") == pytest.approx(recall[32], abs=0.01)
    assert stated(SOLUTIONS, r"recall falls from \.\d+ to (\.\d+):") == pytest.approx(recall[128], abs=0.01)
