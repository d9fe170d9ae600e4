"""The page of `amulsearch compare`, and what the command prints."""

import json

import pytest
from test_page import Seen

import amulsearch as am
from amulsearch.cli import main

MODELS = ["squeezenet1_1", "tf_efficientnet_lite0"]
KINDS = ("animals/birds", "buildings/homes", "food/fruit", "transportation/roadsigns", "plants/flowers", "people")


@pytest.fixture(scope="module")
def folder(copied, tmp_path_factory):
    """72 cartoons of six categories."""
    return copied(tmp_path_factory.mktemp("compare") / "drawings", KINDS, 12)


def test_the_command_prints_and_writes_a_page(folder, tmp_path, capsys):
    page = tmp_path / "page.html"
    asked = ["compare", str(folder), "--models", ",".join(MODELS), "--store", str(tmp_path / "store")]
    assert main([*asked, "-o", str(page)]) == 0
    out = capsys.readouterr().out
    assert "Use " in out and "Next: amulsearch index" in out and str(page) in out
    seen = Seen(page.read_text(encoding="utf-8"))
    assert "Which model for drawings?" in seen.text and "All systems" in seen.text
    assert sum("interval" in one["alt"] for one in seen.of("img")) == 1
    assert "Per cent: how probable" in seen.text
    assert main([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["measure"] == "mAP" and told["pictures"] == 72
    assert told["system"] == told["systems"][0]["system"] and told["system"] in told["advice"]


def test_the_chart_shows_the_table(folder):
    found = am.measure.recommend(am.Collection.from_folder(folder), MODELS[:1], layers=["logits", "penultimate"])
    axis = am.plot.systems_chart(found).axes[0]
    drawn = dict(zip((text.get_text() for text in axis.get_yticklabels()), axis.lines[0].get_xdata(), strict=True))
    assert drawn == dict(zip(found.table["system"], found.table["mAP"], strict=True))
