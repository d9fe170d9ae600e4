"""Open a Danbooru folder with far more metadata than pictures in bounded memory, index it, and evaluate it by tags.

    python benchmarks/danbooru.py [--pictures 5000] [--lines 1000000] [--model squeezenet1_1]

The pictures are copies of the bundled cartoons, whose keywords become tags. The metadata also names a million pictures
that are not in the folder, with thirty tags each (some 1.5 GB). "opening" is the peak memory of a process that does
nothing else, next to that of a process that only imports the library.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import amulsearch as am

DATA = Path(__file__).resolve().parent.parent / "data"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=5000, help="number of pictures in the folder")
    parser.add_argument("--lines", type=int, default=1_000_000, help="lines of metadata")
    parser.add_argument("--model", default="squeezenet1_1", help="name of the network")
    parser.add_argument("--open", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open is not None:
        seconds = 0.0
        if options.open:
            start = time.perf_counter()
            am.Collection.from_danbooru(options.open, progress=False)
            seconds = time.perf_counter() - start
        print(json.dumps([peak(), seconds]))
        return
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        make(folder, options.pictures, options.lines)
        size = sum(path.stat().st_size for path in (folder / "metadata").iterdir()) / 2**20
        (imported, _), (opened, seconds) = (measured(what) for what in ("", str(folder)))
        print(f"{options.pictures:,} pictures, {options.lines:,} lines of metadata, {size:,.0f} MiB")
        print(f"opening: {seconds:.1f} s, peak memory {opened:.0f} MiB; importing alone: {imported:.0f} MiB")
        collection = am.Collection.from_danbooru(folder, progress=False)
        print(collection, dict(collection.passed_over))
        start = time.perf_counter()
        made = am.extract(collection, options.model, "penultimate", precision="auto", store=folder / "store")
        features = made[options.model, "penultimate"]
        index = am.AnnoyIndex.build(features)
        print(f"extraction and index: {time.perf_counter() - start:.1f} s; {index}")
        relevance = am.Relevance.from_keywords(collection.ids, collection.keywords, most=0.1)
        queries = collection.sample(500)
        chance = np.random.default_rng(0).normal(size=features.vectors.shape)
        chance = am.Features(chance, features.ids)
        rows = {
            name: am.evaluate(system, relevance, queries=queries).mean()[["P@1", "P@5", "mAP", "nDCG@10"]]
            for name, system in ((features.name, features), ("chance level", chance))
        }
        print(pd.DataFrame(rows).T.to_string(float_format="%.3f"))


def make(folder: Path, pictures: int, lines: int) -> None:
    """Make pictures in the layout of Danbooru2021's 512px folder, and metadata in files of 100,000 lines."""
    table = pd.read_csv(DATA / "openclipart.csv", keep_default_na=False)
    rng = np.random.default_rng(0)
    there = set(np.sort(rng.permutation(lines)[:pictures]).tolist())
    words = sorted({word for entry in table["keywords"] for word in entry.split(";") if word})
    (folder / "metadata").mkdir()
    absent = [tagged([words[place] for place in rng.integers(0, len(words), 30)]) for _ in range(1000)]
    seen = 0
    for first in range(0, lines, 100_000):
        with (folder / "metadata" / f"2018{first:012}").open("w") as file:
            for number in range(first, min(first + 100_000, lines)):
                tags = absent[number % 1000]
                if number in there:
                    row, seen = table.iloc[seen % len(table)], seen + 1
                    path = folder / "512px" / f"{number % 1000:04}" / f"{number}.webp"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    content = (DATA / "openclipart" / row["id"]).read_bytes()
                    path.write_bytes(content + number.to_bytes(8))  # so that no two are the same
                    tags = tagged([word for word in row["keywords"].split(";") if word])
                about = f'"id": "{number}", "created_at": "2018-01-01", "rating": "{"sssssssqqe"[number % 10]}"'
                file.write(f'{{{about}, "file_ext": "webp", "tags": {tags}}}\n')


def tagged(words: list[str]) -> str:
    return json.dumps([{"id": str(100 + at), "name": word, "category": "0"} for at, word in enumerate(words)])


def peak() -> float:
    """Peak memory of this process in MiB; the value of `getrusage` starts at the memory of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def measured(folder: str) -> list[float]:
    """Peak memory (MiB) and seconds of a new process that opens the folder; "" only imports the library."""
    command = [sys.executable, __file__, "--open", folder]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


if __name__ == "__main__":
    main()
