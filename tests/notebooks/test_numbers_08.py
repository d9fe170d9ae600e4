"""The numbers that notebook 08 and its solutions state; they state no speeds."""

import numpy as np
import pytest
from scipy.stats import beta

import amulsearch as am
from amulsearch.errors import import_optional

NOTEBOOK, SOLUTIONS = "08_speed", "solutions/08_speed"
NETWORK = am.models.BUNDLED[-1]
GUITAR = "recreation/music/guitar_jarno_vasamaa1.webp"


@pytest.fixture(scope="module")
def features(bundled_features) -> am.Features:
    return bundled_features[NETWORK, "penultimate"]


@pytest.fixture(scope="module")
def short(features) -> am.Features:
    return am.transforms.PCA.fit(features, 32)(features)


@pytest.fixture(scope="module")
def enlarged(features, defined):
    """The 20,000 points of the notebook, its 300 queries, and their true neighbours."""
    enlarge = defined(NOTEBOOK, "enlarge", np=np, am=am)
    real = am.transforms.PCA.fit(features, 128)(features)
    points, new = enlarge(real, 20_000), enlarge(real, 300, seed=1)
    return points, new, build(am.ExactIndex, points).search(new, 10)[0]


def build(kind, vectors, **options):
    return kind.build(vectors, [f"point {row}" for row in range(len(vectors))], **options)


def recall(index, new, truth, **options):
    return am.measure.overlap(truth, index.search(new, 10, **options)[0]).mean()


def test_enlarged_points_lie_between_near_vectors(defined):
    unit = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    made = defined(NOTEBOOK, "enlarge", np=np, am=am)(am.Features(unit, range(200)), 20, seed=1)
    assert made.shape == (20, 16) and made.dtype == np.float32
    angles = np.arccos(np.clip(unit @ unit.T, -1, 1))
    near = np.argsort(angles, axis=1)[:, 1:101]
    for to in np.arccos(np.clip(made @ unit.T, -1, 1)):  # the angles to both add up to that between them
        assert (np.abs(to[:, None] + to[near] - np.take_along_axis(angles, near, axis=1)) < 1e-3).any()


def test_each_library_finds_the_neighbours(defined, enlarged):
    points, new, _ = enlarged
    points, new = points[:2000], new[:50]
    truth = build(am.ExactIndex, points).search(new, 10)[0]
    found = {}
    packages = {"annoy": "annoy", "faiss": "faiss-cpu", "hnswlib": "hnswlib", "nmslib": "nmslib-metabrainz"}
    modules = {module: import_optional(module, package) for module, package in packages.items()}
    named = {"points": points, "import_optional": import_optional, **modules}
    for name, arguments, effort in (
        ("build_annoy", (), 3000),
        ("build_hnswlib", (), 80),
        ("build_nmslib", (), 80),
        ("build_faiss", ("IVF40,Flat", "nprobe"), 20),
        ("build_faiss", ("LSH256rt,RFlat", "k_factor_rf"), 20),
    ):
        found[name, *arguments] = np.array(defined(NOTEBOOK, name, **named)(*arguments)(new, effort))
    assert all(am.measure.overlap(truth, rows).mean() > 0.98 for rows in found.values())
    ours = build(am.AnnoyIndex, points, n_trees=50).search(new, 10, search_k=3000)[0]
    assert (ours == found["build_annoy",]).all()


def test_what_is_missed(short, near):
    true = am.ExactIndex.build(short).query(GUITAR, 11)
    found = am.AnnoyIndex.build(short, n_trees=1).query(GUITAR, 11, search_k=30)
    missed = true[~true["id"].isin(found["id"])]
    near(len(missed), "In the bundled cartoons, # of the eleven nearest are missed", within=0)
    assert missed["id"].str.contains("guitar").sum() == 3 and missed["id"].str.contains("violin").sum() == 1
    assert 2 in missed["rank"].tolist() and 9 not in missed["rank"].tolist()


def test_trees_or_search_k(enlarged, near):
    points, *asked = enlarged
    one, fifty = (build(am.AnnoyIndex, points, n_trees=n_trees) for n_trees in (1, 50))
    for index, search_k, pattern in (
        (fifty, 100, "fifty trees with `search_k=100` find #,"),
        (one, 3000, "one tree with `search_k=3000` finds #:"),
        (one, 1000, "at 1000, from # to"),
        (fifty, 1000, "at 1000, from ~ to #."),
    ):
        near(recall(index, *asked, search_k=search_k), pattern, within=0.01)


def test_a_wanted_recall(enlarged, features, defined, near):
    """The steps of the notebook, the bound by hand, and other queries."""
    points, new, truth = enlarged
    at_least = defined(NOTEBOOK, "at_least", np=np)
    forest, steps = build(am.AnnoyIndex, points, n_trees=50), []
    for search_k in (507, 760):
        hits = am.measure.overlap(truth, forest.search(new, 10, search_k=search_k)[0])
        steps.append((hits.mean(), at_least(hits)))
    near(steps[0][1], "at `search_k=507`, but its interval begins at #.", within=0.005)
    near(steps[1], "At 760 the recall is #, at least #.", within=0.005)
    assert steps[0][1] < 0.95 < steps[0][0] and steps[1][1] > 0.95
    enlarge = defined(NOTEBOOK, "enlarge", np=np, am=am)
    others = enlarge(am.transforms.PCA.fit(features, 128)(features), 2000, seed=2)
    truth = build(am.ExactIndex, points).search(others, 10)[0]
    near(recall(forest, others, truth, search_k=760), "took no part in the choice, #:", within=0.005)
    independent = np.repeat([1.0, 0.0], [970, 30])
    low = 1 - beta.ppf(0.975, 31, 970)
    assert at_least(independent) == pytest.approx(low, abs=0.003)
    assert at_least(np.ones(300)) == pytest.approx(1 / (1 + 1.96**2 / 3000))


def test_shorter_vectors(features, near):
    before = am.ExactIndex.build(features).all_neighbours(10)[0]
    overlap, right = {}, {1280: np.nanmean(am.measure.same_label(before, features.labels))}
    for width in (16, 128, 512):
        rows = am.ExactIndex.build(am.transforms.PCA.fit(features, width)(features)).all_neighbours(10)[0]
        overlap[width] = am.measure.overlap(before, rows).mean()
        right[width] = np.nanmean(am.measure.same_label(rows, features.labels))
    near(overlap[128], "a tenth of the full width, keep # of the ten")
    near([right[128], right[1280]], "no worse: # of them have the label of the query, with the full vectors #.")
    near([overlap[16], right[16]], "With 16 numbers, # are kept, and # have the label")
    near(overlap[512], "Even 512 numbers keep no more than #.")


def test_solution_1(defined, enlarged, near):
    points, new, truth = enlarged
    build_faiss = defined(NOTEBOOK, "build_faiss", points=points, faiss=import_optional("faiss", "faiss-cpu"))
    for n_bits, pattern in (
        (64, "contain # of the true neighbours with 64 bits"),
        (256, "with 64 bits, # with 256"),
        (1024, "with 256 and # with 1024"),
    ):
        rows = build_faiss(f"LSH{n_bits}rt,RFlat", "k_factor_rf")(new, 2)
        near(am.measure.overlap(truth, np.array(rows)).mean(), pattern, of=SOLUTIONS, within=0.01)


def test_solution_2(enlarged, near):
    base, held = enlarged[0][:-500], enlarged[0][-500:]
    truth = build(am.ExactIndex, base).search(held, 10)[0]
    graph, forest = build(am.indexes.FaissIndex, base), build(am.AnnoyIndex, base)
    for found, pattern in (
        (graph.recall(10, sample=2000, search_k=10), "the graph finds # for vectors of the index"),
        (recall(graph, held, truth, search_k=10), "of the index and # for those held back"),
        (forest.recall(10, sample=2000, search_k=500), "held back; Annoy # and"),
        (recall(forest, held, truth, search_k=500), "Annoy ~ and #. When"),
    ):
        near(found, pattern, of=SOLUTIONS, within=0.005)


def test_solution_3(short, cartoons, near):
    one = am.AnnoyIndex.build(short, n_trees=1)
    first, ten = (one.recall(k, sample=400, search_k=30) for k in (1, 10))
    near([first, ten], "than the ten, # against # with", of=SOLUTIONS, within=0.015)
    labels = np.array(cartoons.labels)

    def right(index, **options):
        return (labels[index.all_neighbours(10, **options)[0]] == labels[:, None]).mean()

    found = one.recall(10, sample=400, search_k=300)
    near(found, "a recall of # goes with", of=SOLUTIONS, within=0.015)
    near(right(one, search_k=300), "goes with # of the right label", of=SOLUTIONS, within=0.015)
    exact = right(am.ExactIndex.build(short))
    near(exact, "where exact search has #.", of=SOLUTIONS, within=0.015)
