"""The numbers that the solutions of notebook 13 state; those of large collections are from benchmarks."""

import numpy as np

import amulsearch as am

NOTEBOOK, SOLUTIONS = "13_million", "solutions/13_million"


def test_widths(bundled_features, near, defined, tmp_path):
    enlarge = defined(NOTEBOOK, "enlarge", np=np, am=am)
    features = bundled_features["squeezenet1_1", "penultimate"]
    size, recall = {}, {}
    for width in (32, 128):
        made = am.transforms.PCA.fit(features, width)(features)
        points, new = enlarge(made, 16_000), enlarge(made, 200, seed=1)
        truth = am.ExactIndex.build(points, range(16_000)).search(new, 10)[0]
        index = am.AnnoyIndex.build(points, range(16_000), n_trees=10)
        size[width] = next(index.save(tmp_path / f"{width}").rglob("*.ann")).stat().st_size / 1e6
        recall[width] = am.measure.overlap(truth, index.search(new, 10, search_k=1000)[0]).mean()
    near([size[32], size[128]], "from # MB to #.", of=SOLUTIONS, within=0.1)
    near([recall[32], recall[128]], "recall falls from # to #:", of=SOLUTIONS, within=0.01)
