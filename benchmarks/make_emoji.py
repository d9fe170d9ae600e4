"""Draw a second test collection: the emoji of Debian's Noto font, with the groups of Unicode as folders.

    python benchmarks/make_emoji.py FOLDER

Downloads fonts-noto-color-emoji and unicode-data with apt-get (Debian or Ubuntu), 18 MB. Each emoji is drawn once, at
136 x 136 pixels on a transparent background; variants with a skin tone are omitted. The folder is group/subgroup.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, features

PACKAGES = ("fonts-noto-color-emoji", "unicode-data")
FONT = "usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
LIST = "usr/share/unicode/emoji/emoji-test.txt"
SIDE = 136
LINE = re.compile(r"([0-9A-F ]+); fully-qualified +# \S+ E[\d.]+ (.*)")
SKIN_TONES = {chr(code) for code in range(0x1F3FB, 0x1F400)}


def new_folder(description: str) -> Path:
    """The folder to create, from the command line."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder to create")
    folder = parser.parse_args().folder
    if folder.exists():
        sys.exit(f"{folder} already exists: give a new folder")
    return folder


def unpack(folder: Path, packages: tuple[str, ...]) -> None:
    """Download Debian packages and unpack them into a folder."""
    try:
        subprocess.run(["apt-get", "download", *packages], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        sys.exit(
            f"the packages {', '.join(packages)} cannot be downloaded ({error}): use a Debian system that is online"
        )


def draw(unpacked: Path, folder: Path) -> int:
    """Draw all emoji and return their number."""
    font = ImageFont.truetype(str(unpacked / FONT), 109)  # the only size of the font's bitmaps
    group = subgroup = ""
    count = 0
    for line in (unpacked / LIST).read_text(encoding="utf-8").splitlines():
        if line.startswith("# group:"):
            group = line.partition(":")[2].strip()
        elif line.startswith("# subgroup:"):
            subgroup = line.partition(":")[2].strip()
        elif found := LINE.match(line):
            text = "".join(chr(int(code, 16)) for code in found[1].split())
            if SKIN_TONES & set(text):
                continue
            picture = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
            ImageDraw.Draw(picture).text((0, 4), text, font=font, embedded_color=True)
            path = folder / group / subgroup / (re.sub("[^a-z0-9]+", "-", found[2].lower()).strip("-") + ".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
            count += 1
    return count


def main() -> None:
    folder = new_folder(__doc__)
    if not features.check("raqm"):
        sys.exit("this Pillow cannot combine characters into one emoji: install one with libraqm, such as its wheels")
    with tempfile.TemporaryDirectory() as unpacked:
        unpack(Path(unpacked), PACKAGES)
        print(f"{draw(Path(unpacked), folder)} emoji in {folder}")


if __name__ == "__main__":
    main()
