"""The library without what Windows lacks; a sitecustomize.py takes it away, also from the processes that decode."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

TAKEN = """
import mmap, os, select, signal, sys

sys.modules["resource"] = None
for module, names in {
    mmap: ("MADV_DONTNEED", "MADV_WILLNEED", "MADV_SEQUENTIAL"),
    os: ("fork", "forkpty", "geteuid", "getuid", "sched_getaffinity", "sched_setaffinity"),
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


mmap.mmap, select.select = Mapped, no_pipes
import multiprocessing  # imports select

multiprocessing.set_start_method("spawn")
"""

PROGRAM = """
import hashlib, json, os, sys, threading, time
from pathlib import Path

import numpy as np

import amulsearch as am
from amulsearch.cli import main
from amulsearch.intake import decoding

assert not hasattr(os, "sched_getaffinity")  # sitecustomize.py was found
folder, slow, store = sys.argv[1:]
good = sorted(str(path) for path in Path(folder).rglob("*.webp"))
request = lambda path: decoding.Request(path, hashlib.sha256(Path(path).read_bytes()).hexdigest())
decoding.decode([request(good[0])])


def crash():
    while not decoding._workers(os.getpid())._busy:
        time.sleep(0.01)
    time.sleep(0.2)
    for worker in list(decoding._workers(os.getpid())._busy):
        worker.process.kill()


(killer := threading.Thread(target=crash)).start()
first, crashed, last = decoding.decode([request(good[0]), request(slow), request(good[1])])
killer.join()
decoding.PATIENCE = 0.5
before, hung, after = decoding.decode([request(good[0]), request(slow), request(good[1])])
pictures = [first, last, before, after]
right = [np.array_equal(one.rgb, np.asarray(am.open_image(path))) for one, path in zip(pictures, 2 * good[:2])]
decoding.PATIENCE = 60

where = ["--store", store, "--models", "squeezenet1_1"]
codes = [main(["index", folder, *where]), main(["index", folder, *where])]  # the second reads what the first wrote
codes += [main(["query", Path(good[0]).relative_to(folder).as_posix(), *where]), main(["query", good[1], *where])]
codes += [main(["evaluate", "--store", store]), main(["check", "--store", store])]
told = {"crashed": str(crashed), "hung": str(hung), "right": right, "codes": codes}
print(json.dumps(told))
"""


def test_pictures_are_decoded_and_a_store_is_made_and_queried(small_folder, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "sitecustomize.py").write_text(TAKEN, encoding="utf-8")
    noise = np.random.default_rng(0).integers(0, 256, (3000, 3000, 3), np.uint8)
    Image.fromarray(noise).save(slow := tmp_path / "slow.webp", lossless=True, method=0, quality=0)
    root = str(Path(__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(small_folder), str(slow), str(tmp_path / "store")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "taken"), root])},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["crashed"].startswith("damaged: its decoder crashed (")
    assert told["hung"] == "decoding took more than 0.5 seconds"
    assert told["right"] == [True] * 4 and told["codes"] == [0] * 6, done.stdout + done.stderr
