"""Every index compared with brute force in numpy; errors raised where the libraries accept or lose data silently."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import amulsearch as am
from amulsearch import AnnoyIndex, ExactIndex, Features, open_image
from amulsearch.errors import QueryError, StoreError
from amulsearch.index import FaissIndex
from amulsearch.intake import file_digest

N, D = 600, 24
KINDS = [AnnoyIndex, ExactIndex, FaissIndex]
METRICS = [(kind, metric) for kind in KINDS for metric in kind.metrics]
WEAK = {AnnoyIndex: {"n_trees": 1, "search_k": 30}, ExactIndex: {}, FaissIndex: {"search_k": 1}}
"""Parameters of `build` that give a low recall."""


def most(kind):
    """The option that gives a recall of 1."""
    return {"search_k": 10**6} if kind.approximate else {}


def file_of(path):
    """The file of the library in the folder of a saved index."""
    return next(path.glob("indexes/*/index.*"))


def seal(path, **changes) -> None:
    """Change the description of a saved index as only this library could."""
    store = am.Store(path)
    name, about, folder, files = next(store.database.select("indexes"))
    about, files = {**json.loads(about), **changes}, json.loads(files)
    file = file_of(path)
    files[file.name] = file.stat().st_size, file_digest(file)
    with store.database.transaction():
        store.database.insert("indexes", [(name, json.dumps(about), folder, json.dumps(files))])


def brute_force(vectors, query, metric):
    """Distances from a query to all vectors, in float64."""
    vectors, query = vectors.astype(np.float64), query.astype(np.float64)
    if metric == "angular":
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        query = query / np.linalg.norm(query)
    difference = vectors - query
    return np.sqrt((difference**2).sum(1))


@pytest.mark.parametrize(("kind", "metric"), METRICS)
def test_query_by_id_and_by_vector_equals_brute_force(kind, metric, vectors, ids):
    index = kind.build(vectors, ids, metric=metric)
    distances = brute_force(vectors, vectors[7], metric)
    expected = np.argsort(distances)[1:11]
    table = index.query(ids[7], k=10, **most(kind))
    assert table["rank"].tolist() == list(range(1, 11))
    assert table["id"].tolist() == [ids[row] for row in expected]
    np.testing.assert_allclose(table["distance"], distances[expected], rtol=1e-4)
    new = 3 * vectors[7] + 0.01
    by_vector = index.query(new, k=3, **most(kind))
    distances = brute_force(vectors, new, metric)
    assert by_vector["id"].tolist() == [ids[row] for row in np.argsort(distances)[:3]]
    np.testing.assert_allclose(by_vector["distance"], np.sort(distances)[:3], rtol=1e-4, atol=1e-4)
    assert len(index.query(ids[7], k=N - 1)) == N - 1 and len(index.query(new, k=N)) == N


def test_hub_correction_orders_as_csls_does(vectors, ids, tmp_path):
    vectors = vectors + 0.5  # a common direction makes hubs
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (unit @ unit.T).astype(np.float64)
    np.fill_diagonal(cosines, -2)
    near = np.sort(cosines, axis=1)[:, -10:].mean(axis=1)
    csls = 2 * cosines - near
    built = ExactIndex.build(vectors, ids, hubs=10)
    built.save(tmp_path / "index")
    for index in (built, ExactIndex.open(tmp_path / "index")):
        rows, distances = index.all_neighbours(10)
        np.testing.assert_array_equal(rows, np.argsort(-csls, axis=1)[:, :10])
        expected = np.sqrt(2 - np.sort(csls, axis=1)[:, :-11:-1] - near.min())
        np.testing.assert_allclose(distances, expected, atol=1e-5)
        scores = index.similarities(np.arange(N))
        np.testing.assert_array_equal(np.argsort(-scores, axis=1, kind="stable")[:, 1:11], rows)
        new = 3 * vectors[7] + 0.01
        csls_new = 2 * unit @ new / np.linalg.norm(new) - near
        assert index.query(new, k=20)["id"].tolist() == [ids[row] for row in np.argsort(-csls_new)[:20]]
        np.testing.assert_allclose(index.vector(ids[3]), unit[3], atol=1e-6)
        assert index.recall(5) == 1
    plain = np.bincount(ExactIndex.build(vectors, ids).all_neighbours(10)[0].ravel(), minlength=N)
    assert np.bincount(rows.ravel(), minlength=N).max() < plain.max()


def test_hub_correction_needs_the_angular_metric(vectors, ids):
    with pytest.raises(QueryError, match="leave out hubs or the metric euclidean"):
        ExactIndex.build(vectors, ids, metric="euclidean", hubs=10)
    for wrong in (-1, 2.5, "10"):
        with pytest.raises(QueryError, match="hubs must be"):
            ExactIndex.build(vectors, ids, hubs=wrong)
    assert len(ExactIndex.build(vectors[:3], ids[:3], hubs=10).query(ids[0], k=2)) == 2


@pytest.mark.parametrize(("kind", "metric"), METRICS)
def test_many_queries_at_once_equal_brute_force(kind, metric, vectors, ids):
    index, new = kind.build(vectors, ids, metric=metric), 3 * vectors[::5] + 0.01
    far = np.stack([brute_force(vectors, query, metric) for query in new])
    rows, distances = index.search(new, 10, **most(kind))
    np.testing.assert_array_equal(rows, np.argsort(far, axis=1)[:, :10])
    np.testing.assert_allclose(distances, np.sort(far, axis=1)[:, :10], atol=1e-3)
    assert rows.dtype == np.int64 and distances.dtype == np.float64
    far = np.stack([brute_force(vectors, query, metric) for query in vectors])
    np.fill_diagonal(far, np.inf)
    expected = np.argsort(far, axis=1)[:, :10]
    own = np.arange(N)[::-5]
    np.testing.assert_array_equal(index.search(vectors[own], 10, own=own, **most(kind))[0], expected[own])
    rows, distances = index.all_neighbours(10, **most(kind))
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(distances, np.sort(far, axis=1)[:, :10], rtol=1e-4)
    index.search_k = most(kind).get("search_k")
    alike = index.similarities(np.array([3, 5]))
    assert np.isposinf(alike[[0, 1], [3, 5]]).all()
    far[[3, 5], [3, 5]] = -np.inf
    np.testing.assert_allclose(alike, -far[[3, 5]], atol=1e-3)
    assert [len(part) for part in index.search(new[:0], 3)] == [0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_finds_what_single_queries_find(kind, vectors, ids):
    index = kind.build(vectors, ids, **WEAK[kind])
    rows, distances = index.search(vectors, 20, own=np.arange(N))
    for row in range(0, N, 7):
        table = index.query(ids[row], 20)
        assert table["id"].tolist() == [ids[place] for place in rows[row]]
        np.testing.assert_allclose(distances[row], table["distance"], rtol=1e-6)


@pytest.mark.parametrize("noise", [0, 1e-5, 3e-4])
@pytest.mark.parametrize("kind", KINDS)
def test_of_many_equal_pictures_nothing_is_missed(kind, noise, vectors, ids):
    """Distances below 0.001 that Annoy computes from a cosine in float32 are rounding only."""
    index = kind.build(np.repeat(vectors[:6], 100, axis=0) + noise * vectors, ids)
    assert index.recall(10, sample=N, **most(kind)) == 1
    assert (index.search(vectors[:6], 10, **most(kind))[0] // 100 == np.arange(6)[:, None]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_not_its_own_neighbour_but_a_twin_is(kind, vectors, ids):
    index = kind.build(np.concatenate([vectors, vectors[:1]]), [*ids, "twin.png"])
    assert ids[3] not in index.query(ids[3], k=20)["id"].tolist() and index.query(vectors[3], 1)["id"][0] == ids[3]
    assert index.query(ids[0], k=1)["id"].tolist() == ["twin.png"]
    assert index.query("twin.png", k=1)["id"].tolist() == [ids[0]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_short_list_is_the_beginning_of_a_long_one(kind, vectors, ids):
    """spotify/annoy#215: the first of n=1 is not always the first of n=10."""
    index = kind.build(vectors, ids, **({"n_trees": 1} if kind is AnnoyIndex else {}))
    for id in ids[:100]:
        ten = index.query(id, k=10)["id"].tolist()
        assert [index.query(id, k=k)["id"].tolist() for k in (1, 2, 5)] == [ten[:1], ten[:2], ten[:5]]


@pytest.mark.parametrize("kind", KINDS)
def test_of_many_equal_pictures_as_many_as_asked_are_found(kind, vectors):
    same = kind.build(np.repeat(vectors[:3], 100, axis=0), [str(row) for row in range(300)])
    for k in (1, 10, 150, 299):  # a graph may lead to fewer than k
        found = same.query("5", k=k)
        assert len(found) == k and found["id"].is_unique and found["distance"].is_monotonic_increasing


@pytest.mark.parametrize("kind", [AnnoyIndex, FaissIndex])
def test_recall_counts_what_brute_force_finds(kind, vectors, ids):
    index, found = kind.build(vectors, ids, **WEAK[kind]), 0
    for row, id in enumerate(ids):
        true = {ids[near] for near in np.argsort(brute_force(vectors, vectors[row], "angular"))[1:6]}
        found += len(true & set(index.query(id, k=5)["id"]))
    recall = index.recall(5, sample=N)
    assert recall == pytest.approx(found / (5 * N), abs=1e-3) and recall < 1
    assert kind.build(vectors, ids).recall(5, sample=N, search_k=WEAK[kind]["search_k"]) >= recall
    more = [index.recall(10, search_k=search_k) for search_k in (1, 100, 10**6)]
    assert more == sorted(more) and more[-1] == 1
    assert len(index.query(ids[0], k=300, search_k=1)) == 300  # Annoy itself returns fewer if it searches one node


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_index(kind, vectors, ids, tmp_path):
    seeds = (5, 5, 6) if "seed" in kind.settings else (None,) * 3
    options = [{} if seed is None else {"seed": seed} for seed in seeds]
    build = {**WEAK[kind], "metric": "euclidean"}
    files = [
        file_of(kind.build(vectors, ids, **build, **option).save(tmp_path / str(number))).read_bytes()
        for number, option in enumerate(options)
    ]
    assert files[0] == files[1]
    assert (files[0] != files[2]) == ("seed" in kind.settings)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_opened_it_answers_the_same(kind, vectors, ids, tmp_path):
    index = kind.build(Features(vectors, ids, labels=["a", "b"] * (N // 2)))
    if kind.approximate:
        index.search_k = 37
    before = index.query(ids[5], k=8)
    path = index.save(tmp_path / "below" / "index")
    opened = kind.open(path)
    assert opened.search_k == index.search_k
    again = opened.query(ids[5], k=8)
    assert before.equals(again)
    assert index.query(ids[5], k=8).equals(before)
    assert again["label"].tolist() == [["a", "b"][int(id[-5]) % 2] for id in again["id"]]
    assert file_of(opened.save(tmp_path / "copy")).stat().st_size == file_of(path).stat().st_size
    assert kind.open(tmp_path / "copy").query(ids[5], k=8).equals(before)
    scaled = vectors[5] / np.linalg.norm(vectors[5])
    np.testing.assert_allclose(opened.vector(ids[5]), vectors[5] if kind is AnnoyIndex else scaled, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_picture_finds_itself(kind, cartoons, bundled_features, tmp_path):
    made = bundled_features["squeezenet1_1", "penultimate"]
    part = Features(made.vectors[:200], made.ids[:200], made.labels[:200], made.fingerprint, made.digests[:200])
    stored = kind.open(kind.build(part).save(tmp_path / "index"))
    found = stored.query(cartoons.open(part.ids[60]), 1)
    assert found["id"].tolist() == [part.ids[60]] and found["distance"][0] < 0.01
    assert found["model"].tolist() == ["squeezenet1_1"]


def test_a_file_is_a_query_by_its_path(cartoons, bundled_features, tmp_path):
    index = ExactIndex.build(bundled_features["squeezenet1_1", "penultimate"])
    id = cartoons.ids[60]
    cartoons.open(id).rotate(20, fillcolor="white").save(path := tmp_path / "turned.png")
    expected = index.query(open_image(path), 5)
    assert index.query(path, 5).equals(expected) and index.query(str(path), 5).equals(expected)
    assert index.query(id, 5)["id"].tolist() == index.query(cartoons.path(id), 6)["id"].tolist()[1:]
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(am.errors.PictureError, match="not a picture"):
        index.query(tmp_path / "text.png")
    with pytest.raises(KeyError, match=r"^'none\.png' is neither"):
        index.query("none.png")


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_queries_are_told_in_a_sentence(kind, vectors, ids):
    index = kind.build(vectors, ids)
    for query, words in [
        ("none.png", "neither the id of a picture in the index nor a file"),
        (np.zeros(D + 1), r"\(24,\)"),
        (np.zeros(D), "zero"),
        (np.full(D, np.nan), "NaN"),
        (np.zeros((1, D)), "shape"),
        (None, "one id, file, picture or vector .* not a NoneType"),
        ([ids[0]], "not a list"),
    ]:
        with pytest.raises(QueryError, match=words):
            index.query(query, k=1)
    for k, words in [(0, "at least 1"), (2.5, "an integer"), ("3", "an integer"), (N, f"{N - 1} other")]:
        with pytest.raises(QueryError, match=words):
            index.query(ids[0], k=k)
        with pytest.raises(QueryError, match=words):
            index.recall(k)
    for queries, words in [
        (vectors[0], r"\(N, 24\), not float32 \(24,\)"),
        (vectors[:, 1:], r"\(N, 24\)"),
        ([ids], r"\(N, 24\), not <U"),
        (np.zeros((2, D)), "zero"),
        (np.full((2, D), np.inf), "infinite"),
    ]:
        with pytest.raises(QueryError, match=words):
            index.search(queries, 1)
    for own in ([0], [0, N], [-1, 0], [0.0, 1.0], ids[:2]):
        with pytest.raises(QueryError, match="own must hold the row in the index of each query: give 2 integers"):
            index.search(vectors[:2], 1, own=own)
    with pytest.raises(QueryError, match=f"{N} pictures of the collection"):
        index.search(vectors[:2], N + 1)
    with pytest.raises(QueryError, match=f"{N - 1} other"):
        index.all_neighbours(N)
    told = "search_k must be an integer" if kind.approximate else "ExactIndex compares all vectors: it has no search_k"
    with pytest.raises(QueryError, match=told):
        index.query(ids[0], search_k=0)
    with pytest.raises(QueryError, match="without a model"):
        index.query(Image.new("RGB", (4, 4)), k=1)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_that_libraries_take_silently_are_refused(kind, vectors, ids):
    for value, words in [(np.nan, "NaN or infinite.*0009"), (np.inf, "NaN or infinite.*0009"), (0, "zero.*0009")]:
        bad = vectors.copy()
        bad[9] = value
        with pytest.raises(QueryError, match=words):
            kind.build(bad, ids)
    for array, names in [(vectors[0], ids), (vectors, ids[:-1]), (vectors, [ids[0]] * N), (vectors, None)]:
        with pytest.raises(QueryError):
            kind.build(array, names)
    with pytest.raises(QueryError, match=", ".join(kind.metrics)):
        kind.build(vectors, ids, metric="cosine")
    for name in set(kind.settings) & {"n_trees", "n_jobs"}:
        with pytest.raises(QueryError, match=f"{name} must be an integer"):
            kind.build(vectors, ids, **{name: 0})


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_saved_is_opened_by_its_name_and_shares_no_file(kind, vectors, ids, tmp_path):
    first, second = kind.build(vectors, ids), kind.build(-vectors + 1, ids)
    other = (ExactIndex if kind is AnnoyIndex else AnnoyIndex).build(vectors, ids)
    names = {"cats.v1": first, "cats.v2": second, "cats": other, "cats.ann": first, "cats.v1.npy": second}
    before = {name: index.query(ids[3], 5) for name, index in names.items()}
    assert [index.save(tmp_path / name) for name, index in names.items()] == [tmp_path / name for name in names]
    for name, index in names.items():
        assert type(index).open(tmp_path / name).query(ids[3], 5).equals(before[name])
    other.save(tmp_path / "cats.v1")  # replaces it
    assert type(other).open(tmp_path / "cats.v1").query(ids[3], 5).equals(before["cats"])
    with pytest.raises(StoreError, match=f"saved by {type(other).__name__}"):
        kind.open(tmp_path / "cats.v1")
    assert len(list((tmp_path / "cats.v1" / "indexes").iterdir())) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_and_missing_files_are_refused(kind, vectors, ids, tmp_path):
    path = kind.build(vectors, ids).save(tmp_path / "index")
    with pytest.raises(StoreError, match="no index"):
        kind.open(tmp_path / "nothing")
    seal(path, kind="Other")
    with pytest.raises(StoreError, match="saved by Other: open it with that class"):
        kind.open(path)
    (tmp_path / "old.ann").write_bytes(b"an index of before")
    with pytest.raises(StoreError, match="is a file"):
        kind.open(tmp_path / "old.ann")
    (path / "store.sqlite").write_bytes((path / "store.sqlite").read_bytes()[:5000])
    with pytest.raises(StoreError, match="damaged"):
        kind.open(path)
    (path / "store.sqlite").unlink()
    with pytest.raises(StoreError, match="no index"):
        kind.open(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_other_vectors_is_refused(kind, vectors, ids, tmp_path):
    """Annoy opens 64-d vectors as 131-d without an error; queries then succeed or crash."""
    path = kind.build(vectors, ids).save(tmp_path / "index")
    for number, other in enumerate((vectors[:, :12], vectors[:40])):
        made = kind.build(other, ids[: len(other)]).save(tmp_path / str(number))
        file_of(path).write_bytes(file_of(made).read_bytes())
        with pytest.raises(StoreError, match="was deleted, changed or damaged"):
            kind.open(path)
        if kind is not AnnoyIndex:  # the file of Annoy does not record the width of the vectors
            seal(path)
            with pytest.raises(StoreError, match="other vectors than its description says"):
                kind.open(path)
            kind.build(vectors, ids).save(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_takes_no_more_is_told(kind, vectors, ids, tmp_path):
    """FAISS itself reports no error."""
    resource = pytest.importorskip("resource", reason="Windows has no limit on the size of a file")
    index = kind.build(vectors, ids)
    before = index.query(ids[5], k=8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = index.save(tmp_path / "index")
    size = file_of(path).stat().st_size
    for limit in (10_000, size - 1_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            for place in (path, tmp_path / f"new {limit}"):
                with pytest.raises(StoreError, match="cannot be written"):
                    kind.build(-vectors, ids).save(place)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert kind.open(path).query(ids[5], k=8).equals(before)
        with pytest.raises(StoreError, match="no index"):
            kind.open(tmp_path / f"new {limit}")


@pytest.mark.parametrize(
    ("labels", "texts"),
    [
        ([7, 8, 7], ["7", "8", "7"]),
        (np.array([7, 8, 7]), ["7", "8", "7"]),
        (np.array([7, np.nan, 7]), ["7", None, "7"]),
        ([True, False, True], ["True", "False", "True"]),
        (np.array([True, False, True]), ["True", "False", "True"]),
        (np.array(["se\u0301a", "", "s\u00e9a"]), ["s\u00e9a", None, "s\u00e9a"]),
        (pd.Series(["sea", pd.NA, "sea"], dtype="string"), ["sea", None, "sea"]),
    ],
    ids=str,
)
def test_labels_of_any_type_are_text_everywhere(labels, texts, tmp_path):
    features = Features([[1.0, 0.0], [0.6, 0.8], [0.9, 0.1]], ["a", "b", "c"], labels)
    assert features.labels == texts and {type(label) for label in features.labels} <= {str, type(None)}
    index = ExactIndex.open(ExactIndex.build(features).save(tmp_path / "index"))
    assert index.labels == texts and index.query("b", 2)["label"].tolist() == [texts[2], texts[0]]
    relevance = am.Relevance.from_labels(features.ids, labels)
    assert relevance.labels == texts and relevance.queries.tolist() == [0, 2]
    assert am.evaluate(features, relevance).mean()["P@1"] == 1
    assert am.views.Map.fit(features).labels == texts


@pytest.mark.parametrize("label", [["sea", "sky"], ("sea",), {"sea"}, np.array(["sea"]), b"sea"], ids=str)
def test_a_label_that_is_neither_text_nor_a_number_is_refused(label, small_folder):
    told = r"a label is a text or a number, not .*: give a picture one label, or several words as its keywords"
    with pytest.raises(QueryError, match=told):
        Features(np.eye(2), ["a", "b"], ["sea", label])
    with pytest.raises(QueryError, match=told):
        am.Relevance.from_labels(["a", "b"], ["sea", label])
    with pytest.raises(QueryError, match=told):
        am.Collection.from_folder(small_folder, labels=lambda id: label, progress=False)
    first = am.Collection.from_folder(small_folder, progress=False).ids[0]
    with pytest.raises(QueryError, match=told):
        am.Collection.from_table(pd.DataFrame({"path": [first], "label": [label]}), small_folder, progress=False)


def test_an_index_is_not_saved_over_something_else(vectors, ids, tmp_path, cartoons):
    (tmp_path / "letters").mkdir()
    (letter := tmp_path / "letters" / "letter.txt").write_text("mine")
    index = AnnoyIndex.build(vectors, ids)
    with pytest.raises(StoreError, match="neither a store nor empty"):
        index.save(tmp_path / "letters")
    with pytest.raises(StoreError, match="is a file"):
        index.save(letter)
    am.Store(tmp_path / "store").register(cartoons[:5])
    with pytest.raises(StoreError, match="is the store of a collection: give another path"):
        index.save(tmp_path / "store")
    with pytest.raises(StoreError, match=f"does not hold '{ids[0]}'"):
        AnnoyIndex.build(Features(vectors, ids, digests=[""] * N)).save_in(am.Store(tmp_path / "store"), "mine")
    assert letter.read_text() == "mine" and am.Store.open(tmp_path / "store").collection().ids == cartoons.ids[:5]


def test_a_library_that_is_not_installed_is_told(vectors, ids, tmp_path, monkeypatch):
    path = (kind := am.indexes.FaissIndex).build(vectors, ids).save(tmp_path / "index")
    monkeypatch.setitem(sys.modules, "faiss", None)
    for call in (lambda: kind.build(vectors, ids), lambda: kind.open(path)):
        with pytest.raises(am.errors.AmulsearchError, match="faiss is not installed: pip install faiss-cpu"):
            call()


@pytest.mark.parametrize("kind", KINDS)
def test_of_few_pictures_as_many_neighbours_are_found_as_there_are(kind, vectors, ids):
    for count in (1, 2, 3, 9, 11):
        index = kind.build(vectors[:count], ids[:count])
        assert len(index.query(vectors[20])) == min(count, 10)
        if count == 1:
            with pytest.raises(QueryError, match="there are no other pictures"):
                index.query(ids[0])
            continue
        assert sorted(index.query(ids[0])["id"]) == ids[1:count] and index.recall() == 1
        assert index.all_neighbours()[0].shape == (count, count - 1)
        with pytest.raises(QueryError, match=f"k={count} is more than the {count - 1} other pictures"):
            index.query(ids[0], k=count)


@pytest.mark.parametrize("metric", ["angular", "euclidean"])
def test_numbers_whose_squares_are_infinite_are_told(metric, vectors, ids):
    """They would end the process in one library, and be at a distance of zero in another."""
    for kind in (kind for kind in KINDS if metric in kind.metrics):
        with pytest.raises(QueryError, match="numbers too large to be squared in float32"):
            kind.build(vectors * 1e25, ids, metric=metric)
    with pytest.raises(QueryError, match="numbers too large to be squared in float32"):
        ExactIndex.build(vectors, ids, metric=metric).query(vectors[0] * 1e25)


def test_what_libraries_do_not_take_is_told(vectors, ids):
    index = AnnoyIndex.build(vectors[:30], ids[:30], n_trees=2)
    for call, words in (
        (lambda: index.query("x" * 5000), "neither the id of a picture in the index nor a file"),
        (lambda: index.query(ids[0], search_k=2**31), "below 2"),
        (lambda: AnnoyIndex.build(vectors, ids, seed=2**40), "seed must be below 2"),
        (lambda: index.recall(sample=0), "sample must be an integer of at least 1"),
    ):
        with pytest.raises(QueryError, match=words):
            call()


def test_a_table_of_neighbours_is_a_plain_one(ids):
    index = ExactIndex.build(Features(np.eye(3), ["a", "b", "c"], ["x", None, "y"]))
    values = np.array([0.5, 1.0, np.nan])
    table = index.table(np.array([0, 1, -1]), values)
    texts = {"id": ["a", "b"], "label": ["x", None], "model": [None] * 2, "layer": [None] * 2}
    plain = {"rank": [1, 2], "distance": [0.5, 1.0]} | {
        name: pd.Series(text, dtype=object) for name, text in texts.items()
    }
    pd.testing.assert_frame_equal(table, pd.DataFrame(plain)[table.columns])
    table.loc[0, "distance"] = table.loc[1, "rank"] = 7  # and can be changed like any DataFrame
    assert values[0] == 0.5 and table["rank"].tolist() == [1, 7]
    assert index.table(np.array([-1]), np.zeros(1)).dtypes.equals(table.dtypes)


@pytest.mark.parametrize("metric", ExactIndex.metrics)
@pytest.mark.parametrize("k", [1, 10, 599])
def test_all_neighbours_are_what_query_says_of_each(metric, k, vectors, ids):
    vectors = vectors.copy()
    vectors[300] = vectors[20]  # a pair at distance 0, and two at the same distance from all others
    index = ExactIndex.build(vectors, ids, metric=metric)
    rows, distances = index.all_neighbours(k)
    for row in (0, 20, 255, 256, 300, 599):
        table = index.query(ids[row], k)
        assert [ids[place] for place in rows[row]] == table["id"].tolist()
        assert distances[row] == pytest.approx(table["distance"].to_numpy(), rel=1e-5, abs=1e-6)


def test_exact_search_of_vectors_of_any_length():
    index = ExactIndex.build(np.array([[1.0, 0.0], [1e-9, 1e-9], [0.0, 5.0]]), ["a", "b", "c"])
    rows, distances = index.all_neighbours(2)
    assert rows.tolist() == [[1, 2], [0, 2], [1, 0]]
    assert distances[0] == pytest.approx([(2 - 2**0.5) ** 0.5, 2**0.5])


def test_the_threads_of_faiss_are_put_back(vectors, ids):
    faiss = pytest.importorskip("faiss")
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(2)
    try:
        FaissIndex.build(vectors, ids)
        assert faiss.omp_get_max_threads() == 2
    finally:
        faiss.omp_set_num_threads(before)


def test_search_k_of_build_is_the_default(vectors, ids):
    index, other = (AnnoyIndex.build(vectors, ids, n_trees=1, search_k=search_k) for search_k in (30, None))
    assert index.query(ids[0]).equals(other.query(ids[0], search_k=30))
    assert other.query(ids[0]).equals(other.query(ids[0], search_k=100))  # n_trees * 100


def test_a_saved_index_of_an_unknown_metric_is_refused(tmp_path):
    index = am.ExactIndex.build(np.eye(4, dtype=np.float32), list("abcd"), metric="euclidean")
    index.metric = "manhattan"  # as an older version wrote it
    index.save(tmp_path / "index")
    with pytest.raises(am.errors.StoreError, match="the metric 'manhattan', which is not known"):
        am.ExactIndex.open(tmp_path / "index")
