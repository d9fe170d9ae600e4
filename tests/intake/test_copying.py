"""Copies of pictures: every byte, nothing overwritten."""

import shutil

import pytest

import amulsearch as am
from amulsearch.intake import copy_pictures


@pytest.fixture
def two(openclipart, tmp_path):
    """Two pictures with the same file name in different folders."""
    birds = sorted((openclipart / "animals/birds").glob("*.webp"))
    for folder, source in zip(("a", "b"), birds, strict=False):
        (tmp_path / "in" / folder).mkdir(parents=True)
        shutil.copy(source, tmp_path / "in" / folder / "bird.webp")
    return am.Collection.from_folder(tmp_path / "in")


def test_every_byte_and_a_number_for_the_second_of_a_name(two, tmp_path):
    made = copy_pictures(two, two.ids, tmp_path / "out" / "deep")
    assert [path.name for path in made] == ["bird.webp", "bird (2).webp"]
    assert [path.read_bytes() for path in made] == [two.path(id).read_bytes() for id in two.ids]


def test_nothing_is_overwritten_and_nothing_copied_twice(two, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "bird.webp").write_bytes(b"somebody else's")
    (out / "bird (2).webp").mkdir()
    first = copy_pictures(two, two.ids, out)
    assert [path.name for path in first] == ["bird (3).webp", "bird (4).webp"]
    assert copy_pictures(two, two.ids, out) == first
    assert (out / "bird.webp").read_bytes() == b"somebody else's" and len(list(out.iterdir())) == 4


def test_mistakes_are_told(two, tmp_path):
    with pytest.raises(am.errors.QueryError, match="nobody"):
        copy_pictures(two, [two.ids[0], "nobody"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    with pytest.raises(am.errors.QueryError, match="is a file: give a folder"):
        copy_pictures(two, two.ids, tmp_path / "file")


def test_what_is_missing_or_has_changed_is_named_and_the_rest_copied(two, tmp_path):
    first, second = map(two.path, two.ids)
    first.unlink()
    missing, copied = copy_pictures(two, two.ids, tmp_path / "out")
    assert "cannot be read: No such file" in str(missing) and copied.read_bytes() == second.read_bytes()
    first.write_bytes(b"another picture")
    changed, _ = copy_pictures(two, two.ids, tmp_path / "out")
    assert "has changed since it was indexed" in str(changed)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["bird.webp"]


def test_copies_in_the_folder_of_pictures_are_no_pictures_of_the_next_scan(two):
    copies = copy_pictures(two, two.ids, two.folder / "found")
    copy_pictures(two, two.ids[:1], two.path(two.ids[0]).parent)  # it is there: nothing is written
    again = am.Collection.from_folder(two.folder)
    assert again.ids == two.ids and again.passed_over["written by amulsearch"] == 2
    copies[0].write_bytes(two.path(two.ids[0]).read_bytes() + b"more")  # a person's own, under the old name
    assert len(am.Collection.from_folder(two.folder)) == 3
