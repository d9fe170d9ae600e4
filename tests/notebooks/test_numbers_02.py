"""The numbers that lesson 2 and its solutions state about the bundled cartoons."""

import numpy as np
import pytest
from PIL import ImageOps
from plain import cosines, unit

import amulsearch as am

annoy = pytest.importorskip("annoy")
NOTEBOOK = "02_neighbours_and_annoy"
SOLUTIONS = f"solutions/{NOTEBOOK}"
NAME = am.models.BUNDLED[-1]
GUITAR = "recreation/music/guitar_jarno_vasamaa1.webp"
WRONG = {
    1: "far = 2 - 2 * 0.5**0.5",
    2: "pairs = 2 * pairs",
    3: "effort = effort // 2",
    4: "between = between - set(pair)",
}


@pytest.fixture(scope="module")
def vectors(bundled_features) -> am.Features:
    return bundled_features[NAME, "penultimate"]


@pytest.fixture(scope="module")
def exact(vectors) -> am.ExactIndex:
    return am.ExactIndex.build(vectors)


@pytest.fixture(scope="module")
def first(vectors) -> tuple[np.ndarray, np.ndarray]:
    """The row and the distance of the first neighbour of each picture."""
    similar = cosines(vectors.vectors)
    return similar.argmax(axis=1), np.sqrt(np.maximum(0, 2 - 2 * similar.max(axis=1)))


@pytest.fixture(scope="module")
def short(vectors) -> am.Features:
    return am.transforms.PCA.fit(vectors, 32)(vectors)


def test_the_collection(bundled_features, vectors, near):
    near([len(vectors), vectors.vectors.shape[1]], "With # vectors of # numbers", within=0)
    assert all((bundled_features[name, "penultimate"].vectors >= 0).all() for name in am.models.BUNDLED)


def test_queries(exact, bundled_features, near):
    found = exact.query(GUITAR, 4)["id"].tolist()
    assert all("guitar" in id for id in found) and found[3].endswith("guitar_ganson.webp")
    found = exact.query(ImageOps.mirror(bundled_features.collection.open(GUITAR)), 2)
    assert found["id"][0] == GUITAR
    near(found["distance"], "comes first at #, far nearer than the second at #:", within=0.01)


def test_the_toy_trees(executed, near):
    variables = executed(NOTEBOOK, until="neighbours found")
    seen, true = variables["seen"], variables["true"]
    together = [seen[:trees].any(axis=0) for trees in (1, 2, 3)]
    assert [one[true].sum() for one in together] == [1, 3, 4]
    near([together[2].sum(), len(variables["points"])], "although only # of the # points are compared", within=0)
    assert np.linalg.norm(variables["points"][true[0]] - variables["here"]) < 0.2  # inside the star


def test_annoy_on_the_toy(executed):
    variables = executed(NOTEBOOK, until="def neighbours")
    found = [len({*variables["neighbours"](n_trees)} & {*variables["true"]}) for n_trees in (1, 3, 10)]
    assert found == [1, 3, 4]


def test_what_a_distance_tells(first, bundled_features, near, stated):
    labels = np.array(bundled_features.collection.labels)
    rows, distances = first
    same = (labels[rows] == labels)[np.argsort(distances, kind="stable")]
    nearest, farthest = same[:408], same[-408:]
    near([nearest.sum(), 408], "In the nearest quarter, # of # queries", within=2)  # equal distances at the border
    near(nearest.mean(), "queries (#%) have a first neighbour", within=0.006)
    near([farthest.sum(), 408], "in the farthest, # of # (~%)", within=2)
    near(farthest.mean(), "in the farthest, ~ of ~ (#%)", within=0.006)


def test_lonely_pictures(first, bundled_features, near):
    cartoons, (rows, distances) = bundled_features.collection, first
    lonely = np.argsort(-distances)[:4]
    near(distances[lonely], "These neighbours are about # away", within=0.05)
    found = [cartoons.ids[row] for row in rows[lonely]]
    assert all(part in id for part, id in zip(("hat", "hammer", "television", "chalet"), found, strict=True))


def test_recall(vectors, exact, tmp_path, near):
    index = am.AnnoyIndex.build(vectors, n_trees=10)
    missed = set(exact.query(GUITAR, 10)["id"]) - set(index.query(GUITAR, 10)["id"])
    assert len(missed) == 1
    near(1 - index.recall(10), "and #% of those of the 200 queries.", within=0.003)

    # A tree with one split has a root, two leaves, and a copy of the root at the end; a second split adds a node and a
    # leaf. A node has three integers and a vector.
    width = vectors.vectors.shape[1]
    near(width, "about as many cartoons as the vectors have numbers, here #.", within=0)
    file = next(index.save(tmp_path / "index").rglob("*.ann"))
    nodes = file.stat().st_size / (4 * (3 + width)) - len(vectors)
    assert nodes / 10 < (4 + 6) / 2


def test_principal_components(executed, near):
    variables = executed(NOTEBOOK, until="directions = ")
    spread = variables["centred"] @ variables["directions"].T
    near(abs(spread[:, 0]).max(), "spread from -~ to #;", within=0.005)
    assert abs(spread[:, 1]).max() < 0.2


def test_curves(short, near):
    fifty, one = (am.AnnoyIndex.build(short, n_trees=n_trees) for n_trees in (50, 1))
    near(short.vectors.shape[1], "with at most about # cartoons a leaf:", within=0)
    recall = [fifty.recall(10, search_k=search_k) for search_k in (10, 100, 1000)]
    near(recall, "With 50 trees, recall rises from # at `search_k=10` to # at 100 and # at 1000", within=0.006)
    near(one.recall(10, search_k=100), "One tree finds # at 100", within=0.006)
    text = "fifty times as many trees raise that to #, ten times the `search_k` raises it to #."
    near([recall[1], one.recall(10, search_k=1000)], text, within=0.006)


def test_a_query_of_another_network(bundled_features, vectors):
    raw = annoy.AnnoyIndex(vectors.vectors.shape[1], "angular")
    raw.set_seed(0)
    for number, vector in enumerate(unit(vectors.vectors)):
        raw.add_item(number, vector.tolist())
    raw.build(10, 1)
    other = bundled_features["tf_efficientnet_lite0", "penultimate"].vector(GUITAR)
    names = [vectors.ids[row].rpartition("/")[2] for row in raw.get_nns_by_vector(other.tolist(), 4)]
    assert [name.partition("_")[0] for name in names] == ["pear", "giraffe", "pear", "corn"]


def test_solution_1(near):
    made = unit([[8, 6], [3, 4], [10, 10]])
    angles, distances = np.degrees(np.arccos(made[:, 0])), np.linalg.norm(made - [1, 0], axis=1)
    near([angles[0], angles[1]], "vector 0 (# degrees) and that of vector 1 (# degrees)", of=SOLUTIONS, within=0.5)
    order = [distances[2], distances[0], distances[1]]
    near(order, "the distance of # lies between theirs, # and #.", of=SOLUTIONS, within=0.006)


def test_solution_2(vectors, bundled_features, near):
    cartoons, made = bundled_features.collection, unit(vectors.vectors)
    apart = np.sqrt(np.maximum(0, 2 - 2 * made @ made.T))
    labels, digests = (cartoons.table[column].to_numpy() for column in ("label", "digest"))
    rows = np.argwhere(np.triu((apart < 0.23) & (labels[:, None] != labels) & (digests[:, None] != digests)))
    near(len(rows), "There are # such pairs", of=SOLUTIONS, within=0)
    others = {"transportation", "transportation/vehicles"}
    assert all("transportation/roadsigns" in labels[pair] and others & {*labels[pair]} for pair in rows)
    closest = {cartoons.ids[row] for row in min(rows, key=lambda pair: apart[tuple(pair)])}
    assert closest == {"transportation/roadsigns/staggered.webp", "transportation/vehicles/crossroads.webp"}


def test_solution_3(short, near):
    tree = am.AnnoyIndex.build(short, n_trees=1)
    recall = [tree.recall(10, search_k=search_k) for search_k in (400, 800)]
    near(recall, "One tree finds # at 400 and # at 800", of=SOLUTIONS, within=0.006)


def test_solution_4(vectors):
    pair, made = ["food/fruit/banana.webp", "food/fruit/an_apple_01.webp"], unit(vectors.vectors)
    total = made @ sum(made[vectors.ids.index(id)] for id in pair)
    found = [vectors.ids[row] for row in np.argsort(-total)[:8]]
    assert set(found[:2]) == set(pair) and "orange" in found[2]
    assert sum("apple_martin" in id or "pear_jean" in id for id in found) == 2
    assert sum("banana" in id for id in found) == 2 and sum("apple" in id or "pear" in id for id in found) == 5
