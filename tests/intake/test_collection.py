"""Scanning folders: what is accepted, and what is rejected and why."""

import csv
import hashlib
import os
import shutil
import struct
import time
import zlib
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


def reasons(collection) -> dict[str, str]:
    return dict(collection.rejected.itertuples(index=False))


# Accepted files


def test_all_folders_below_are_scanned_in_order(tmp_path):
    names = ["b.png", "a/z.png", "a.png", "a/b/c/deep.png", "a/b/c.png", "Z.PNG", "10.png", "9.png"]
    for name in names:
        picture(tmp_path / name)
    collection = scan(tmp_path)
    assert collection.ids == sorted(names)
    assert list(collection.table["id"]) == collection.ids and len(collection) == len(names)
    assert all(collection.path(name) == tmp_path / name for name in names)
    assert "a/z.png" in collection and "z.png" not in collection


def test_the_table_says_what_the_files_say(tmp_path):
    picture(tmp_path / "a/one.png", "red", (6, 4))
    picture(tmp_path / "two.bmp", "blue", (5, 9))
    frames = [Image.new("RGB", (3, 2), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / "three.gif", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 2)).save(tmp_path / "turned.jpg", exif=exif)
    picture(tmp_path / "is_png.jpg").write_bytes((tmp_path / "a/one.png").read_bytes())
    table = scan(tmp_path).table.set_index("id")
    seen = {id: tuple(table.loc[id, ["label", "width", "height", "format", "frames"]]) for id in table.index}
    assert seen == {
        "a/one.png": ("a", 6, 4, "PNG", 1),
        "is_png.jpg": (None, 6, 4, "PNG", 1),
        "three.gif": (None, 3, 2, "GIF", 3),
        "turned.jpg": (None, 2, 8, "JPEG", 1),
        "two.bmp": (None, 5, 9, "BMP", 1),
    }
    for id in table.index:
        data = (tmp_path / id).read_bytes()
        assert table.loc[id, "digest"] == hashlib.sha256(data).hexdigest()
        assert table.loc[id, "bytes"] == len(data)


def test_two_scans_are_equal(small_folder):
    first, second = scan(small_folder), scan(small_folder)
    pd.testing.assert_frame_equal(first.table, second.table)
    assert len(first) == 32


def test_the_bundled_cartoons(openclipart, all_cartoons):
    with (openclipart.parent / "openclipart.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(all_cartoons) == 1631 and len(all_cartoons.rejected) == 0
    assert len(set(all_cartoons.labels)) == 49
    assert all_cartoons.ids == [row["id"] for row in rows]
    assert all_cartoons.labels == [row["category"] for row in rows]
    assert all_cartoons.table[["width", "height"]].max(axis=1).max() == 320


def test_pictures_are_opened_as_the_collection_says(tmp_path):
    frames = [Image.new("RGB", (3, 2), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "three.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:2])
    Image.new("RGBA", (3, 2)).save(tmp_path / "clear.png")
    collection = scan(tmp_path, frame=2, background="#010203")
    colours = {id: collection.open(id).getpixel((0, 0)) for id in collection.ids}
    assert colours == {"clear.png": (1, 2, 3), "three.gif": (0, 0, 255), "two.gif": (0, 255, 0)}
    with pytest.raises(am.QueryError, match=r"no picture 'four.gif' in .*: ids are paths relative to that folder"):
        collection.open("four.gif")


def test_pictures_of_a_collection_are_decoded_in_other_processes(small_folder, monkeypatch):
    collection = scan(small_folder)
    ids, opened = collection.ids[:3], []
    expected = [np.asarray(am.open_image(collection.path(id))) for id in ids]
    monkeypatch.setattr(ImageFile.ImageFile, "__init__", lambda *_, **__: opened.append("here"))
    for id, pixels in zip(ids, expected, strict=True):
        picture = collection.open(id)
        assert picture.mode == "RGB" and np.array_equal(np.asarray(picture), pixels)
    assert not opened


def test_several_pictures_are_opened_at_once(small_folder):
    collection = scan(small_folder)
    (small_folder / collection.ids[1]).unlink()
    shutil.copy(collection.path(collection.ids[0]), collection.path(collection.ids[2]))
    first, gone, changed, last = collection.open_all(collection.ids[:4])
    for picture, id in ((first, collection.ids[0]), (last, collection.ids[3])):
        assert np.array_equal(np.asarray(picture), np.asarray(collection.open(id)))
    for error, id, reason in (
        (gone, collection.ids[1], "no such file; if it has changed, scan the folder again"),
        (changed, collection.ids[2], "it has changed since it was scanned: scan the folder again"),
    ):
        assert isinstance(error, am.PictureError)
        assert str(error) == f"{collection.path(id)} cannot be opened: {reason}"
        with pytest.raises(am.PictureError, match=reason):
            collection.open(id)


def test_a_picture_behind_a_link_that_leads_out_is_not_decoded(small_folder, tmp_path):
    collection = scan(small_folder)
    id = collection.ids[0]
    (small_folder / id).parent.rename(tmp_path / "elsewhere")
    (small_folder / id).parent.symlink_to(tmp_path / "elsewhere")
    for use in (collection.open, collection.request, lambda id: collection.open_all([id])):
        with pytest.raises(am.QueryError, match=r"leads out of .* through a link: replace the link with the folder"):
            use(id)


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


def test_labels_come_from_folders_functions_mappings_and_tables(small_folder):
    picture(small_folder / "loose.png")
    ids = scan(small_folder).ids
    by_folder = [id.rpartition("/")[0] or None for id in ids]
    assert scan(small_folder).labels == by_folder
    assert len(set(by_folder)) == 5 and None in by_folder
    assert scan(small_folder, labels=None).labels == [None] * 33
    assert scan(small_folder, labels=lambda id: id[0]).labels == [id[0] for id in ids]
    mapping = {ids[0]: "first", ids[2]: "third", "not there": "x"}
    expected = ["first", None, "third", *[None] * 30]
    assert scan(small_folder, labels=mapping).labels == expected
    assert scan(small_folder, labels=pd.Series(mapping)).labels == expected
    table = pd.DataFrame({"id": list(mapping), "label": list(mapping.values()), "more": 1})
    assert scan(small_folder, labels=table).labels == expected


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (pd.DataFrame({"id": [], "category": []}), r"needs the columns id and label, but has \['id', 'category'\]"),
        ("category", "labels cannot be 'category': use \"folder\", None, a function, a mapping or a table"),
        (3, "labels cannot be of type int"),
    ],
)
def test_unusable_labels_are_refused(small_folder, labels, message):
    with pytest.raises(am.QueryError, match=message):
        scan(small_folder, labels=labels)


# Rejected files


def test_what_is_no_picture_is_counted(tmp_path):
    picture(tmp_path / "good.png")
    picture(tmp_path / ".hidden.png")
    picture(tmp_path / ".thumbnails/one.png")
    for name in ("notes.txt", "more.TXT", "README", "drawing.svg"):
        (tmp_path / name).write_text("words")
    (tmp_path / "again").symlink_to(tmp_path)
    collection = scan(tmp_path)
    assert collection.ids == ["good.png"] and collection.rejected.empty
    assert collection.passed_over == {
        "hidden": 2,
        "link to a folder": 1,
        "not a picture: .txt": 2,
        "not a picture: no extension": 1,
        "not a picture: .svg": 1,
    }


def test_content_decides_and_what_a_system_keeps_is_left_out(tmp_path):
    picture(tmp_path / "ok.png")
    for name in ("@eaDir/ok.png/SYNOPHOTO_THUMB_S.png", "#recycle/old.png", "a/$RECYCLE.BIN/old.png"):
        picture(tmp_path / name)
    for name in ("no extension", "x.jpg_large", "x.jpg~"):
        (tmp_path / name).write_bytes((tmp_path / "ok.png").read_bytes())
    (tmp_path / "letter").write_text("P5 and BM are no magic numbers")
    picture(tmp_path / "x.tga")
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    (tmp_path / "raw.dng").write_bytes(b"II*\0" + bytes(40))
    os.mkfifo(tmp_path / "pipe")
    collection = scan(tmp_path)
    assert collection.ids == ["no extension", "ok.png", "x.jpg_large", "x.jpg~", "x.tga"]
    assert collection.passed_over == {
        "folder of the system: #recycle": 1,
        "folder of the system: $RECYCLE.BIN": 1,
        "folder of the system: @eaDir": 1,
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


@pytest.fixture
def formed(tmp_path) -> Path:
    for place, name in enumerate(FORMS):
        picture(tmp_path / name, (place, 2, 3))
    picture(tmp_path / "\u00c4pfel/one.png")
    return tmp_path


def test_a_picture_is_known_by_every_form_of_its_name(formed, monkeypatch):
    words = {typed: ["w\u00f6rd"] for typed in FORMS.values()}
    collection = scan(formed, keywords={**words, "A\u0308pfel/one.png": "wo\u0308rd"})
    monkeypatch.chdir(formed)
    for place, (name, typed) in enumerate(FORMS.items()):
        assert typed in collection and collection.path(typed) == formed / name
        assert collection.id_of(typed) == name
        assert collection[typed].getpixel((0, 0)) == (place, 2, 3) and collection[[typed]].ids == [name]
    assert set(collection.labels) == {None, "\u00c4pfel"}
    assert set(map(tuple, collection.keywords.values())) == {("w\u00f6rd",)} and not collection.passed_over
    table = am.Collection.from_table(pd.DataFrame({"path": list(words)}), formed, progress=False)
    assert table.ids == sorted(FORMS) and table.rejected.empty
    labels = scan(formed, labels=dict.fromkeys(words, "x")).labels
    assert labels.count("x") == len(FORMS)


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


ODD_NAMES = [
    "with space.png",
    "häßlich/ünïcode é.png",
    "new\nline.png",
    "quote'\"$(x).png",
    "猫.png",
    "-n.png",
    "a%20b.png",
]


def test_odd_names_work(tmp_path):
    for place, name in enumerate(ODD_NAMES):
        picture(tmp_path / name, (place, 2, 3))
    collection = scan(tmp_path)
    assert collection.ids == sorted(ODD_NAMES) and collection.rejected.empty
    for place, name in enumerate(ODD_NAMES):
        assert collection.open(name).getpixel((0, 0)) == (place, 2, 3)
        assert collection.id_of(tmp_path / name) == name


def bomb() -> bytes:
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def test_a_hostile_folder(open_folder, openclipart, without_root):
    folder = open_folder
    good = {"good.webp": openclipart / "animals/mammals/fawn_mo_01.webp"}
    shutil.copy(good["good.webp"], folder / "good.webp")
    whole = picture(folder / "fine/whole.png", size=(300, 200)).read_bytes()
    files = {
        "bomb.png": (bomb(), "30000 x 30000 is 900 megapixels, over the limit of 64"),
        "empty.jpg": (b"", "the file is empty"),
        "headless.png": (whole[:20], "truncated"),
        "letter.png": (b"Dear picture,", "not a picture"),
        "postscript.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "not a picture"),
        "tiny.gif": (b"G", "not a picture"),
    }
    for name, (data, _) in files.items():
        (folder / name).write_bytes(data)
    expected = {name: reason for name, (_, reason) in files.items()}
    if os.name != "nt" and os.geteuid() != 0:  # the processes that read headers run as root
        picture(folder / "secret.png").chmod(0)
        expected["secret.png"] = "no permission to read it"
    (folder / "broken.png").symlink_to("nowhere.png")
    (folder / "circle.png").symlink_to("circle.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "closed").mkdir()
    picture(folder / "closed/inside.png")
    (folder / "closed").chmod(0)
    (folder / "fine/up").symlink_to(folder)
    (folder / "fine/folder.png").mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/not\xffutf8.png")).write_bytes(whole)
    expected |= {
        "broken.png": "a link to a file that does not exist",
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
    missing = tmp_path / "missing"
    with pytest.raises(am.AmulsearchError) as told:
        scan(missing)
    assert str(told.value) == f"{missing} is not a folder: give the folder that holds the pictures"
    with pytest.raises(am.AmulsearchError, match="is not a folder"):
        scan(picture(tmp_path / "file.png"))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(am.AmulsearchError, match=r"no picture in .*empty can be used: 0 rejected; 0 other files"):
        scan(empty)
    (empty / "notes.txt").write_text("words")
    (empty / "broken.png").write_text("words")
    with pytest.raises(am.AmulsearchError) as told:
        scan(empty)
    assert "1 rejected; broken.png: not a picture" in str(told.value)
    assert "1 other file" in str(told.value) and "\n" not in str(told.value)


# Methods of a collection


def test_the_id_of_a_file(small_folder, tmp_path, monkeypatch):
    elsewhere = picture(tmp_path / "elsewhere.png")
    (small_folder / "linked.png").symlink_to(elsewhere)
    inside = small_folder / "plants.webp"
    inside.symlink_to(next((small_folder / "food/fruit").iterdir()))
    collection = scan(small_folder)
    assert len(collection) == 34
    for id in collection.ids:
        assert collection.id_of(collection.path(id)) == id
    id = "food/fruit/" + inside.resolve().name
    monkeypatch.chdir(small_folder / "food")
    assert collection.id_of("fruit/" + inside.resolve().name) == id
    assert collection.id_of("../food/fruit/" + inside.resolve().name) == id
    (tmp_path / "door").symlink_to(small_folder)
    assert collection.id_of(tmp_path / "door" / id) == id
    (tmp_path / "shortcut.webp").symlink_to(small_folder / id)
    assert collection.id_of(tmp_path / "shortcut.webp") == id
    (tmp_path / "circle.png").symlink_to("circle.png")
    for other in (tmp_path / "missing.png", tmp_path / "circle.png", small_folder / "new.png", small_folder, "a\0b"):
        assert collection.id_of(other) is None


def test_replaced_and_missing_files_are_named(small_folder):
    pictures = am.Collection.from_folder(small_folder, progress=False)
    assert pictures.changed(pictures) == {}
    first, second, third, *_ = pictures.ids
    (small_folder / first).unlink()
    (small_folder / second).write_bytes((small_folder / third).read_bytes())
    content = bytearray((small_folder / third).read_bytes())
    content[-1] ^= 1  # of the same size
    (small_folder / third).write_bytes(content)
    changed = "changed since it was indexed"
    assert pictures.changed(pictures) == {first: "missing", second: changed, third: changed}
    assert [pictures.id_of(small_folder / id) for id in pictures.ids[:4]] == [None, None, None, pictures.ids[3]]
    with pytest.raises(am.errors.MissingKeyError):
        pictures.changed(["nothing.png"])


def test_a_subset_keeps_the_order_of_the_table(small_folder):
    (small_folder / "bad.png").write_text("words")
    collection = scan(small_folder)
    wanted = [collection.ids[20], collection.ids[3], collection.ids[3], collection.ids[11]]
    subset = collection.subset(wanted)
    assert subset.ids == [collection.ids[place] for place in (3, 11, 20)]
    assert subset.labels == [collection.labels[place] for place in (3, 11, 20)]
    assert collection.ids[0] not in subset and len(collection) == 32
    assert np.array_equal(subset.open(wanted[0]), collection.open(wanted[0]))
    assert list(subset.rejected["id"]) == ["bad.png"]
    with pytest.raises(am.QueryError, match=r"no picture 'moon\.png'"):
        collection.subset([collection.ids[0], "moon.png"])


def test_duplicates_are_found_by_their_bytes(small_folder):
    ids = scan(small_folder).ids
    for copy in ("copy.webp", "again/copy.webp"):
        (small_folder / copy).parent.mkdir(exist_ok=True)
        shutil.copy(small_folder / ids[5], small_folder / copy)
    collection = scan(small_folder)
    by_content = {}
    for id in collection.ids:
        by_content.setdefault((small_folder / id).read_bytes(), set()).add(id)
    expected = [same for same in by_content.values() if len(same) > 1]
    assert {"copy.webp", "again/copy.webp", ids[5]} in expected
    found = collection.duplicates().groupby("group")["id"].apply(set).tolist()
    assert sorted(found, key=sorted) == sorted(expected, key=sorted)
    assert collection.subset(ids[:6]).duplicates().empty


def test_duplicates_of_the_bundled_cartoons(all_cartoons):
    found = all_cartoons.duplicates()
    assert found.groupby("group").size().tolist() == [2] * 17  # as stated in data/README.md
    for _, pair in found.groupby("group"):
        first, second = (all_cartoons.path(id).read_bytes() for id in pair["id"])
        assert first == second


def test_a_collection_is_a_mapping_from_ids_to_pictures(small_folder):
    collection = scan(small_folder)
    ids = collection.ids
    assert list(collection) == ids and len(list(collection)) == len(collection)
    assert np.array_equal(collection[ids[3]], am.open_image(small_folder / ids[3]))
    assert collection[2:5].ids == ids[2:5] and collection[[ids[9], ids[1]]].ids == [ids[1], ids[9]]
    assert ids[0] in collection and "none.png" not in collection and 0 not in collection and None not in collection
    for key in ("none.png", ["none.png"]):
        with pytest.raises(KeyError, match=r"no picture 'none\.png'"):
            collection[key]
    with pytest.raises(am.QueryError, match=r"collection\.ids\[0\]"):
        collection[0]


def test_collections_are_equal_where_their_pictures_are(small_folder):
    collection = scan(small_folder)
    assert collection == scan(small_folder) and collection[:] == collection
    assert collection != collection[1:] and collection != scan(small_folder, labels=None)
    assert collection != scan(small_folder, background="black") and collection != "cartoons"


def test_choose(small_folder):
    collection = am.Collection.from_folder(small_folder, progress=False)
    some = collection.ids[5:2:-1]
    assert collection.choose(some) == some
    others = collection.choose([*some, "none.png"])
    assert len(others) == 4 and set(others) <= set(collection.ids) and others != some
    assert collection[:2].choose(["none.png"] * 5) == collection.ids[:2] * 2 + collection.ids[:1]
