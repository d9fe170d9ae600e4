import numpy as np
import pytest

import amulsearch as am

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def features() -> am.Features:
    vectors = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    return am.Features(vectors, [f"ä/{row}.png" for row in range(9)], ["a", None, "b"] * 3)


def test_what_is_written_is_read_again(features, tmp_path):
    again = am.Features.from_parquet(features.to_parquet(tmp_path / "new" / "vectors.parquet"))
    assert again.ids == features.ids and again.labels == features.labels and again.content == features.content
    assert np.array_equal(again.vectors, features.vectors) and again.vectors.dtype == np.float32


def test_the_columns_are_what_other_programs_expect(features, tmp_path):
    table = parquet.read_table(features.to_parquet(tmp_path / "vectors.parquet"))
    assert table.schema.field("vector").type == arrow.list_(arrow.float32(), 5)
    assert table["id"].to_pylist() == features.ids
    assert table["vector"][3].as_py() == features.vectors[3].tolist()


def test_a_fingerprint_lets_a_new_picture_be_asked(small_folder, tmp_path):
    collection = am.Collection.from_folder(small_folder, progress=False)
    features = am.extract(collection, "squeezenet1_1", "penultimate", store=tmp_path / "store", progress=False)
    path = features["squeezenet1_1", "penultimate"].to_parquet(tmp_path / "vectors.parquet")
    index = am.ExactIndex.build(am.Features.from_parquet(path))
    found = index.query(collection.open(collection.ids[3]), 1)
    assert found["id"][0] == collection.ids[3] and found["distance"][0] < 0.01


def test_a_table_from_elsewhere(tmp_path):
    parquet.write_table(arrow.table({"id": ["a", "b"], "vector": [[1.0, 2], [3, 4]]}), tmp_path / "own.parquet")
    made = am.Features.from_parquet(tmp_path / "own.parquet")
    assert made.vectors.tolist() == [[1, 2], [3, 4]] and made.labels == [None, None] and not made.fingerprint


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"id": ["a"]}, "needs the columns id and vector"),
        ({"id": ["a", "b"], "vector": [[1.0], [2.0, 3]]}, "differ in length"),
        ({"id": ["a", "b"], "vector": [[1.0], None]}, "missing"),
        ({"id": ["a"], "vector": [1.0]}, "must hold lists"),
        ({"id": ["a", "a"], "vector": [[1.0], [2.0]]}, "not unique"),
    ],
)
def test_what_holds_no_vectors(tmp_path, columns, words):
    parquet.write_table(arrow.table(columns), tmp_path / "own.parquet")
    with pytest.raises(am.QueryError, match=words):
        am.Features.from_parquet(tmp_path / "own.parquet")


def test_what_is_no_parquet(tmp_path):
    (tmp_path / "own.parquet").write_bytes(b"PAR1 but no more")
    for path in (tmp_path / "own.parquet", tmp_path / "none.parquet"):
        with pytest.raises(am.StoreError, match="cannot be read"):
            am.Features.from_parquet(path)
