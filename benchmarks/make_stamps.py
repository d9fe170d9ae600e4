"""A third test collection: the stamps of the Debian package of Tux Paint, photographs and drawings of things.

    python benchmarks/make_stamps.py FOLDER

Downloads tuxpaint-stamps-default with apt-get (Debian or Ubuntu), 220 MB. Its PNG files stay in their folders, some 100
such as animals/birds and vehicles/ship; the SVG files are left out.
"""

import shutil
import tempfile
from pathlib import Path

from make_emoji import new_folder, unpack

PACKAGE = "tuxpaint-stamps-default"


def main() -> None:
    folder = new_folder(__doc__)
    with tempfile.TemporaryDirectory() as unpacked:
        unpack(Path(unpacked), (PACKAGE,))
        stamps = Path(unpacked) / "usr/share/tuxpaint/stamps"
        pictures = sorted(stamps.rglob("*.png"))
        for picture in pictures:
            to = folder / picture.relative_to(stamps)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(picture, to)
    print(f"{len(pictures)} stamps in {folder}")


if __name__ == "__main__":
    main()
