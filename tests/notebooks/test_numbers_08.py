"""The numbers that notebook 08 and its solutions state; they state no speeds."""

import numpy as np
import pytest

import amulsearch as am

NAME, SOLUTIONS = "08_speed", "solutions/08_speed"
NETWORK = am.models.BUNDLED[-1]
GUITAR = "recreation/music/guitar_jarno_vasamaa1.webp"


@pytest.fixture(scope="module")
def features(bundled_features) -> am.Features:
    return bundled_features[NETWORK, "penultimate"]


@pytest.fixture(scope="module")
def short(features) -> am.Features:
    return am.transforms.PCA.fit(features, 32)(features)


@pytest.fixture(scope="module")
def enlarged(features):
    """The 20,000 points of the notebook, and its 300 queries."""
    real = am.transforms.PCA.fit(features, 128)(features).vectors
    return am.indexes.enlarge(real, 20_000), am.indexes.enlarge(real, 300, seed=1)


def build(kind, vectors, **options):
    return kind.build(vectors, [f"point {row}" for row in range(len(vectors))], **options)


def recall(index, asking, effort, **options):
    return am.indexes.tradeoff(index, asking, efforts=[effort], **options)["recall"].iloc[0]


def test_what_is_missed(short, stated):
    true = am.ExactIndex.build(short).query(GUITAR, 11)
    found = am.AnnoyIndex.build(short, n_trees=1).query(GUITAR, 11, search_k=30)
    missed = true[~true["id"].isin(found["id"])]
    assert stated(NAME, r"In the bundled cartoons, (\d+) of the eleven nearest are missed") == len(missed)
    assert missed["id"].str.contains("guitar").sum() == 3 and missed["id"].str.contains("violin").sum() == 1
    assert 2 in missed["rank"].tolist() and 9 not in missed["rank"].tolist()


def test_trees_or_search_k(enlarged, stated):
    vectors, new = enlarged
    one, fifty = (build(am.AnnoyIndex, vectors, n_trees=n_trees) for n_trees in (1, 50))
    about = {"abs": 0.01}
    assert stated(NAME, r"fifty trees with `search_k=100` find (\.\d+),") == pytest.approx(
        recall(fifty, new, 100), **about
    )
    assert stated(NAME, r"one tree with `search_k=3000` finds (\.\d+):") == pytest.approx(
        recall(one, new, 3000), **about
    )
    assert stated(NAME, r"at 1000, from (\.\d+) to") == pytest.approx(recall(one, new, 1000), **about)
    assert stated(NAME, r"at 1000, from \.\d+ to (\.\d+)\.") == pytest.approx(recall(fifty, new, 1000), **about)


def test_shorter_vectors(features, stated):
    before = am.ExactIndex.build(features).all_neighbours(10)[0]
    overlap, right = {}, {1280: np.nanmean(am.measure.same_label(before, features.labels))}
    for width in (16, 128, 512):
        rows = am.ExactIndex.build(am.transforms.PCA.fit(features, width)(features)).all_neighbours(10)[0]
        overlap[width] = am.measure.overlap(before, rows).mean()
        right[width] = np.nanmean(am.measure.same_label(rows, features.labels))
    about = {"abs": 0.003}
    assert stated(NAME, r"a tenth of the full width, keep (\.\d+) of the ten") == pytest.approx(overlap[128], **about)
    assert stated(NAME, r"no worse: (\.\d+) of them have") == pytest.approx(right[128], **about)
    assert stated(NAME, r"with the full vectors (\.\d+)\.") == pytest.approx(right[1280], **about)
    assert stated(NAME, r"With 16 numbers, (\.\d+) are kept") == pytest.approx(overlap[16], **about)
    assert stated(NAME, r"are kept, and (\.\d+) have the label") == pytest.approx(right[16], **about)
    assert stated(NAME, r"Even 512 numbers keep no more than (\.\d+)\.") == pytest.approx(overlap[512], **about)


def test_solution_1(enlarged, stated):
    vectors, new = enlarged
    for n_bits, pattern in (
        (64, r"contain (\.\d+) of the true neighbours with 64 bits"),
        (256, r"with 64 bits, (\.\d+) with 256"),
        (1024, r"with 256 and (\.\d+) with 1024"),
    ):
        found = recall(build(am.indexes.FaissLSHIndex, vectors, n_bits=n_bits), new, 20)
        assert stated(SOLUTIONS, pattern) == pytest.approx(found, abs=0.01)


def test_solution_2(enlarged, stated):
    base, held = enlarged[0][:-500], enlarged[0][-500:]
    graph, forest = build(am.indexes.HnswlibIndex, base), build(am.AnnoyIndex, base)
    about = {"abs": 0.005}
    own = stated(SOLUTIONS, r"the graph finds (\.\d+) for vectors of the index")
    assert own == pytest.approx(recall(graph, None, 10, sample=2000), **about)
    new = stated(SOLUTIONS, r"of the index and (\.\d+) for those held back")
    assert new == pytest.approx(recall(graph, held, 10), **about)
    own = stated(SOLUTIONS, r"held back; Annoy (\.\d+) and")
    assert own == pytest.approx(recall(forest, None, 500, sample=2000), **about)
    new = stated(SOLUTIONS, r"Annoy \.\d+ and (\.\d+)\. When")
    assert new == pytest.approx(recall(forest, held, 500), **about)


def test_solution_3(short, cartoons, stated):
    one, about = am.AnnoyIndex.build(short, n_trees=1), {"abs": 0.015}
    first, ten = (recall(one, None, 30, k=k, sample=400) for k in (1, 10))
    assert stated(SOLUTIONS, r"than the ten, (\.\d+) against") == pytest.approx(first, **about)
    assert stated(SOLUTIONS, r"than the ten, \.\d+ against (\.\d+) with") == pytest.approx(ten, **about)
    labels = np.array(cartoons.labels)

    def right(index, **options):
        return (labels[index.all_neighbours(10, **options)[0]] == labels[:, None]).mean()

    found = recall(one, None, 300, sample=400)
    assert stated(SOLUTIONS, r"a recall of (\.\d+) goes with") == pytest.approx(found, **about)
    assert stated(SOLUTIONS, r"goes with (\.\d+) of the right label") == pytest.approx(
        right(one, search_k=300), **about
    )
    exact = right(am.ExactIndex.build(short))
    assert stated(SOLUTIONS, r"where exact search has (\.\d+)\.") == pytest.approx(exact, **about)
