"""Collections of twins: the same things drawn by two makers, for `another_hand.py`.

    python benchmarks/make_hands.py FOLDER

Needs `pip install resvg_py`, npm and apt-get (Debian or Ubuntu), which download 150 MB. Each pair of makers is a folder
in which subject/maker.png is a picture of 256 x 256 pixels; so the label of a picture is its subject, and its twin is
the only other picture with this label. Of the emoji, those with a skin tone, flags, and men and women beside a person
are left out, and of more than 1,200 subjects a random 1,200 are drawn. The makers and their licences:

- emoji, packages @iconify-json of npm: Twemoji (CC BY 4.0), Noto, its first version, and FxEmoji (Apache 2.0), OpenMoji
  and EmojiOne 1 (CC BY-SA 4.0), Fluent, flat and in 3D (MIT);
- icons of desktops, packages of Debian: Oxygen (LGPL 3 or later) and Papirus (GPL 3).
"""

import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from make_emoji import new_folder, unpack

PAIRS = (
    ("openmoji", "fluent-emoji-flat"),
    ("twemoji", "noto"),
    ("fxemoji", "noto-v1"),
    ("emojione-v1", "fluent-emoji"),
)
MOST = 1200
SIDE = 256
THEMES = {  # the package, and where its icons of one size or more lie
    "oxygen": ("oxygen-icon-theme", "usr/share/icons/oxygen/base/*/"),
    "papirus": ("papirus-icon-theme", "usr/share/icons/Papirus/64x64/"),
}
CONTEXTS = ("apps", "categories", "devices", "emblems", "mimetypes", "places", "status")


def emoji(maker: str, folder: Path) -> dict[str, str]:
    """The emoji of a maker as SVG, by a name without hyphens."""
    package = f"@iconify-json/{maker}"
    try:
        packed = subprocess.run(["npm", "pack", package], cwd=folder, check=True, capture_output=True, text=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        sys.exit(f"the package {package} cannot be downloaded ({error}): install npm, and go online")
    with tarfile.open(folder / packed.split()[-1]) as archive:
        read = json.load(archive.extractfile("package/icons.json"))
    found = {}
    for name, icon in read["icons"].items():
        if not re.search("skin|flag|woman|man-", name):
            sides = [icon.get(side, read.get(side, 16)) for side in ("width", "height")]
            head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {sides[0]} {sides[1]}"'
            links = ' xmlns:xlink="http://www.w3.org/1999/xlink"'
            found[re.sub("[^a-z0-9]", "", name)] = f"{head}{links}>{icon['body']}</svg>"
    return found


def icons(theme: str, folder: Path) -> dict[str, Path]:
    """The icons of a theme by name, as SVG or in the greatest size, at least 48 pixels."""
    package, inside = THEMES[theme]
    unpack(folder, (package,))
    found = {}
    for context in CONTEXTS:
        for path in sorted(folder.glob(f"{inside}{context}/*.*g")):
            size = int(re.search(r"/(\d+)x\d+/", str(path))[1])
            found[path.stem] = max(found.get(path.stem, (47, None)), (size, path))
    return {name: path for name, (_, path) in found.items() if path}


def twins(one: dict, other: dict) -> Iterator[tuple[str, list[str | bytes]]]:
    """The subjects that both have, as SVG or PNG; a picture that has several names is taken once, by the first."""
    seen = set()
    for name in sorted(one.keys() & other.keys()):
        both = [read(source) for source in (one[name], other[name])]
        if not seen & set(both):
            yield name, both
        seen |= set(both)


def read(source: str | Path) -> str | bytes:
    if isinstance(source, str):
        return source
    return source.read_text(encoding="utf-8") if source.suffix == ".svg" else source.read_bytes()


def draw(folder: Path, makers: tuple[str, str], one: dict, other: dict) -> None:
    from resvg_py import svg_to_bytes

    every = list(twins(one, other))
    chosen = np.sort(np.random.default_rng(0).permutation(len(every))[:MOST])
    for name, both in (every[at] for at in chosen):
        (folder / name).mkdir(parents=True)
        for maker, drawn in zip(makers, both, strict=True):
            png = drawn if isinstance(drawn, bytes) else bytes(svg_to_bytes(svg_string=drawn, width=SIDE))
            (folder / name / f"{maker}.png").write_bytes(png)
    print(f"{len(chosen)} subjects by two makers in {folder}", flush=True)


def main() -> None:
    folder = new_folder(__doc__)
    for makers, of in [(tuple(THEMES), icons), *((pair, emoji) for pair in PAIRS)]:
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            draw(folder / "-".join(makers), makers, of(makers[0], Path(one)), of(makers[1], Path(other)))


if __name__ == "__main__":
    main()
