"""Judgements are written to disk at once, and an evaluation reads them."""

import csv
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import amulsearch as am
from amulsearch.measure import Judgements


def test_they_survive_the_process(tmp_path):
    path = tmp_path / "new folder" / "judgements.csv"
    program = (
        "import os, signal, amulsearch as am\n"
        f"judgements = am.measure.Judgements({str(path)!r})\n"
        "judgements.add('a.png', 'b, \"c\".png', True)\n"
        "judgements.add('a.png', 'é\\nd.png', False)\n"
        "judgements.add('a.png', 'x.png', True)\n"
        "judgements.add('a.png', 'x.png', None)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    judgements = Judgements(path)
    assert judgements.table.values.tolist() == [["a.png", 'b, "c".png', 1], ["a.png", "é\nd.png", 0]]
    assert judgements.get("a.png", "é\nd.png") == 0 and judgements.get("a.png", "x.png") is None
    judgements.add("a.png", "é\nd.png", True)
    assert Judgements(path).get("a.png", "é\nd.png") == 1
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["relevance"] for row in rows] == ["1", "0", "1", "", "1"]
    assert pd.to_datetime([row["time"] for row in rows]).tz is not None


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_file_that_a_spreadsheet_saved_is_read_and_continued(tmp_path, separator):
    rows = [["query", "id", "relevance", "time"], ["a b.png", "caf\u00e9.png", "1", "2026-01-01"]]
    path = tmp_path / "judgements.csv"
    path.write_bytes("".join(separator.join(row) + "\r\n" for row in rows).encode("utf-8-sig"))
    Judgements(path).add("a b.png", "b,c;d.png", False)
    table = Judgements(path).table
    assert table.values.tolist() == [["a b.png", "caf\u00e9.png", 1], ["a b.png", "b,c;d.png", 0]]
    relevance = am.Relevance.from_judgements(["a\xa0b.png", "cafe\u0301.png", "b,c;d.png"], table)
    assert relevance.queries.tolist() == [0] and relevance.grades(np.array([0]))[0, 1:].tolist() == [1, 0]


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    path = tmp_path / "judgements.csv"
    Judgements(path).add("a", "b", True)
    whole = path.read_bytes()
    for torn in (b'a,"c', b"a,d,1", b"\xc3"):
        path.write_bytes(whole + torn)
        judgements = Judgements(path)
        assert len(judgements) == 1
        judgements.add("a", "e", False)
        assert Judgements(path).table["id"].tolist() == ["b", "e"]
    path.write_bytes(b"query,i")  # only a part of the header
    Judgements(path).add("a", "b", True)
    assert len(Judgements(path)) == 1


def test_other_files_are_refused_and_kept(tmp_path):
    (other := tmp_path / "table.csv").write_text("name,age\nx,3\n")
    with pytest.raises(am.errors.StoreError, match="is not a file of judgements"):
        Judgements(other)
    for content in ("query,id,relevance,time_of_day\na,b,1,now\n", "hello", "query,id\n"):
        other.write_text(content)
        with pytest.raises(am.errors.StoreError, match="is not a file of judgements"):
            Judgements(other)
        assert other.read_text() == content
    other.write_text("name,age\nx,3\n")
    (wrong := tmp_path / "wrong.csv").write_text("query,id,relevance,time\na,b,5,now\n")
    with pytest.raises(am.errors.StoreError, match="row 2: relevance must be 0, 1 or empty"):
        Judgements(wrong)
    (tmp_path / "picture.csv").write_bytes(bytes(range(256)) + b"\n")
    with pytest.raises(am.errors.StoreError, match="is not a file of judgements"):
        Judgements(tmp_path / "picture.csv")
    (tmp_path / "binary.csv").write_bytes(b"query,id,relevance,time\n\xc3\x28,b,1,now\n")
    with pytest.raises(am.errors.StoreError, match="cannot be read"):
        Judgements(tmp_path / "binary.csv")
    assert other.read_text() == "name,age\nx,3\n"
    with pytest.raises(am.errors.StoreError, match="cannot be written"):
        Judgements(other / "below a file.csv").add("a", "b", True)


def test_two_judge_in_one_file_and_see_each_other(tmp_path):
    path = tmp_path / "judgements.csv"
    one, other = Judgements(path), Judgements(path)
    one.add("a", "b", True)
    other.add("a", "c", False)
    one.add("a", 'quoted "and\nbroken"', True)
    other.add("a", "b", None)
    expected = [["a", "c", 0], ["a", 'quoted "and\nbroken"', 1]]
    for judgements in (one, other, Judgements(path)):
        assert judgements.table.values.tolist() == expected and len(judgements) == 2
        assert judgements.get("a", "b") is None and judgements.get("a", "c") == 0
    path.unlink()
    assert len(one) == 0 and other.table.empty
    one.add("x", "y", True)
    assert other.get("x", "y") == 1


def test_four_processes_judge_at_once_and_none_is_lost(tmp_path):
    path, each = tmp_path / "judgements.csv", int(os.environ.get("AMULSEARCH_JUDGED", 100))
    program = (
        "import sys, amulsearch as am\n"
        f"judgements = am.measure.Judgements({str(path)!r})\n"
        f"for number in range({each}):\n"
        "    judgements.add(sys.argv[1], f'{number}.png', number % 3 > 0)\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, str(who)]) for who in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    content = path.read_bytes()
    assert b"\0" not in content and content.count(b"\n") == 4 * each + 1
    table = Judgements(path).table
    assert len(table) == 4 * each and set(table["query"]) == set("0123")
    assert (table["relevance"] == (table["id"].str.removesuffix(".png").astype(int) % 3 > 0)).all()


def test_an_evaluation_reads_them(tmp_path):
    ids = list("abcde")
    # For a the order is b c d e; for e it is d c b a.
    vectors = np.array([[np.cos(angle), np.sin(angle)] for angle in (0, 0.1, 0.3, 0.6, 1.0)], dtype=np.float32)
    judgements = Judgements(tmp_path / "judgements.csv")
    for text in ("a c 1", "a d 1", "a b 0", "a a 1", "e b 1", "e d 0", "b a 0", "c a 1", "a z 1"):
        query, id, relevance = text.split()
        judgements.add(query, id, int(relevance))
    relevance = am.Relevance.from_judgements(ids, judgements.table)
    assert relevance.unmatched == 1 and "1 entries of other pictures left out" in repr(relevance)
    result = am.evaluate(am.Features(vectors, ids), relevance)
    # Nothing was judged relevant to b, and nothing not relevant to c. For e, d comes first, and nobody judged c.
    assert result.per_query["id"].tolist() == ["a", "e"] and result.excluded == 3
    assert np.allclose(result.per_query["AP"], [(1 / 2 + 2 / 3) / 2, 1 / 2])
    none = am.Relevance.from_judgements(["a", "b"], judgements.table)
    assert am.evaluate(am.Features(vectors[:2], ["a", "b"]), none).per_query.empty


def test_pictures_are_judged_each_by_its_own_grade_at_once(tmp_path):
    judgements = Judgements(tmp_path / "judgements.csv")
    judgements.add("a", ["b", "c", "d"], [1, 0, None])
    assert judgements.table.to_numpy().tolist() == [["a", "b", 1], ["a", "c", 0]]
    with pytest.raises(ValueError, match="zip"):
        judgements.add("a", ["b", "c"], [1])
    assert len(Judgements(tmp_path / "judgements.csv")) == 2
