"""Rebuild data/openclipart and data/openclipart.csv from the Debian packages of the Open Clip Art Library.

    python data/make_openclipart.py                             download the two packages and rebuild
    python data/make_openclipart.py --source /usr/share/openclipart    use an unpacked tree

The bytes of the pictures are the same in every run with the same version of Pillow.
"""

import argparse
import csv
import html
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import defaultdict
from multiprocessing import Pool
from pathlib import Path

import PIL
from PIL import Image
from tqdm import tqdm

PACKAGES = ("openclipart-png", "openclipart-svg")
PACKAGE_VERSION = "0.18+dfsg-19"
PILLOW_VERSION = "13.0.0"
TOP_FOLDERS = re.compile("animals|people|food|transportation|plants|buildings|recreation|tools|education|electronics")
EXCLUDED_FOLDER = "recreation/games/cards"  # hundreds of almost identical playing cards
MIN_MEMBERS = 8  # pictures directly in a folder before the exclusions, after which a category may be smaller
MAX_PIXELS = 50_000_000  # eleven pictures have 168 to 623 million pixels and would need gigabytes
LONGER_SIDE = 320
QUALITY = 82
LICENCES = {"http://web.resource.org/cc/PublicDomain", "http://creativecommons.org/licenses/publicdomain/"}
UNFIT = {  # pictures unfit for a classroom, each with the reason
    "people/female_rollandin_frances_": "nude woman",
    "people/sexy_lady_01": "nude woman, sexual caption",
    "people/stripper_jarno_vasamaa_01r": "nude woman at a pole",
    "tools/gallows_frouke_01": "gallows with a noose",
}
BROKEN = {  # pictures that are broken in the package itself, each with the reason
    **dict.fromkeys(
        [
            "animals/birds/duck_yellow_ii_kurt_cagl_",
            *(f"people/stylized_yoga_person_ger_0{number}" for number in range(1, 7)),
            "recreation/religion/creation_day_7_number_ge_01",
            "recreation/religion/creation_day_7_number_ge_04",
        ],
        'shows the words "Linked Image Not Found"',
    ),
    "electronics/bulb/light_bulb_karl_bartel_01": "fully transparent",
    "recreation/sports/badminton_racket_brice_b_01": "fully transparent",
    "recreation/sports/football_pitch__andy_bur_01": "white on a transparent background",
}
COLUMNS = ("id", "category", "title", "creator", "keywords", "licence")
Image.MAX_IMAGE_PIXELS = None  # MAX_PIXELS is checked instead, before a picture is decoded
RDF_RESOURCE = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}resource"
# Keywords without meaning: artefacts of a Perl script, licences, web addresses, the name of an inbox folder.
NOISE = re.compile(r"hash|(hash\()?0x[0-9a-f]+\)?|public ?domain|.*licen[cs]e.*|https?:.*|unsorted|\W*")
EMAIL = re.compile(r"[(<\[]?[\w.+-]+@[\w.-]+[)>\]]?")


class BuildError(Exception):
    """A reason why the pictures cannot be built, in one sentence."""


def run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    except FileNotFoundError:
        raise BuildError(f"{command[0]} is not installed: use a Debian system, or --source.") from None
    except subprocess.CalledProcessError:
        raise BuildError(f"`{' '.join(command)}` failed; `apt-get update` may help.") from None


def download(folder: Path) -> Path:
    """Download and unpack the two packages; return the folder that contains `png` and `svg`."""
    run(["apt-get", "download", *PACKAGES], folder)
    for package in sorted(folder.glob("*.deb")):
        if PACKAGE_VERSION not in package.name:
            warn(f"{package.name} is not version {PACKAGE_VERSION}, so the pictures may differ.")
        run(["dpkg", "-x", str(package), str(folder / "unpacked")], folder)
    return folder / "unpacked" / "usr" / "share" / "openclipart"


def warn(message: str) -> None:
    tqdm.write(f"warning: {message}", file=sys.stderr)


def wanted(category: str) -> bool:
    """Whether a category is one of the top folders or lies in one, and is not in the playing cards."""
    cards = f"{category}/".startswith(f"{EXCLUDED_FOLDER}/")
    return bool(TOP_FOLDERS.fullmatch(category.split("/")[0])) and not cards


def select(source: Path) -> list[str]:
    """Paths without suffix of the pictures in the wanted categories; symbolic links are duplicates and are skipped."""
    folders = defaultdict(list)
    for path in (source / "png").rglob("*.png"):
        if path.is_file() and not path.is_symlink():
            name = path.relative_to(source / "png").with_suffix("").as_posix()
            folders[name.rpartition("/")[0]].append(name)
    chosen = [names for folder, names in folders.items() if wanted(folder) and len(names) >= MIN_MEMBERS]
    return sorted(name for names in chosen for name in names)


def clean(text: str | None) -> str:
    """Text without superfluous white space; UTF-8 that was decoded as Latin-1 is repaired."""
    text = " ".join(html.unescape(text or "").split())
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def clean_name(text: str | None) -> str:
    """A title or creator without its e-mail address; of a bare address, the part before the @."""
    name = clean(text)
    name = EMAIL.sub("", name).strip(" -") or name.partition("@")[0]
    return "" if re.fullmatch(r"unknown|anonymous|hash\(.*", name, re.IGNORECASE) else name


def clean_keywords(texts: list[str | None]) -> str:
    words = (word.strip() for text in texts for word in clean(text).lower().split(";"))
    return ";".join(dict.fromkeys(w for w in words if w.isprintable() and not NOISE.fullmatch(w)))


def describe(svg: Path) -> dict[str, str]:
    """Title, creator, keywords and licence from the first metadata record of a drawing; no external file is read."""
    work = ET.parse(svg).getroot().find(".//{*}metadata//{*}Work")
    if work is None:
        return dict.fromkeys(COLUMNS[2:], "")
    licence = work.find("{*}license")
    return {
        "title": clean_name(work.findtext("{*}title")),
        "creator": clean_name(work.findtext("{*}creator/{*}Agent/{*}title")),
        "keywords": clean_keywords([item.text for item in work.iterfind("{*}subject//{*}li")]),
        "licence": "" if licence is None else licence.get(RDF_RESOURCE, "").strip(),
    }


def to_eight_bits(image: Image.Image) -> Image.Image:
    """The picture as RGBA, or as RGB if nothing in it is transparent."""
    if image.mode.startswith("I"):  # 16-bit grey: scale 0..65535 to 0..255; convert() alone would clip
        image = image.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] < 255:
            return image
    return image.convert("RGB")


def shrink(image: Image.Image) -> Image.Image:
    """Resize to at most LONGER_SIDE pixels; colours are weighted by alpha, which avoids halos at edges."""
    scale = LONGER_SIDE / max(image.size)
    if scale >= 1:
        return image
    size = tuple(max(1, round(side * scale)) for side in image.size)
    if image.mode == "RGB":
        return image.resize(size, Image.Resampling.LANCZOS)
    return image.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")


def build_one(task: tuple[Path, Path, str]) -> dict[str, str] | str:
    """Write one picture and return its row of the table, or the reason for its exclusion."""
    source, target, name = task
    if reason := UNFIT.get(name) or BROKEN.get(name):
        return f"{name}: {reason}"
    try:
        text = describe(source / "svg" / f"{name}.svg")
        if text["licence"] not in LICENCES:
            return f"{name}: names no public-domain licence"
        with Image.open(source / "png" / f"{name}.png") as image:
            if image.width * image.height > MAX_PIXELS:
                return f"{name}: {image.width * image.height:,} pixels"
            picture = shrink(to_eight_bits(image))
    except (OSError, SyntaxError, ValueError) as error:
        return f"{name}: cannot be read ({error})"
    path = target / f"{name}.webp"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=QUALITY, method=5, exact=False)
    return {"id": f"{name}.webp", "category": name.rpartition("/")[0], **text}


def build(source: Path, target: Path, table: Path) -> None:
    names = select(source)
    if not names:
        raise BuildError(f"{source} contains no pictures: give the folder that contains `png` and `svg`.")
    rows, tasks = [], [(source, target, name) for name in names]
    with Pool(min(4, os.cpu_count() or 1)) as pool:
        for result in tqdm(pool.imap(build_one, tasks, chunksize=4), total=len(tasks), unit="picture"):
            rows.append(result) if isinstance(result, dict) else tqdm.write(f"excluded {result}")
    with open(table, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: row["id"]))
    print(f"{len(rows)} pictures in {len({row['category'] for row in rows})} categories")


def move_into_place(built: Path, output: Path) -> None:
    """Replace the old pictures and table; the old pictures are deleted only when the new ones are in place."""
    pictures, old = output / "openclipart", output / "openclipart.old"
    if pictures.exists():
        shutil.rmtree(old, ignore_errors=True)
        pictures.rename(old)
    (built / "openclipart").rename(pictures)
    (built / "openclipart.csv").replace(output / "openclipart.csv")
    shutil.rmtree(old, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Rebuild the bundled cartoons and their table.")
    parser.add_argument("--source", type=Path, help="unpacked `openclipart` folder that contains `png` and `svg`")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent, help="by default, the folder of this script"
    )
    options = parser.parse_args()
    if PIL.__version__ != PILLOW_VERSION:
        warn(f"this is Pillow {PIL.__version__}, not {PILLOW_VERSION}, so the bytes may differ.")
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".openclipart-", dir=options.output) as folder:
            built = Path(folder)
            source = options.source or download(built)
            build(source, built / "openclipart", built / "openclipart.csv")
            move_into_place(built, options.output)
    except (BuildError, OSError) as error:
        print(f"make_openclipart: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
