"""Read a folder in the layout of the Danbooru data sets: pictures by number, tags as JSON lines.

Source: Anonymous, Danbooru Community & Branwen 2022, "Danbooru2021: a large-scale crowdsourced and tagged anime
illustration dataset".

    512px/0001/1001.jpg or original/0001/1001.png     the folder is the id modulo 1000
    metadata/*                                        one JSON object per line: id, rating, tags, ...
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Collection as Names
from collections.abc import Iterator, Sequence
from pathlib import Path
from sys import intern

from tqdm.auto import tqdm

from ..errors import AmulsearchError, QueryError
from .scan import Listing, existing_folder, walk

CATEGORIES = {"general": "0", "artist": "1", "copyright": "3", "character": "4", "meta": "5"}
SAFE = ("g", "s")
"""The safe ratings: "g" is general and "s" sensitive since 2022; up to 2021 "s" was safe, and there was no "g"."""
LONGEST = 1 << 24
"""The most bytes of a line of metadata; a longer line is invalid."""

_ID = re.compile(rb'\{"id":\s*"?(\d+)"?')


def read_danbooru(
    folder: str | os.PathLike,
    pictures: str | None,
    metadata: str | os.PathLike | None,
    ratings: Names[str],
    keywords: Sequence[str],
    label: str | None,
    progress: bool,
) -> Listing:
    """List the pictures that have an allowed rating, with their tags; see `Collection.from_danbooru`."""
    for name in (*keywords, *filter(None, [label])):
        if name not in CATEGORIES:
            raise QueryError(f"there is no tag category {name!r}: use {', '.join(CATEGORIES)}")
    if isinstance(ratings, str) or not ratings:
        raise QueryError(f'ratings must be a list of letters such as ("g", "s"), not {ratings!r}')
    folder = existing_folder(folder)
    pictures = pictures or ("512px" if (folder / "512px").is_dir() else "original")
    files = _files(Path(metadata).expanduser() if metadata else folder / "metadata")
    names, rejected, passed_over = walk(existing_folder(folder / pictures))
    name_of: dict[int, str] = {}
    for name in names:
        number = _number(name)
        if number is None:
            reason = "its path does not match its number: FOLDER/(number modulo 1000)/number is expected"
            rejected.append({"id": name, "reason": reason})
        elif name_of.setdefault(number, name) != name:
            rejected.append({"id": name, "reason": f"{name_of[number]} has the same number"})
    wanted = {category: CATEGORIES[category] for category in keywords}
    words, labels, kept_out = {}, {}, Counter()
    for record in _records(files, name_of, progress):
        name = name_of.pop(int(record["id"]))
        rating = record.get("rating")
        if rating not in ratings:
            kept_out[f"rating: {rating}" if rating else "no rating"] += 1
            continue
        tags = [(str(tag.get("category")), intern(str(tag.get("name")))) for tag in record.get("tags") or ()]
        words[name] = [tag for category, tag in tags if category in wanted.values()]
        of = [tag for category, tag in tags if label and category == CATEGORIES[label]]
        labels[name] = of[0] if len(of) == 1 else None
    rejected += [{"id": name, "reason": "the metadata has no entry for it"} for name in name_of.values()]
    columns = {"label": labels.get, "keywords": words.get}
    return Listing(folder / pictures, sorted(words), rejected, {**passed_over, **kept_out}, columns)


def _number(name: str) -> int | None:
    """The number of a picture from its path, as in 0001/1001.jpg; None if the path does not have this form."""
    match = re.fullmatch(r"(\d{4})/(\d+)\.\w+", name)
    return int(match[2]) if match and int(match[1]) == int(match[2]) % 1000 else None


def _files(place: Path) -> list[Path]:
    if not place.exists() and place.with_suffix(".json").exists():
        place = place.with_suffix(".json")
    files = sorted(path for path in place.iterdir() if not path.name.startswith(".")) if place.is_dir() else [place]
    if not files or not all(path.is_file() for path in files):
        raise AmulsearchError(
            f"there is no metadata in {place}: set metadata= to a file of JSON lines or a folder of such files"
        )
    return files


def _records(files: Sequence[Path], wanted: Names[int], progress: bool) -> Iterator[dict]:
    """The objects of the wanted pictures; of the other lines only the number is read."""
    total = sum(path.stat().st_size for path in files)
    with tqdm(total=total, desc="metadata", unit="B", unit_scale=True, delay=2, disable=not progress) as bar:
        for path in files:
            with path.open("rb") as file:
                number, read = 0, 0
                while line := file.readline(LONGEST):
                    number, read = number + 1, read + len(line)
                    if read > 1 << 24:
                        bar.update(read)
                        read = 0
                    first = _ID.match(line)
                    if not line.strip() or (first and int(first[1]) not in wanted):
                        continue
                    record = _parsed(line, path, number)
                    if int(record["id"]) in wanted:
                        yield record
                bar.update(read)


def _parsed(line: bytes, path: Path, number: int) -> dict:
    try:
        record = json.loads(line)
        int(record["id"])
    except (ValueError, TypeError, KeyError) as error:
        raise AmulsearchError(
            f"{path}, line {number}, is not a JSON object with an id ({error}): correct or remove the line"
        ) from None
    return record
