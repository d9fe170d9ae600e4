"""The library without what Windows lacks; a sitecustomize.py takes it away, also from the processes that decode."""

import json
import os
import subprocess
import sys
from pathlib import Path

TAKEN = """
import io, mmap, os, select, signal, sys, time

sys.modules["resource"] = None
for module, names in {
    mmap: ("MADV_DONTNEED", "MADV_WILLNEED", "MADV_SEQUENTIAL"),
    os: ("fork", "forkpty", "geteuid", "sched_getaffinity", "sched_setaffinity"),
    select: ("epoll", "poll"),
    signal: ("SIGALRM", "SIGHUP", "alarm", "setitimer"),
}.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)


class Mapped(mmap.mmap):
    @property
    def madvise(self):
        raise AttributeError("madvise")


def no_pipes(*_):
    raise OSError("Windows waits for sockets only")


def open_picture(file, *arguments, **options):
    if str(file).endswith("crash.webp"):
        os._exit(3)
    if str(file).endswith("hang.webp"):
        time.sleep(600)
    return open(file, *arguments, **options)


if any("intake.decoding import serve" in argument for argument in sys.orig_argv):
    io.open = open_picture
mmap.mmap, select.select = Mapped, no_pipes
import multiprocessing  # imports select

multiprocessing.set_start_method("spawn")
"""

PROGRAM = """
import hashlib, json, os, sys
from pathlib import Path

import numpy as np

import amulsearch as am
from amulsearch.cli import main
from amulsearch.intake import decoding

assert not hasattr(os, "sched_getaffinity")  # sitecustomize.py was found
folder, crash, hang, store = sys.argv[1:]
good = sorted(str(path) for path in Path(folder).rglob("*.webp"))
request = lambda path: decoding.Request(path, hashlib.sha256(Path(path).read_bytes()).hexdigest())
first, crashed, last = decoding.decode([request(good[0]), request(crash), request(good[1])])
decoding.PATIENCE = 2
before, hung, after = decoding.decode([request(good[0]), request(hang), request(good[1])])
pictures = [first, last, before, after]
right = [np.array_equal(one.rgb, np.asarray(am.open_image(path))) for one, path in zip(pictures, 2 * good[:2])]
decoding.PATIENCE = 60

where = ["--store", store, "--models", "squeezenet1_1"]
codes = [main(["index", folder, *where, "--layers", "logits"]) for _ in range(2)]  # the second reads the first
codes += [main(["query", Path(good[0]).relative_to(folder).as_posix(), *where]), main(["query", good[1], *where])]
codes += [main(["evaluate", "--store", store]), main(["check", "--store", store])]
told = {"crashed": str(crashed), "hung": str(hung), "right": right, "codes": codes}
print(json.dumps(told))
"""


def test_pictures_are_decoded_and_a_store_is_made_and_queried(small_folder, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "sitecustomize.py").write_text(TAKEN, encoding="utf-8")
    for name in ("crash.webp", "hang.webp"):
        (tmp_path / name).touch()
    root = str(Path(__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, small_folder, *map(tmp_path.joinpath, ("crash.webp", "hang.webp", "store"))],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "taken"), root])},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["crashed"] == "damaged: its decoder crashed (exit status 3)"
    assert told["hung"] == "decoding took more than 2 seconds"
    assert told["right"] == [True] * 4 and told["codes"] == [0] * 6, done.stdout + done.stderr
