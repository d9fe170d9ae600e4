"""The messages of the jury's widget: questions, answers, and the replies."""

import base64
import io
import re

import pytest
from PIL import Image

import amulsearch as am
from amulsearch.errors import MissingKeyError
from amulsearch.views.jury_widget import JuryWidget

MODELS = ["squeezenet1_1", "tf_efficientnet_lite0"]


@pytest.fixture
def panel(cartoons, store):
    features = am.extract(cartoons, MODELS, ["penultimate", "last:gem"], store=store, progress=False)
    return am.Panel(features, fusions=["rrf"])


@pytest.fixture
def seat(panel, cartoons, tmp_path, monkeypatch):
    """`seat(**options)`: a widget over one file of judgements, and `ask(do, **message)`, which returns its reply."""
    said = []
    monkeypatch.setattr(JuryWidget, "send", lambda self, content, buffers=None: said.append(content))

    def open_widget(**options):
        widget = am.views.jury(am.measure.Jury(panel, tmp_path / "judged.csv", **options), cartoons)

        def ask(do, **message):
            said.clear()
            widget._handle_custom_msg({"do": do, **message}, [])
            return said[-1]

        return widget.jury, ask

    return open_widget


def test_a_question_has_three_pictures_and_the_three_best_systems(seat, cartoons):
    jury, ask = seat(most=7)
    told = ask("start")
    asked = jury.question
    assert told["ids"] == [asked.query, asked.left, asked.right] and (told["count"], told["most"]) == (0, 7)
    for id, uri in zip(told["ids"], told["pictures"], strict=True):
        kind, _, content = uri.partition(",")
        with Image.open(io.BytesIO(base64.b64decode(content))) as sent, cartoons.open(id) as whole:
            assert kind == "data:image/webp;base64" and max(sent.size) == min(480, max(whole.size))
            assert abs(sent.width / sent.height - whole.width / whole.height) < 0.02
    assert [one["system"] for one in told["systems"]] == jury.table["system"].tolist()[:3]
    assert [one["precision"] for one in told["systems"]] == jury.table["P@5"].tolist()[:3]


def test_an_answer_is_on_disk_before_the_next_question_and_undo_asks_it_again(seat):
    jury, ask = seat()
    first = ask("start")
    second = ask("answer", nearer="left", ids=first["ids"])
    query, left, right = first["ids"]
    written = am.measure.Judgements(jury.judgements.path).table
    assert sorted(written.values.tolist()) == sorted([[query, left, 1], [query, right, 0]]) and second["count"] == 1
    assert ask("answer", nearer="both", ids=first["ids"]) == second  # it was answered in another view
    assert ask("undo") == first and len(am.measure.Judgements(jury.judgements.path)) == 0
    refused = ask("undo")
    assert refused["say"] == "error" and refused["text"].startswith("there is nothing to undo") and jury.count == 0


def test_a_new_widget_goes_on_where_the_last_one_stopped_and_ends_with_a_verdict(seat):
    _, ask = seat(most=8)
    told = ask("start")
    for nearer in ("left", "right", "both"):
        told = ask("answer", nearer=nearer, ids=told["ids"])
    jury, ask = seat(most=8)
    assert ask("start") == told
    while "ids" in told:
        told = ask("answer", nearer="neither", ids=told["ids"])
    assert told["count"] == 8 and told["verdict"] == jury.verdict
    assert [one["system"] for one in told["systems"]] == jury.table["system"].tolist() and len(told["systems"]) == 6
    assert all(one["ms"] > 0 and one["kB"] > 0 for one in told["systems"])
    assert "verdict" in ask("answer", nearer="left", ids=[])
    assert "ids" in ask("undo")


def test_what_goes_wrong_is_said_and_the_question_stays(seat, tmp_path, panel, cartoons):
    jury, ask = seat()
    told = ask("start")
    jury.judgements.path.mkdir()
    refused = ask("answer", nearer="left", ids=told["ids"])
    assert refused["say"] == "error" and re.fullmatch(r"the judgements .*judged.csv cannot be read .*", refused["text"])
    jury.judgements.path.rmdir()
    assert ask("start") == told
    assert ask("answer", nearer="up", ids=told["ids"])["text"].startswith("the answer must be left, right")
    with pytest.raises(MissingKeyError, match="no picture"):
        am.views.jury(jury, cartoons[:9])
