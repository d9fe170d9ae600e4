"""Damaged pictures, full disks, interrupts, two processes at once, and files that try to run code."""

import collections
import importlib.util
import io
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import amulsearch as am
from amulsearch.cli import main
from amulsearch.intake import decoding, file_digest

MODEL = "squeezenet1_1"
FUZZED = int(os.environ.get("AMULSEARCH_FUZZED", "99"))
"""How many damaged pictures are extracted; the reasons are printed (pytest -s)."""


def command(folder: Path, store: Path) -> list[str]:
    return [sys.executable, "-m", "amulsearch", "index", str(folder), "--store", str(store), "--models", MODEL]


def scan(folder) -> am.Collection:
    return am.Collection.from_folder(folder, progress=False)


def unfinished(store: Path) -> bool:
    """Whether `check_store` finds only what a run leaves that did not finish and damaged nothing."""
    return all("interrupted run left" in finding for finding in am.systems.check_store(store)["finding"])


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "store"


# Pictures

ENDINGS = "png jpg jpeg webp gif bmp tif tiff ico jp2 sgi avif dds ppm pcx apng"
OPTIONS = {"jpeg": {"progressive": True}, "tiff": {"compression": "jpeg"}, "avif": {"speed": 10}}


def encoded(image: Image.Image) -> dict[str, bytes]:
    """The picture in every format that can be written here, by file name."""
    rgb, files = image.convert("RGB"), {}
    options = OPTIONS | {"apng": {"save_all": True, "append_images": [rgb.rotate(90)]}}
    formats = [(ending, options.get(ending, {})) for ending in ENDINGS.split()]
    for ending, option in [*formats, ("tiff", {"compression": "tiff_lzw"})]:
        file = io.BytesIO()
        try:
            rgb.save(file, Image.registered_extensions()[f".{ending}"], **option)
        except (KeyError, OSError):  # this Pillow cannot write the format
            continue
        files[f"{len(files)}.{ending}"] = file.getvalue()
    return files


def damaged(chance: np.random.Generator, data: bytes, other: bytes) -> bytes:
    way, changed = int(chance.integers(6)), bytearray(data)
    early = min(len(data), 200)
    if way <= 1:  # bits of the header, or of the whole file
        for _ in range(int(chance.integers(1, 12))):
            changed[int(chance.integers(len(data) if way else early))] ^= 1 << int(chance.integers(8))
    elif way == 2:
        del changed[int(chance.integers(len(data))) :]
    elif way == 3:  # a block of another file
        start = int(chance.integers(len(data)))
        changed[start : start + 64] = other[start % len(other) :][:64]
    elif way == 4:  # the largest possible number
        start = int(chance.integers(early))
        changed[start : start + 4] = b"\xff" * 4
    else:
        start = int(chance.integers(len(data)))
        changed[start : start + 512] = bytes(min(512, len(data) - start))
    return bytes(changed)


def test_damaged_pictures_of_every_format_are_extracted_or_told(cartoons, store, tmp_path):
    chance = np.random.default_rng(7)
    fuzzed, whole, intact = tmp_path / "fuzzed", tmp_path / "whole", set()
    fuzzed.mkdir()
    whole.mkdir()
    sources = [encoded(cartoons.open(id).resize((120, 90))) for id in cartoons.sample(9, seed=3)]
    for number in range(FUZZED):
        name, data = list(sources[number % 9].items())[number // 9 % len(sources[0])]
        other = sources[int(chance.integers(9))]["0.png"]
        name = f"{number:05}-{name}"
        if number % 5 == 0:
            (whole / name).write_bytes(data)
            intact.add(name)
        else:
            data = damaged(chance, data, other)
        (fuzzed / name).write_bytes(data)
    extracted = am.extract(scan(fuzzed), MODEL, "penultimate", store=store, progress=False)
    features, rejected = extracted[MODEL, "penultimate"], extracted.rejected
    names = sorted(path.name for path in fuzzed.iterdir())
    assert sorted([*features.ids, *rejected["id"]]) == names  # each exactly once, extracted or rejected
    assert intact <= set(features.ids)
    assert all(reason and "\n" not in reason for reason in rejected["reason"])
    expected = am.extract(scan(whole), MODEL, "penultimate", progress=False)[MODEL, "penultimate"]
    rows = [features.ids.index(id) for id in expected.ids]
    np.testing.assert_allclose(features.vectors[rows], expected.vectors, rtol=1e-3, atol=1e-3)
    for id in chance.permutation(sorted(set(features.ids) - intact))[:9]:  # damaged, but still readable
        alone = am.embed(am.open_image(fuzzed / id), MODEL, "penultimate")["penultimate"][0]
        np.testing.assert_allclose(features.vector(id), alone, rtol=1e-3, atol=1e-3)
    assert am.systems.check_store(store, progress=False).empty
    reasons = collections.Counter(re.sub(r"\d[\d.]*", "N", reason)[:70] for reason in rejected["reason"])
    print(f"{FUZZED} pictures: {len(intact)} whole, {len(features)} extracted, {len(rejected)} rejected")
    print("\n".join(f"{count:6} {reason}" for reason, count in reasons.most_common()))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders")
def test_pictures_that_change_vanish_or_turn_into_something_else(small_folder):
    collection = scan(small_folder)
    ids = collection.ids
    changed, gone, folder, pipe, circle, failing = ids[0], *ids[2:7]
    (small_folder / changed).write_bytes((small_folder / ids[1]).read_bytes())
    for id in ids[2:7]:
        (small_folder / id).unlink()
    (small_folder / folder).mkdir()
    os.mkfifo(small_folder / pipe)
    (small_folder / circle).symlink_to(circle.rpartition("/")[2])
    (small_folder / failing).symlink_to("/proc/self/mem")  # reading it fails with an I/O error, like a failing disk
    shutil.rmtree(small_folder / "transportation")
    (small_folder / "transportation").symlink_to(small_folder / "food")
    features = am.extract(collection, MODEL, "logits", progress=False)
    reasons = {id: "No such file" for id in ids if id.startswith("transportation")}
    reasons |= {changed: "has changed since it was scanned", gone: "No such file", folder: "not a regular file"}
    reasons |= {pipe: "not a regular file", circle: "symbolic", failing: "Input/output"}
    rejected = dict(features.rejected.itertuples(index=False))
    assert rejected.keys() == reasons.keys()
    assert all(reason in rejected[id] for id, reason in reasons.items())
    assert features[MODEL, "logits"].ids == [id for id in ids if id not in rejected]


def test_a_header_that_takes_for_ever_is_rejected(small_folder, monkeypatch):
    """A GIF with a million frames, which are counted one by one."""
    file = io.BytesIO()
    Image.new("P", (1, 1)).save(file, "GIF")
    data = file.getvalue()
    start = data.index(b",", 13)
    (small_folder / "slow.gif").write_bytes(data[:start] + data[start:-1] * 1_000_000 + data[-1:])
    scan(small_folder)  # starts the processes
    monkeypatch.setattr(decoding, "PATIENCE", 0.5)
    collection = scan(small_folder)
    assert dict(collection.rejected.itertuples(index=False)) == {"slow.gif": "decoding took more than 0.5 seconds"}
    assert len(collection) == 32


def test_a_vector_that_cannot_be_compared_costs_its_picture_only(small_folder, store):
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(3, 5)

        def forward(self, x):
            dark, bright = x.amax((1, 2, 3)) < -1.5, x.amin((1, 2, 3)) > 2.2
            values = torch.where(bright[:, None], torch.nan, self.fc(x.mean((2, 3))))
            return torch.where(dark[:, None], 0.0, values)

    for colour in ("black", "white"):
        Image.new("RGB", (30, 30), colour).save(small_folder / f"{colour}.png")
    model = am.models.own("net", Net(), version=1)
    features = am.extract(scan(small_folder), model, "logits", store=store, progress=False)
    assert dict(features.rejected.itertuples(index=False)) == {
        "black.png": "net gives only zeros at logits",
        "white.png": "net gives NaN or infinite values at logits",
    }
    assert len(am.AnnoyIndex.build(features["net", "logits"])) == 32
    assert am.systems.check_store(store).empty


# Disks


def test_a_full_disk_is_told_and_what_was_there_stays(small_folder, tmp_path, capsys, contents):
    """A limit on file size, as on a full disk: the run fails while writing the database, the vectors or an index."""
    resource = pytest.importorskip("resource", reason="Windows has no limit on the size of a file")
    (first := tmp_path / "first").mkdir()
    for name in ("animals", "food"):
        shutil.copytree(small_folder / name, first / name)
    assert main(command(first, tmp_path / "before")[3:]) == 0
    before = contents(tmp_path / "before")
    shutil.copytree(small_folder, first, dirs_exist_ok=True)
    assert main(command(first, tmp_path / "after")[3:]) == 0
    limits, places = resource.getrlimit(resource.RLIMIT_FSIZE), set()
    for limit in (0, 3_000, 60_000, 100_000, 150_000, 200_000):
        store = Path(shutil.copytree(tmp_path / "before", tmp_path / f"store {limit}"))
        capsys.readouterr()
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            status = main(command(first, store)[3:])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        *progress, error = capsys.readouterr().err.strip().splitlines()
        assert status == 2 and not any(line.startswith("amulsearch: ") for line in progress)
        full = rf"amulsearch: {store}/?(.*) cannot be written: (File too large|.*free some disk .*)"
        places.add(re.fullmatch(full, error)[1].partition("/")[0])
        if contents(store)["table"] == before["table"]:
            assert contents(store) == before
        assert unfinished(store)
        assert main(command(first, store)[3:]) == 0
        am.systems.check_store(store, repair=True)  # deletes what the failed run left
        assert am.systems.check_store(store).empty and contents(store) == contents(tmp_path / "after")
    assert places == {"", "vectors", "indexes"}


def test_output_that_cannot_be_written_is_told(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with Path("/dev/full").open("w") as full:
        models = [sys.executable, "-m", "amulsearch", "models"]
        done = subprocess.run(models, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("amulsearch: No space left on device") and done.stderr.count("\n") == 1


def test_names_that_the_terminal_does_not_know_are_shown_all_the_same(small_folder, store, tmp_path):
    folder = small_folder.rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    cat = next((folder / "animals/mammals").iterdir()).rename(folder / "猫.webp")
    assert main(command(folder, store)[3:]) == 0
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    query = [sys.executable, "-m", "amulsearch", "query", cat.name, "--store", str(store)]
    for more in ([], ["--json"]):
        done = subprocess.run([*query, *more], capture_output=True, env=ascii_only, check=True)
        assert not done.stderr
    answer = json.loads(done.stdout)
    assert answer["query"] == "猫.webp" and len(answer["results"]) == 4
    assert all(Path(entry["path"]).exists() for entry in answer["results"])
    assert am.systems.check_store(store).empty


# Interrupts and other processes


def decoders_of(session: int) -> list[int]:
    """The running decoders of a process session."""
    numbers = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if b"amulsearch.intake.decoding" in (path / "cmdline").read_bytes():
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session and fields[0] != "Z":
                    numbers.append(int(path.name))
        except OSError:
            continue
    return numbers


def wait(seconds: float, ended) -> bool:
    """Wait until a function says that something has ended, at most some seconds."""
    until = time.monotonic() + seconds
    while not ended() and time.monotonic() < until:
        time.sleep(0.02)
    return ended()


def started(arguments: list[str]) -> subprocess.Popen:
    """A command in a session of its own."""
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(arguments, **streams, text=True, start_new_session=True)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")
def test_an_interrupt_while_a_picture_is_slow_ends_everything_at_once(small_folder, store):
    noise = np.random.default_rng(0).integers(0, 256, (3000, 3000, 3), np.uint8)
    Image.fromarray(noise).save(slow := small_folder / "slow.png", compress_level=0)
    for copy in range(15):
        os.link(slow, small_folder / f"{copy}.png")
    with started(command(small_folder, store)) as run:
        assert wait(30, lambda: decoders_of(run.pid))
        time.sleep(0.3)
        start = time.monotonic()
        run.send_signal(signal.SIGTERM)
        stderr = run.communicate(timeout=30)[1]
    assert time.monotonic() - start < 10
    assert run.returncode == 128 + signal.SIGTERM
    assert stderr.replace("\r", "\n").strip().splitlines()[-1].startswith("amulsearch: interrupted; what was computed")
    assert "Traceback" not in stderr
    assert not decoders_of(run.pid)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_cut_off_at_any_moment_the_next_run_goes_on(cartoons, store, tmp_path, contents):
    """AMULSEARCH_KILLS: how often the run is interrupted, by default 3."""
    pytest.importorskip("openvino")  # so that all runs use the same engine
    folder, undisturbed = cartoons.folder, tmp_path / "undisturbed"
    kills = int(os.environ.get("AMULSEARCH_KILLS", "3"))
    start = time.monotonic()
    assert main(command(folder, undisturbed)[3:]) == 0
    duration = time.monotonic() - start
    outcomes = collections.Counter()
    for kill, moment in enumerate(np.random.default_rng(0).uniform(0, 1.2, kills) * duration):
        number = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)[kill % 3]
        (store / "lock").unlink(missing_ok=True)
        with started(command(folder, store)) as run:
            wait(60, lambda: (store / "lock").exists() or run.poll() is not None)  # while the pictures are scanned
            time.sleep(moment)
            run.send_signal(number)
            error = run.communicate()[1].strip()
        assert run.returncode in (0, -number, 128 + number), error
        if run.returncode > 0:
            assert error.splitlines()[-1].startswith("amulsearch: interrupted") and "Traceback" not in error
        assert wait(5, lambda: not decoders_of(run.pid))
        state = "nothing stored yet"
        if (store / "store.sqlite").exists():
            findings = am.systems.check_store(store, repair=True)["finding"]
            assert all("interrupted run left" in finding for finding in findings) and unfinished(store)
            done = len(am.Store(store).indexes.names()) == 2
            state = "done" if done else " + ".join(re.sub(r"\d+|, the first.*", "", finding) for finding in findings)
            if state == "done":
                shutil.rmtree(store)  # start again
        # Only SIGKILL ends it at once; other signals do if all is done and Python itself is shutting down.
        assert run.returncode >= 0 or number == signal.SIGKILL or state == "done"
        outcomes[f"{run.returncode:4} {state}"] += 1
    print("\n".join(f"{count:4} times: {state}" for state, count in sorted(outcomes.items())))
    assert main(command(folder, store)[3:]) == 0
    assert am.systems.check_store(store).empty
    assert contents(store) == contents(undisturbed)


def test_killed_while_it_writes_nothing_is_lost(small_folder, store, contents):
    """A process that only appends vectors, changes the table and saves indexes is killed."""
    assert main(command(small_folder, store)[3:]) == 0
    before = contents(store)
    program = f"""if True:
        import numpy as np
        import amulsearch as am
        store = am.Store({str(store)!r})
        with store.lock():
            collection = store.collection()
            print("ready", flush=True)
            number = 0
            while True:
                for made_by in store.current().values():
                    number += 1
                    file = store.vectors({{**made_by, "framing": str(number)}})
                    file.append(store.numbers(), np.ones((32, 500), np.float32))
                    file.flush()
                    store.forget(file._entry[0])
                    store.tidy()
                for part in (collection[:20], collection):
                    part = am.intake.Collection(collection.folder, part.table, collection.rejected)
                    store.save_collection(part, store.register(part))
                for (model, layer), features in am.features.FeatureSet.open(store).items():
                    am.AnnoyIndex.build(features).save_in(store, f"{{model}} {{layer}}")
    """
    kills, outcomes = int(os.environ.get("AMULSEARCH_KILLS", "4")), collections.Counter()
    for moment in np.random.default_rng(1).uniform(0, 0.6, kills):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout.readline() == "ready\n"
            time.sleep(moment)
            run.kill()
        findings = am.systems.check_store(store, repair=True)["finding"]
        outcomes.update(re.sub(r"\d[\d.]*", "N", finding) for finding in findings)
        assert am.systems.check_store(store).empty
    print("\n".join(f"{count:4} times: {finding}" for finding, count in outcomes.most_common()))
    assert main(command(small_folder, store)[3:]) == 0
    assert am.systems.check_store(store).empty and contents(store) == before


def test_two_processes_make_one_store(small_folder, store):
    runs = [subprocess.Popen(command(small_folder, store), stdout=-1, stderr=-1, text=True) for _ in range(2)]
    outputs = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    counts = sorted(re.search(r"(\d+) extracted, (\d) of 2 indexes built", out).groups() for out, _ in outputs)
    assert counts == [("0", "0"), ("31", "2")]
    assert any("waiting for another process that is writing to" in err for _, err in outputs)
    assert am.systems.check_store(store).empty
    alone = am.extract(scan(small_folder), MODEL, progress=False)
    for key, together in am.features.FeatureSet.open(store).items():
        assert together.ids == alone[key].ids
        assert np.array_equal(together.vectors, alone[key].vectors)


# Files that try to run code


def harmful(payload) -> list[bytes]:
    """A pickle with the payload, and numpy arrays with it, which numpy loads only if pickles are allowed."""
    array, npy, npz = np.array([payload], dtype=object), io.BytesIO(), io.BytesIO()
    np.save(npy, array, allow_pickle=True)
    np.savez(npz, about=array)
    return [pickle.dumps(payload), npy.getvalue(), npz.getvalue()]


@pytest.fixture
def shadowing(small_folder) -> Path:
    """A folder of pictures that holds a namesake of each module of the standard library, and of some others."""
    for name in {*sys.stdlib_module_names, "lazy_loader", "numpy", "pandas", "PIL", "torch"} - {"__main__"}:
        if importlib.util.find_spec(name):
            (small_folder / f"{name}.py").write_text("raise SystemExit('a file of the folder of pictures was run')")
    return small_folder


def test_the_command_imports_no_module_of_the_working_directory(shadowing, store):
    path = {**os.environ, "PYTHONPATH": str(Path(am.__file__).parents[1])}
    arguments = [*command(Path(), store), "--layers", "logits"]
    done = subprocess.run(arguments, cwd=shadowing, env=path, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("32 pictures, 0 rejected, 31 extracted"), done.stderr  # two are the same bytes


def test_decoders_import_no_module_of_the_working_directory_or_beside_the_package(shadowing):
    (shadowing / "amulsearch").symlink_to(Path(am.__file__).parent)
    code = f"""if True:
        import sys
        sys.path.append({str(shadowing)!r})
        import amulsearch as am
        print(am.__file__, len(am.Collection.from_folder(".", progress=False)), sep="\\n")
    """
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    python = [sys.executable, "-P", "-c", code]
    done = subprocess.run(python, cwd=shadowing, env=alone, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [str(shadowing / "amulsearch" / "__init__.py"), "32"], done.stderr


@pytest.mark.parametrize("kind", [am.AnnoyIndex, am.ExactIndex, am.indexes.FaissIndex])
def test_no_index_can_run_code(kind, malicious, tmp_path):
    payload, ran = malicious
    vectors = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    features = am.Features(vectors, list(map(str, range(60))), fingerprint={"model": "m", "layer": "l"})
    path = kind.build(am.transforms.PCA.fit(features, 4)(features)).save(tmp_path / "index")
    assert kind.open(path).makers
    files = [file for file in path.rglob("*") if file.is_file() and file.name != "lock"]
    assert {file.suffix for file in files} == {".sqlite", ".npy", ".i64", kind.ending}
    for file in files:
        good = file.read_bytes()
        for content in harmful(payload):
            file.write_bytes(content)
            if file.suffix != ".sqlite":  # as an attacker would who knows the format of the database
                seal(path, file)
            with pytest.raises(am.errors.StoreError):
                kind.open(path)
            assert not ran()
        file.write_bytes(good)
        if file.suffix != ".sqlite":
            seal(path, file)
    assert len(kind.open(path)) == 60


def seal(path: Path, file: Path) -> None:
    """Enter the size and the digest of a file of a saved index into its database."""
    store = am.Store(path)
    name, about, folder, files = next(store.database.select("indexes"))
    files = {**json.loads(files), file.name: (file.stat().st_size, file_digest(file))}
    with store.database.transaction():
        store.database.insert("indexes", [(name, about, folder, json.dumps(files))])


def test_no_store_can_run_code(malicious, small_folder, store, tmp_path):
    payload, ran = malicious
    assert main(command(small_folder, store)[3:]) == 0
    evaluate, judgements = ["evaluate", "--store", str(store)], tmp_path / "judgements.csv"
    for path in [path for path in store.rglob("*") if path.is_file() and path.name != "lock"]:
        good = path.read_bytes()
        for content in harmful(payload)[:2]:
            path.write_bytes(content)
            assert main(["check", "--store", str(store)]) == 1
            if "indexes" not in path.parts:
                assert main(evaluate) == 2
            assert not ran()
        path.write_bytes(good)
    judgements.write_bytes(pickle.dumps(payload))
    assert main([*evaluate, "--judgements", str(judgements)]) == 2 and not ran()
