"""Decoding in worker processes: the results, and recovery from the loss of a worker."""

import contextlib
import hashlib
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import amulsearch as am
from amulsearch.intake import decoding
from amulsearch.intake.decoding import Request, decode

LINUX = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are found in /proc")


def request(path: Path, **how) -> Request:
    return Request(str(path), hashlib.sha256(path.read_bytes()).hexdigest(), **how)


@pytest.fixture(scope="module")
def slow(tmp_path_factory) -> Path:
    """A picture that takes seconds to decode, alone in its folder."""
    noise = np.random.default_rng(0).integers(0, 256, (3000, 3000, 3), np.uint8)
    path = tmp_path_factory.mktemp("slow") / "slow.webp"
    Image.fromarray(noise).save(path, lossless=True, method=0, quality=0)
    return path


def workers(process: int | None = None) -> list[int]:
    """The ids of the decoding processes that a process has started, by default this one."""
    threads = Path(f"/proc/{process or os.getpid()}/task").glob("*/children")
    pids = {int(child) for path in threads for child in path.read_text().split()}
    return [pid for pid in pids if b"amulsearch.intake.decoding" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_the_pixels_are_those_of_open_image(cartoons):
    ids = cartoons.sample(20)
    for id, picture in zip(ids, decode([cartoons.request(id) for id in ids]), strict=True):
        image = am.open_image(cartoons.path(id))
        assert np.array_equal(picture.rgb, np.asarray(image)) and picture.size == image.size


def test_a_picture_that_cannot_be_had_is_an_error_among_the_others(small_folder, tmp_path):
    good = sorted(small_folder.rglob("*.webp"))[:2]
    (damaged := tmp_path / "damaged.webp").write_bytes(good[0].read_bytes()[:100])
    (changed := tmp_path / "changed.webp").write_bytes(good[0].read_bytes())
    requests = [request(good[0]), request(damaged), request(changed), request(good[1])]
    changed.write_bytes(good[1].read_bytes())
    requests.insert(3, Request(str(tmp_path / "vanished.webp"), ""))
    first, *errors, last = decode(requests)
    assert [type(error) for error in errors] == [am.errors.PictureError] * 3
    assert [str(error) for error in errors[1:]] == [
        "it has changed since it was scanned: scan the folder again",
        "cannot be read: No such file or directory",
    ]
    for picture, path in ((first, good[0]), (last, good[1])):
        assert np.array_equal(picture.rgb, np.asarray(am.open_image(path)))


def test_a_decoder_that_hangs_is_ended(slow, small_folder, monkeypatch):
    good = sorted(small_folder.rglob("*.webp"))
    list(decode([request(good[0])]))  # starts the process
    monkeypatch.setattr(decoding, "PATIENCE", 0.1)
    before, error, after = decode([request(good[0]), request(slow), request(good[1])])
    assert str(error) == "decoding took more than 0.1 seconds"
    assert before.rgb.shape[2] == after.rgb.shape[2] == 3


@LINUX
@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL"])
def test_a_decoder_that_crashes_is_replaced(slow, small_folder, name):
    good = sorted(small_folder.rglob("*.webp"))
    answers = decode([request(good[0]), request(slow), request(good[1])])
    first, before = next(answers), set(workers())
    for pid in before:
        os.kill(pid, signal.Signals[name])
    error, last = answers
    assert str(error) == f"damaged: its decoder crashed ({name})"
    for picture, path in ((first, good[0]), (last, good[1])):
        assert np.array_equal(picture.rgb, np.asarray(am.open_image(path)))
    assert not before & set(workers())


def test_an_error_in_one_thread_costs_no_picture_of_another(slow, small_folder):
    picture, over = request(slow), threading.Event()

    def fail_again_and_again() -> None:
        while not over.is_set():
            with contextlib.suppress(ZeroDivisionError):
                am.Collection.from_folder(small_folder, labels=lambda id: 1 // 0, progress=False)

    (other := threading.Thread(target=fail_again_and_again)).start()
    try:
        answers = list(decode([picture] * 2))
    finally:
        over.set()
        other.join()
    assert [answer.size for answer in answers] == [(3000, 3000)] * 2


def test_large_pictures_are_not_in_memory_together(tmp_path):
    for number in range(16):
        Image.new("1", (3000, 3000)).save(tmp_path / f"{number}.png")
    collection = am.Collection.from_folder(tmp_path, progress=False)
    importlib.import_module("torch")  # without it, numpy resizes, and takes more memory
    thumbnails = importlib.import_module("amulsearch.views.thumbnails")
    model = am.models.get("squeezenet1_1")
    for work in (
        lambda: list(thumbnails.thumbnails(collection, collection.ids, 64, progress=False)),
        lambda: list(am.features.run.network_inputs(collection, [model], "pad")),
    ):
        tracemalloc.start()
        work()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 6 * decoding.processors() * 27e6  # each has 27 MB


def test_a_script_without_a_main_guard_can_scan(small_folder, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        f"import amulsearch as am\nprint(len(am.Collection.from_folder({str(small_folder)!r}, progress=False)))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "32\n"


@LINUX
def test_decoders_end_with_the_process_that_asked(small_folder):
    path = sorted(small_folder.rglob("*.webp"))[0]
    program = f"""if True:
        import time
        from amulsearch.intake.decoding import Request, decode
        list(decode([Request({str(path)!r}, {request(path).digest!r})]))
        print("decoded", flush=True)
        time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as asking:
        asking.stdout.readline()
        started = workers(asking.pid)
        asking.kill()
    until = time.monotonic() + 10
    while (alive := any(Path(f"/proc/{pid}").exists() for pid in started)) and time.monotonic() < until:
        time.sleep(0.05)
    assert started and not alive
