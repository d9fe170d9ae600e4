"""Which system to use: the numbers are those of compare and of loops, and the sentence says what they say."""

import shutil
from argparse import Namespace

import numpy as np
import pandas as pd
import pytest
import torch

import amulsearch as am
from amulsearch.cli import main
from amulsearch.commands import _to_use
from amulsearch.errors import QueryError
from amulsearch.measure import recommend
from amulsearch.models.architectures import import_timm
from amulsearch.systems import SAME_KIND

MODELS = ["squeezenet1_1", "tf_efficientnet_lite0"]
KINDS = ("animals/birds", "food/fruit", "people", "recreation/music", "tools", "transportation/roadsigns")
FUSIONS = ("vote", "rrf", "combsum")


@pytest.fixture(scope="module")
def drawings(cartoons):
    """60 cartoons of six categories."""
    return cartoons.subset(cartoons.table["id"][cartoons.table["label"].isin(KINDS)])


@pytest.fixture(scope="module")
def flat(openclipart, tmp_path_factory):
    """10 cartoons without subfolders."""
    base = tmp_path_factory.mktemp("flat") / "mixed"
    base.mkdir()
    for path in sorted(openclipart.rglob("*.webp"))[::160][:10]:
        shutil.copy(path, base)
    return base


@pytest.fixture(scope="module")
def panel(drawings, store):
    layers = {name: ["logits", "penultimate", *SAME_KIND.layers[name]] for name in SAME_KIND.layers}
    features = am.extract(drawings, list(layers), layers, store=store, progress=False)
    chosen = {key: layer for key, layer in features.items() if key[1] in ("logits", "penultimate", "last:gem")}
    preset = SAME_KIND.system([features[key] for key in SAME_KIND.keys])
    return am.Panel({"same-kind": preset, **chosen}, fusions=FUSIONS)


@pytest.fixture(scope="module")
def advice(panel, drawings):
    return recommend(panel, drawings, progress=False)


def test_with_labels_the_numbers_are_those_of_compare(advice, panel):
    expected = am.compare(panel, progress=False).table.set_index("system")
    table = advice.table.set_index("system")
    assert advice.measure == "mAP" and set(table.index) == set(panel) and len(table) == 22
    assert np.array_equal(table["mAP"], expected["mAP"][table.index]) and table["mAP"].is_monotonic_decreasing
    assert advice.system == table.index[0] and advice.queries == 60
    assert (table["low"] <= table["mAP"]).all() and (table["mAP"] <= table["high"]).all()
    assert table["first"].sum() == pytest.approx(1)


def test_agreement_is_that_of_a_logistic_function_by_hand(advice, panel):
    """How often systems have a pair in their lists of ten, weighed by 1 / rank, and by way of a third picture."""
    lists = np.array([system.all_neighbours(10)[0] for system in panel.values()])
    first = np.zeros((60, 60))
    for rows in lists:
        for query, row in enumerate(rows):
            first[query, row] += 1 / np.arange(1, 11) / len(lists) / 2
    first = first + first.T
    shown = {(query, row) for rows in lists for query in range(60) for row in rows[query, :5]}
    once, twice = ({pair: np.log(matrix[pair] + 0.01) for pair in shown} for matrix in (first, first @ first))
    means = [np.mean([*one.values()]) for one in (once, twice)]
    for name, rows in zip(panel, lists, strict=True):
        pairs = [(query, row) for query in range(60) for row in rows[query, :5]]
        score = [-3.2 + 0.7 * (once[pair] - means[0]) + 0.85 * (twice[pair] - means[1]) for pair in pairs]
        expected = np.mean(1 / (1 + np.exp(-np.array(score))))
        assert advice.table.set_index("system")["agreement"][name] == pytest.approx(expected, abs=1e-4)


def test_costs(advice):
    table, names = advice.table.set_index("system"), [f"{name} logits" for name in am.models.BUNDLED]
    assert table["kB"][names[0]] == 4.0 and table["kB"]["combsum of 4 logits"] == 16.0
    assert table["ms"]["combsum of 4 logits"] == pytest.approx(table["ms"][names].sum())
    assert table["ms"]["same-kind"] == pytest.approx(table["ms"][names].sum())


def test_the_sentence_says_what_the_table_says(advice):
    table, text = advice.table, advice.advice
    assert text.startswith(f"Use {table['system'][0]}: its mAP of {table['mAP'][0]:.3f} is the highest of 22 systems")
    assert f"in {table['first'][0]:.0%} of 1,000 random draws of labels" in text
    sure, near = "worse by more than chance" in text, "cannot be told from it" in text
    assert sure != near
    if near:
        other = text.split("The fastest of them is ")[1].split(":")[0]
        assert f"{table.set_index('system')['mAP'][other]:.3f}" in text and other != table["system"][0]


def test_a_winner_by_chance_is_not_called_sure(panel, drawings):
    """A system twice: neither is better."""
    same = am.Panel(dict.fromkeys(("one", "other"), panel["squeezenet1_1 penultimate"]))
    advice = recommend(same, drawings, progress=False)
    assert advice.table["mAP"].nunique() == 1
    assert "cannot be told from it" in advice.advice and "worse by more than chance" not in advice.advice


def test_agreement_orders_the_systems_nearly_as_the_labels_do(all_cartoons, all_features):
    """Without labels it decides: Kendall's tau with the mAP of single networks and layers of the cartoons."""
    layers = {key: layer for key, layer in all_features.items() if key[1] in ("logits", "penultimate", "last:gem")}
    table = recommend(am.Panel(layers), all_cartoons, progress=False).table
    assert table["mAP"].corr(table["agreement"], method="kendall") > 0.4


def test_without_labels_agreement_decides_and_a_sample_is_stable(flat):
    pictures = am.Collection.from_folder(flat, progress=False)
    features = am.extract(pictures, MODELS, ["penultimate", "last:gem"], progress=False)
    advice, again = (recommend(am.Panel(features, fusions=FUSIONS), pictures, progress=False) for _ in range(2))
    assert advice.measure == "agreement" and advice.comparison is None and "mAP" not in advice.table
    assert advice.table["agreement"].is_monotonic_decreasing
    assert "is not sure: without labels" in advice.advice and advice.system in advice.advice
    pd.testing.assert_frame_equal(advice.table.drop(columns="ms"), again.table.drop(columns="ms"))


def test_mistakes_are_told(panel, drawings, flat, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["report", str(flat), "-o", str(tmp_path)])
    assert "give FILE.html" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert main(["report", str(flat), "--models", "nonsense"]) == 2
    few = am.Panel({"few": am.Features(np.eye(4), list("abcd"))})
    with pytest.raises(QueryError, match="at least 5 pictures, not 4"):
        recommend(few, drawings, progress=False)


def test_a_network_without_classes_is_compared_by_its_other_layers(drawings):
    torch.manual_seed(0)
    mine = am.models.own(
        "mine", import_timm().create_model("test_vit", num_classes=0), am.models.Preprocess(160), version=1
    )
    table = am.views.write_report(drawings, models=[mine, *MODELS], progress=False).table.set_index("system")
    singles = {f"mine {layer}" for layer in ("penultimate", "last:gem")}
    singles |= {f"{name} {layer}" for name in MODELS for layer in ("logits", "penultimate", "last:gem")}
    fused = {f"{way} of 3 {layer}" for way in FUSIONS for layer in ("penultimate", "last:gem")}
    assert set(table.index) == singles | fused | {f"{way} of 2 logits" for way in FUSIONS}
    assert table["kB"]["combsum of 2 logits"] == 8.0 and table.notna().all(axis=None)


def test_the_commands_to_use_a_system_name_its_networks(panel, bundled_features):
    options = Namespace(folder="f", store=None, frame=None, background=None, max_pixels=None)
    assert "--models" not in _to_use(panel, "rrf of 4 last:gem", options)
    two = am.Panel({(name, "logits"): bundled_features[name, "logits"] for name in MODELS}, fusions=["rrf"])
    index, query = _to_use(two, "rrf of 2 logits", options).splitlines()
    assert index.endswith("--models squeezenet1_1,tf_efficientnet_lite0 --layers logits")
    assert query.endswith("--layer logits --fuse rrf")
    assert _to_use(panel, "same-kind", options).endswith("--preset same-kind")
    assert _to_use(panel, "squeezenet1_1 logits", options).endswith("--models squeezenet1_1 --layer logits")
