"""Near-duplicates compared with groups made by hand, and copies of real cartoons."""

import shutil

import numpy as np
import pytest
from PIL import Image, ImageOps

import amulsearch as am
from amulsearch.errors import QueryError


def at(*degrees):
    """Vectors on the unit circle."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_groups_are_near_their_centres():
    ids = ["alone", "chain 1", "pair 1", "chain 2", "pair 2", "chain 3"]
    features = am.Features(at(200, 0, 90, 10, 92, 20), ids, [None, "a", "b", "a", None, "c"])
    table = am.systems.near_duplicates(features, np.cos(np.deg2rad(11)))
    assert table["group"].tolist() == [1, 1, 1, 2, 2]
    assert table["id"].tolist() == ["chain 2", "chain 1", "chain 3", "pair 1", "pair 2"]
    assert table["label"].tolist() == ["a", "a", "c", "b", None]
    np.testing.assert_allclose(table["cosine"], np.cos(np.deg2rad([0, 10, 10, 0, 2])), atol=1e-6)
    assert am.systems.near_duplicates(features, np.cos(np.deg2rad(9)))["id"].tolist() == ["pair 1", "pair 2"]


def test_a_view_says_how_a_picture_is_near_its_centre():
    """The angle of a mirrored picture is the negative one; of a turned picture, it is greater by 90 degrees."""
    angles, ids = np.array([30, -32, 100, 188, 101, 320]), ["left", "right", "up", "turned", "the same", "alone"]
    views = {"mirrored": am.Features(at(*-angles), ids), "turned": am.Features(at(*(angles + 90)), ids)}
    table = am.systems.near_duplicates(am.Features(at(*angles), ids), np.cos(np.deg2rad(3)), views=views)
    assert table[["group", "id", "view"]].to_numpy().tolist() == [
        [1, "up", ""],
        [1, "the same", ""],
        [1, "turned", "turned"],
        [2, "left", ""],
        [2, "right", "mirrored"],
    ]
    np.testing.assert_allclose(table["cosine"], np.cos(np.deg2rad([0, 1, 2, 0, 2])), atol=1e-6)


def test_a_picture_that_looks_like_its_own_view_is_no_group():
    features = am.Features(np.eye(4), list("abcd"))
    assert am.systems.near_duplicates(features, views={"mirrored": features}).empty


def test_views_of_other_pictures_or_of_another_width_are_told():
    features = am.Features(np.eye(3), list("abc"))
    with pytest.raises(QueryError, match="not of the same pictures in the same order"):
        am.systems.near_duplicates(features, views={"mirrored": am.Features(np.eye(3), list("abd"))})
    with pytest.raises(QueryError, match="a view have 4 values, those of the pictures 3: take the same network"):
        am.systems.near_duplicates(features, views={"mirrored": am.Features(np.eye(3, 4), list("abc"))})


def test_where_nothing_is_alike_the_table_is_empty():
    assert am.systems.near_duplicates(am.Features(np.eye(4), list("abcd"))).empty
    assert am.systems.near_duplicates(am.Features(np.eye(1), ["a"])).columns.tolist() == [
        "group",
        "id",
        "label",
        "cosine",
    ]


def test_a_threshold_of_one_finds_the_same_vectors_at_any_length():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(30, 1000))
    vectors[20] = 3 * vectors[4]
    table = am.systems.near_duplicates(am.Features(vectors, [f"{row:02}" for row in range(30)]), 1)
    assert table["id"].tolist() == ["04", "20"]
    assert table["cosine"].tolist() == pytest.approx([1, 1], abs=1e-6)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def cosines(vectors, *views):
    """Of all pairs: the greatest of the one as it is and a view of the other."""
    crossed = [unit(view) @ unit(vectors).T for view in views]
    return np.max([unit(vectors) @ unit(vectors).T, *crossed, *(part.T for part in crossed)], axis=0)


def groups_by_loops(cosine, threshold, asking=range(500)):
    """The groups of rows around centres that are among `asking`, each a centre and the others."""
    near = [[j for j in range(len(cosine)) if j != i and cosine[i, j] >= threshold - 1e-6] for i in range(len(cosine))]
    centres = []
    for row in sorted(asking, key=lambda row: -min(len(near[row]), 16)):
        if near[row] and not set(near[row]) & set(centres):
            centres.append(row)
    groups = {row: set() for row in centres}
    for row in range(len(cosine)):
        if row not in centres and set(near[row]) & set(centres):
            groups[max(set(near[row]) & set(centres), key=lambda centre: round(cosine[row, centre], 9))].add(row)
    return {(row, frozenset(others)) for row, others in groups.items() if others}


@pytest.fixture
def crowded():
    """80 identical vectors, a dense group of 60, a loose one of 100 that chains hold together, and 260 others."""
    rng = np.random.default_rng(4)
    centres = rng.standard_normal((3, 20))
    steps = np.cumsum(0.2 * rng.standard_normal((100, 20)), axis=0)
    parts = (
        np.repeat(centres[:1], 80, axis=0),
        centres[1] + 0.02 * rng.standard_normal((60, 20)),
        3 * centres[2] + steps,
        rng.standard_normal((260, 20)),
    )
    return np.concatenate(parts)[rng.permutation(500)]


@pytest.mark.parametrize("names", [(), ("one", "two")], ids=["", "with views"])
@pytest.mark.parametrize("threshold", [0.5, 0.9, 0.95, 0.99, 0.999])
def test_groups_are_those_of_loops(crowded, threshold, names):
    rng, ids = np.random.default_rng(5), [f"{row:03}" for row in range(500)]
    views = {name: crowded[rng.permutation(500)] + 0.1 * rng.standard_normal((500, 20)) for name in names}
    others = {name: am.Features(view, ids) for name, view in views.items()}
    table = am.systems.near_duplicates(am.Features(crowded, ids), threshold, views=others)
    lists = [group["id"].astype(int).tolist() for _, group in table.groupby("group")]
    expected = cosines(crowded, *views.values())
    assert {(group[0], frozenset(group[1:])) for group in lists} == groups_by_loops(expected, threshold)
    assert max(map(len, lists)) >= 80 and table.attrs["asked"] == 500
    np.testing.assert_allclose(table["cosine"], np.concatenate([expected[one[0], one] for one in lists]), atol=1e-6)
    if not views:
        return
    by_view = {"": cosines(crowded)} | {name: cosines(crowded, view) for name, view in views.items()}
    for view, pair in zip(table["view"], [(one[0], row) for one in lists for row in one], strict=True):
        far = {name: (2 - 2 * min(cosine[pair], 1)) ** 0.5 for name, cosine in by_view.items()}
        nearest = min(far, key=far.get)
        assert view == (nearest if far[nearest] <= 0.8 * far[""] else "")


def test_of_too_many_pictures_a_sample_asks(crowded):
    ids = [str(row) for row in range(500)]
    features = am.Features(crowded, ids)
    asking = np.sort(np.random.default_rng(0).permutation(500)[:50])
    table = am.systems.near_duplicates(features, 0.99, sample=50)
    expected = {row for centre, others in groups_by_loops(cosines(crowded), 0.99, asking) for row in (centre, *others)}
    assert set(table["id"].astype(int)) == expected and table.attrs["asked"] == 50
    assert table.equals(am.systems.near_duplicates(features, 0.99, sample=50))
    assert am.systems.near_duplicates(features, 0.99, sample=500).equals(am.systems.near_duplicates(features, 0.99))


def test_vectors_without_a_direction_are_told():
    with pytest.raises(QueryError, match="1 vectors are zero and have no angle, the first is that of 'b'"):
        am.systems.near_duplicates(am.Features(np.diag([1, 0, 1]), list("abc")))


@pytest.mark.parametrize("threshold", [0, -0.5, 1.01, float("nan"), "0.9", None])
def test_a_wrong_threshold_is_told(threshold):
    with pytest.raises(QueryError, match="a cosine above 0 and at most 1"):
        am.systems.near_duplicates(am.Features(np.eye(3), list("abc")), threshold)


def test_a_copy_of_a_cartoon_stands_beside_it(small_folder):
    ids = am.Collection.from_folder(small_folder).ids
    edits = {
        ids[0]: lambda image: ImageOps.crop(image, 3),
        ids[9]: lambda image: ImageOps.expand(image, 8, "white"),
    }
    for id, edit in edits.items():
        edit(am.open_image(small_folder / id)).save(small_folder / f"{id}.copy.jpg", quality=80)
    shutil.copy(small_folder / ids[20], small_folder / "same.webp")
    assert Image.open(small_folder / f"{ids[0]}.copy.jpg").format == "JPEG"
    collection = am.Collection.from_folder(small_folder)
    made = am.extract(collection, layers="penultimate", progress=False)
    table = am.systems.near_duplicates(am.transforms.concatenate(list(made.values())))
    groups = {frozenset(group["id"]) for _, group in table.groupby("group")}
    assert {frozenset([id, f"{id}.copy.jpg"]) for id in edits} | {frozenset([ids[20], "same.webp"])} <= groups


def edited(folder, ids, edits):
    """A picture after each edit, by its new name, saved into the folder."""
    names = {}
    for id, (name, edit) in zip(ids, edits.items(), strict=True):
        edit(am.open_image(folder / id)).save(folder / f"{name}.png")
        names[f"{name}.png"] = id
    return names


EDITS = {
    "mirrored": ImageOps.mirror,
    "turned by 90 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turned by 180 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "to the right": lambda image: image.transpose(Image.Transpose.ROTATE_270),
}


def groups_with_views(folder):
    """The ids of each group, and what is told of each picture."""
    wanted = am.systems.COPY_LAYERS
    made = am.extract(am.Collection.from_folder(folder), list(wanted), wanted, progress=False)
    table = am.systems.edited_copies(made)
    return [frozenset(group["id"]) for _, group in table.groupby("group")], table.set_index("id")["view"], table.attrs


def test_mirrored_and_turned_cartoons_are_found_and_told(small_folder):
    names = edited(small_folder, am.Collection.from_folder(small_folder).ids[:4], EDITS)
    groups, told, attrs = groups_with_views(small_folder)
    assert attrs["threshold"] == 0.95  # few pictures
    for name, id in names.items():
        assert any({name, id} <= group for group in groups)
        expected = name.removesuffix(".png").replace("to the right", "turned by 90 degrees")
        assert {told[name], told[id]} == {"", expected}


def test_so_they_are_among_more_pictures(cartoons, tmp_path):
    folder, ids = tmp_path / "cartoons", cartoons.ids[::3]
    for id in ids:
        (folder / id).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(cartoons.path(id), folder / id)
    names = edited(folder, ids[1::15], EDITS)
    groups, _, attrs = groups_with_views(folder)
    assert len(ids) > 50 and attrs["threshold"] == 0.86
    assert all(any({name, id} <= group for group in groups) for name, id in names.items())


@pytest.mark.parametrize("count", [1, 2, 60])
def test_copies_alone_are_one_group(openclipart, tmp_path, count):
    picture = next((openclipart / "animals" / "birds").glob("*.webp"))
    for number in range(count):
        shutil.copy(picture, tmp_path / f"{number}.webp")
    assert list(map(len, groups_with_views(tmp_path)[0])) == [count] * (count > 1)
