"""Scanning folders: what is accepted, what is rejected and why, and what a collection answers."""

import csv
import hashlib
import os
import shutil
import struct
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFile

import amulsearch as am


def scan(folder, **options) -> am.Collection:
    return am.Collection.from_folder(folder, progress=False, **options)


def picture(path, colour="red", size=(6, 4)) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def frames(path, count) -> None:
    first, *others = (Image.new("RGB", (3, 2), colour) for colour in ("red", "lime", "blue")[:count])
    first.save(path, save_all=True, append_images=others)


def reasons(collection) -> dict[str, str]:
    return dict(collection.rejected.itertuples(index=False))


# Accepted files


def test_the_table_says_what_the_files_say_in_order(tmp_path):
    picture(tmp_path / "a/b/one.png")
    picture(tmp_path / "TWO.BMP", size=(5, 9))
    frames(tmp_path / "three.gif", 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 2)).save(tmp_path / "turned.jpg", exif=exif)
    shutil.copy(tmp_path / "a/b/one.png", tmp_path / "is_png.jpg")
    collection = scan(tmp_path)
    assert [tuple(row)[:6] for row in collection.table.itertuples(index=False)] == [
        ("TWO.BMP", None, 5, 9, "BMP", 1),
        ("a/b/one.png", "a/b", 6, 4, "PNG", 1),
        ("is_png.jpg", None, 6, 4, "PNG", 1),
        ("three.gif", None, 3, 2, "GIF", 3),
        ("turned.jpg", None, 2, 8, "JPEG", 1),
    ]
    for row in collection.table.itertuples():
        content = collection.path(row.id).read_bytes()
        assert (row.digest, row.bytes) == (hashlib.sha256(content).hexdigest(), len(content))


def test_the_bundled_cartoons(openclipart, all_with_keywords):
    bundled = all_with_keywords
    with (openclipart.parent / "openclipart.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(bundled) == 1631 and len(bundled.rejected) == 0
    assert len(set(bundled.labels)) == 49
    assert bundled.ids == [row["id"] for row in rows]
    assert bundled.labels == [row["category"] for row in rows]
    assert bundled.table[["width", "height"]].max(axis=1).max() == 320


def test_pictures_are_opened_as_the_collection_says(tmp_path):
    frames(tmp_path / "three.gif", 3)
    frames(tmp_path / "two.gif", 2)
    Image.new("RGBA", (3, 2)).save(tmp_path / "clear.png")
    collection = scan(tmp_path, frame=2, background="#010203")
    colours = {id: collection.open(id).getpixel((0, 0)) for id in collection}
    assert colours == {"clear.png": (1, 2, 3), "three.gif": (0, 0, 255), "two.gif": (0, 255, 0)}


def test_pictures_of_a_collection_are_decoded_in_other_processes(small_folder, monkeypatch):
    collection = scan(small_folder)
    expected = {id: np.asarray(am.open_image(collection.path(id))) for id in collection.ids[:3]}
    monkeypatch.setattr(ImageFile.ImageFile, "__init__", lambda *_, **__: pytest.fail("decoded here"))
    for id, pixels in expected.items():
        assert np.array_equal(np.asarray(collection.open(id)), pixels)


def test_what_cannot_be_opened_is_named_with_what_to_do(small_folder, tmp_path):
    collection = scan(small_folder)
    gone, changed, linked = (small_folder / collection.ids[row] for row in (0, 10, 20))
    gone.unlink()
    shutil.copy(small_folder / collection.ids[1], changed)
    for path, reason in (
        (gone, "cannot be read: No such file or directory"),
        (changed, "it has changed since it was scanned: scan the folder again"),
    ):
        with pytest.raises(am.errors.PictureError) as told:
            collection.open(path.relative_to(small_folder).as_posix())
        assert str(told.value) == f"{path} cannot be opened: {reason}"
    linked.parent.rename(tmp_path / "elsewhere")
    linked.parent.symlink_to(tmp_path / "elsewhere")
    for use in (collection.open, collection.request):
        with pytest.raises(
            am.errors.QueryError, match=r"leads out of .* through a link: replace the link with the folder"
        ):
            use(linked.relative_to(small_folder).as_posix())
    small_folder.rename(tmp_path / "moved")
    with pytest.raises(
        am.errors.PictureError, match=r"cartoons is not there; if it was moved, index it where it is now"
    ):
        collection.open(collection.ids[1])


def test_the_pixel_limit_of_the_collection_holds(tmp_path):
    picture(tmp_path / "large.png", size=(200, 100))
    picture(tmp_path / "large.jpg", size=(200, 100))
    picture(tmp_path / "small.png")
    collection = scan(tmp_path, max_pixels=6000)
    assert collection.ids == ["large.jpg", "small.png"]
    assert "200 x 100" in reasons(collection)["large.png"]
    assert tuple(collection.table.loc[0, ["width", "height"]]) == (200, 100)
    assert collection.open("large.jpg").size == (100, 50)


# Labels


def test_labels_come_from_folders_functions_and_mappings(small_folder):
    picture(small_folder / "loose.png")
    ids = scan(small_folder).ids
    by_folder = [id.rpartition("/")[0] or None for id in ids]
    assert scan(small_folder).labels == by_folder
    assert len(set(by_folder)) == 5 and None in by_folder
    assert scan(small_folder, labels=None).labels == [None] * 33
    assert scan(small_folder, labels=lambda id: id[0]).labels == [id[0] for id in ids]
    mapping = {ids[0]: "first", ids[2]: "third", "not there": "x"}
    assert scan(small_folder, labels=mapping).labels == ["first", None, "third", *[None] * 30]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("category", "labels cannot be 'category': use \"folder\", None, a function or a mapping"),
        (3, "labels cannot be 3: use"),
        ({"none.png": "x"}, "label: none is of a picture; name the pictures by their ids, such as 'animals"),
    ],
)
def test_unusable_labels_are_refused(small_folder, labels, message):
    with pytest.raises(am.errors.QueryError, match=message):
        scan(small_folder, labels=labels)


# Rejected files


def test_content_decides_and_what_is_no_picture_is_counted(tmp_path):
    picture(tmp_path / "good.png")
    for name in (".hidden.png", ".thumbnails/one.png", "@eaDir/ok.png", "#recycle/old.png", "a/$RECYCLE.BIN/old.png"):
        picture(tmp_path / name)
    for name in ("no extension", "x.jpg_large", "x.jpg~"):
        shutil.copy(tmp_path / "good.png", tmp_path / name)
    for name in ("notes.txt", "more.TXT", "README", "drawing.svg"):
        (tmp_path / name).write_text("P5 and BM are no magic numbers")
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    (tmp_path / "raw.dng").write_bytes(b"II*\0" + bytes(40))
    (tmp_path / "again").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    collection = scan(tmp_path)
    assert collection.ids == ["good.png", "no extension", "x.jpg_large", "x.jpg~"]
    assert collection.passed_over == {
        "folder of the system: #recycle": 1,
        "folder of the system: $RECYCLE.BIN": 1,
        "folder of the system: @eaDir": 1,
        "hidden": 2,
        "link to a folder": 1,
        "not a picture: .svg": 1,
        "not a picture: .txt": 2,
        "not a picture: no extension": 2,
    }
    assert reasons(collection).keys() == {"IMG_1.HEIC", "raw.dng"}
    assert "raw file" in reasons(collection)["raw.dng"]


# Names in another form

FORMS = {  # as it is, and as it is typed
    "cafe\u0301.png": "caf\u00e9.png",
    "Screenshot 9.41.23\u202fAM.png": "Screenshot 9.41.23 AM.png",
    "\u5199\u771f\u30001.png": "\u5199\u771f 1.png",
    "\u0645\u06cc\u200c\u062e.png": "\u0645\u06cc\u062e.png",
    "A\u0308pfel/a\xa0b.png": "\u00c4pfel/a b.png",
}


def test_a_picture_is_known_by_every_form_of_its_name(tmp_path, monkeypatch):
    for place, name in enumerate(FORMS):
        picture(tmp_path / name, (place, 2, 3))
    picture(tmp_path / "\u00c4pfel/one.png")
    words = {typed: ["w\u00f6rd"] for typed in FORMS.values()}
    collection = scan(tmp_path, keywords={**words, "A\u0308pfel/one.png": "wo\u0308rd"})
    monkeypatch.chdir(tmp_path)
    for place, (name, typed) in enumerate(FORMS.items()):
        assert typed in collection and collection.path(typed) == tmp_path / name
        assert collection.ids_of(typed) == [name]
        assert collection[typed].getpixel((0, 0)) == (place, 2, 3) and collection[[typed]].ids == [name]
    assert set(collection.labels) == {None, "\u00c4pfel"}
    assert set(map(tuple, collection.keywords.values())) == {("w\u00f6rd",)} and not collection.passed_over
    table = am.Collection.from_table(pd.DataFrame({"path": list(words)}), tmp_path, progress=False)
    assert table.ids == sorted(FORMS) and table.rejected.empty
    assert scan(tmp_path, labels=dict.fromkeys(words, "x")).labels.count("x") == len(FORMS)


def test_two_names_that_differ_in_form_only_stay_two(tmp_path):
    for place, name in enumerate(("\u00e9.png", "e\u0301.png", "a b.png")):
        picture(tmp_path / name, (place, 2, 3))
    collection = scan(tmp_path)
    assert [collection[name].getpixel((0, 0))[0] for name in ("\u00e9.png", "e\u0301.png")] == [0, 1]
    assert "e\u0301\u200c.png" not in collection and "a\xa0b.png" in collection


def test_names_in_tables_that_are_of_no_picture_are_counted(small_folder):
    known = scan(small_folder).ids[0]
    collection = scan(small_folder, labels={known: "x", "a": "y"}, keywords={known: "x", "a": "y", "b": "z"})
    assert collection.passed_over == {"label of no picture": 1, "keywords of no picture": 2}


def test_a_hostile_folder(open_folder, openclipart, without_root):
    folder = open_folder
    shutil.copy(openclipart / "animals/mammals/fawn_mo_01.webp", folder / "good.webp")
    whole = picture(folder / "fine/whole.png", size=(300, 200)).read_bytes()
    bomb = bytearray(picture(folder / "bomb.bmp").read_bytes())
    bomb[18:26] = struct.pack("<ii", 30000, 30000)
    files = {
        "bomb.bmp": (bomb, "30000 x 30000 is 900 megapixels, over the limit of 64"),
        "empty.jpg": (b"", "the file is empty"),
        "headless.png": (whole[:20], "Truncated"),
        "letter.png": (b"Dear picture,", "not a picture"),
        "postscript.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "not a picture"),
        "tiny.gif": (b"G", "not a picture"),
    }
    for name, (data, _) in files.items():
        (folder / name).write_bytes(data)
    expected = {name: reason for name, (_, reason) in files.items()}
    if os.name != "nt" and os.geteuid() != 0:  # the processes that read headers run as root
        picture(folder / "secret.png").chmod(0)
        expected["secret.png"] = "Permission denied"
    (folder / "broken.png").symlink_to("nowhere.png")
    (folder / "circle.png").symlink_to("circle.png")
    os.mkfifo(folder / "pipe.png")
    picture(folder / "closed/inside.png")
    (folder / "closed").chmod(0)
    (folder / "fine/up").symlink_to(folder)
    (folder / "fine/folder.png").mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/not\xffutf8.png")).write_bytes(whole)
    expected |= {
        "broken.png": "No such file",
        "circle.png": "cannot be read",
        "pipe.png": "not a regular file",
        "closed": "folder cannot be read",
        "not\\udcffutf8.png": "the name is not valid UTF-8",
    }
    start = time.perf_counter()
    try:
        with without_root():
            collection = scan(folder)
    finally:
        (folder / "closed").chmod(0o755)
    assert time.perf_counter() - start < 5
    assert collection.ids == ["fine/whole.png", "good.webp"]
    told = reasons(collection)
    assert sorted(told) == sorted(expected) and list(told) == sorted(told)
    for name, reason in expected.items():
        assert reason in told[name], name
        assert "\n" not in told[name]
    assert collection.passed_over == {"link to a folder": 1}


def test_a_missing_or_empty_folder_is_told_in_one_sentence(tmp_path):
    missing, empty = tmp_path / "missing", tmp_path / "empty"
    for path in (missing, picture(tmp_path / "file.png")):
        with pytest.raises(am.errors.AmulsearchError) as told:
            scan(path)
        assert str(told.value) == f"{path} is not a folder: give the folder that holds the pictures"
    empty.mkdir()
    with pytest.raises(
        am.errors.AmulsearchError, match=r"no picture in .*empty can be used: 0 rejected; other files: none"
    ):
        scan(empty)
    (empty / "notes.txt").write_text("words")
    (empty / "broken.png").write_text("words")
    with pytest.raises(am.errors.AmulsearchError) as told:
        scan(empty)
    assert "1 rejected; broken.png: not a picture" in str(told.value)
    assert "other files: not a picture: .txt: 1" in str(told.value) and "\n" not in str(told.value)


# Methods of a collection


def test_the_ids_of_a_file(small_folder, tmp_path, monkeypatch):
    (small_folder / "linked.png").symlink_to(picture(tmp_path / "elsewhere.png"))
    inside = small_folder / "plants.webp"
    inside.symlink_to(next((small_folder / "food/fruit").iterdir()))
    collection = scan(small_folder)
    assert len(collection) == 34
    for id in collection:
        assert collection.ids_of(collection.path(id))[0] == id
    id = "food/fruit/" + inside.resolve().name
    assert collection.ids_of(inside) == ["plants.webp", id]
    monkeypatch.chdir(small_folder / "food")
    (tmp_path / "door").symlink_to(small_folder)
    (tmp_path / "shortcut.webp").symlink_to(small_folder / id)
    for path in (f"fruit/{inside.resolve().name}", f"../{id}", tmp_path / "door" / id, tmp_path / "shortcut.webp"):
        assert collection.ids_of(path) == [id]
    (tmp_path / "circle.png").symlink_to("circle.png")
    for path in (tmp_path / "missing.png", tmp_path / "circle.png"):
        assert collection.ids_of(path) == []


def test_replaced_and_missing_files_are_named(small_folder):
    pictures = scan(small_folder)
    assert pictures.changed(pictures) == {}
    first, second, third, *_ = pictures.ids
    (small_folder / first).unlink()
    (small_folder / second).write_bytes((small_folder / third).read_bytes())
    content = bytearray((small_folder / third).read_bytes())
    content[-1] ^= 1  # of the same size
    (small_folder / third).write_bytes(content)
    changed = "changed since it was indexed"
    assert pictures.changed(pictures) == {first: "missing", second: changed, third: changed}


def test_a_collection_is_a_mapping_from_ids_to_pictures(small_folder):
    (small_folder / "bad.png").write_text("words")
    collection = scan(small_folder)
    ids = collection.ids
    assert list(collection) == ids and len(collection) == len(ids) == 32
    assert np.array_equal(collection[ids[3]], am.open_image(small_folder / ids[3]))
    assert ids[0] in collection and "none.png" not in collection and 0 not in collection and None not in collection
    assert collection[2:5].ids == ids[2:5]
    part = collection[[ids[20], ids[3], ids[3], ids[11]]]  # keeps the order of the table
    assert part.ids == [ids[3], ids[11], ids[20]] and part.labels == [collection.labels[row] for row in (3, 11, 20)]
    assert part.part and list(part.rejected["id"]) == ["bad.png"]
    for key in ("none.png", [ids[0], "none.png"]):
        with pytest.raises(KeyError, match=r"no picture 'none\.png' in .*: ids are paths relative to that folder"):
            collection[key]
    with pytest.raises(am.errors.QueryError, match=r"collection\.ids\[0\]"):
        collection[0]


def test_duplicates_are_found_by_their_bytes(all_with_keywords, small_folder):
    bundled = all_with_keywords
    groups = bundled.duplicates().groupby("group")["id"].apply(list)
    assert groups.map(len).tolist() == [2] * 17  # as stated in data/README.md
    for first, second in groups:
        assert bundled.path(first).read_bytes() == bundled.path(second).read_bytes()
    ids = scan(small_folder).ids
    shutil.copy(small_folder / ids[5], small_folder / "copy.webp")
    collection = scan(small_folder)
    assert {"copy.webp", ids[5]} <= set(collection.duplicates()["id"])
    assert collection[ids[5:6]].duplicates().empty


def test_choose(small_folder):
    collection = scan(small_folder)
    some = collection.ids[5:2:-1]
    assert collection.choose(some) == some
    others = collection.choose([*some, "none.png"])
    assert len(others) == 4 and set(others) <= set(collection.ids) and others != some
    assert collection[:2].choose(["none.png"] * 5) == collection.ids[:2] * 2 + collection.ids[:1]
