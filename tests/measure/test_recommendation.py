"""Which system to use: the numbers are those of compare and of known items, and the sentence says what they say."""

import shutil
from argparse import Namespace

import numpy as np
import pandas as pd
import pytest
import torch

import amulsearch as am
from amulsearch.cli import main
from amulsearch.commands import _to_use
from amulsearch.features import presets
from amulsearch.measure import recommend, recommendation
from amulsearch.models.architectures import import_timm

MODELS = ["squeezenet1_1", "tf_efficientnet_lite0"]
KINDS = ("animals/birds", "food/fruit", "people", "recreation/music", "tools", "transportation/roadsigns")


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
def extractions():
    """The extractions that `found` makes."""
    return []


@pytest.fixture(scope="module")
def found(drawings, store, bundled_features, extractions):
    def counted(*arguments, **options):
        extractions.append(arguments)
        return am.extract(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        for module in (recommendation, presets):
            patch.setattr(module, "extract", counted)
        return recommend(drawings, store=store, progress=False)


def test_with_labels_the_numbers_are_those_of_compare(found, drawings, store):
    features = am.extract(drawings, layers=["logits", "penultimate", "last:gem"], store=store, progress=False)
    graph = am.indexes.DiffusionIndex.build(am.BEST.parts(drawings, store=store, progress=False))
    expected = am.compare(
        features, fusions=("vote", "rrf", "combsum"), others={"preset best": graph}, progress=False
    ).table.set_index("system")
    ours = found.table.set_index("system")
    assert found.measure == "mAP" and set(ours.index) == set(expected.index) and len(ours) == 22
    assert np.allclose(ours["mAP"], expected["mAP"][ours.index], atol=1e-4)
    assert ours["mAP"].is_monotonic_decreasing and found.system == ours.index[0]
    assert (ours["low"] <= ours["mAP"]).all() and (ours["mAP"] <= ours["high"]).all()
    assert ours["first"].sum() == pytest.approx(1)
    labels = found.pictures.labels
    assert len(set(labels)) == 6


def test_agreement_and_costs(found):
    ours = found.table.set_index("system")
    lists = {name: found.indexes[name].all_neighbours(10)[0] for name in found.indexes}
    singles = [name for name in lists if name in ours.index]
    shared = {
        (a, b): np.mean([len(set(x) & set(y)) / 10 for x, y in zip(lists[a], lists[b], strict=True)])
        for a in singles
        for b in singles
    }
    one, other = "tf_efficientnet_lite0 logits", "squeezenet1_1 last:gem"
    assert shared[one, "tf_efficientnet_lite1 logits"] > shared[one, other]
    assert ours["agreement"].between(0, 1).all() and ours["agreement"][one] > ours["agreement"][other]
    assert ours["kB"][one] == 4.0 and ours["kB"]["combsum of 4 logits"] == 16.0
    names = [f"{name} logits" for name in am.models.BUNDLED]
    assert ours["ms"]["combsum of 4 logits"] == pytest.approx(ours["ms"][names].sum())
    assert ours["ms"]["preset best"] == pytest.approx(ours["ms"][names].sum())


def test_the_sentence_says_what_the_table_says(found):
    table, advice = found.table, found.advice
    assert advice.startswith(f"Use {table['system'][0]}: its mAP of {table['mAP'][0]:.3f} is the highest of 22 systems")
    assert f"in {table['first'][0]:.0%} of 1,000 random draws of labels" in advice
    sure, near = "worse by more than chance" in advice, "cannot be told from it" in advice
    assert sure != near
    if near and "This is not sure" in advice:
        other = advice.split("This is not sure: ")[1].split(" (")[0]
        cheap = table.set_index("system")
        assert cheap["ms"][other] < cheap["ms"][table["system"][0]]


def test_a_winner_by_chance_is_not_called_sure(drawings, store):
    """One network, two layers that are nearly equal: neither is clearly better."""
    layers = ["penultimate", "last:mean"]
    found = recommend(drawings, ["squeezenet1_1"], layers=layers, store=store, progress=False)
    assert len(found.table) == 2 and found.table["mAP"].nunique() == 1
    assert "cannot be told from it" in found.advice and "worse by more than chance" not in found.advice


def test_without_labels_edited_copies_are_found(flat):
    pictures = am.Collection.from_folder(flat)
    found = recommend(pictures, MODELS, layers=["penultimate"], progress=False)
    assert found.measure == "MRR" and len(found.scores) == 10
    index = found.indexes["squeezenet1_1 penultimate"]
    edited = [edit(pictures.open(id)) for id in pictures.ids for edit in am.measure.EDITS.values()]
    own = np.arange(10).repeat(8)[:, None]
    rows, far = index.search(index.encode(edited), 10)
    ranks = 1 + (far < far[rows == own][:, None] - 1e-6).sum(axis=1)
    ours = found.table.set_index("system")
    assert ours["MRR"]["squeezenet1_1 penultimate"] == pytest.approx((1 / ranks).mean(), abs=1e-6)
    assert found.system == found.table["system"][0]
    assert "This is not sure: without labels" in found.advice and found.system in found.advice
    # Each of the ten pictures has two votes: they are ordered by their ranks, and the first is not first for all.
    lists = [one.search(one.encode(edited), 10) for one in found.indexes.values()]
    rows, votes = am.measure.fuse_all(lists, "vote", k=10)
    assert (votes == 2).all() and (rows[:, :1] != own).any()
    ranks = 1 + np.argmax(rows == own, axis=1)
    assert ours["MRR"]["vote of 2 penultimate"] == pytest.approx((1 / ranks).mean())


def test_every_edit_changes_the_picture_and_leaves_it_a_picture(openclipart):
    image = am.open_image(openclipart / "food/desserts/pie_pumpkin.webp")
    for size in (image.size, (9, 3)):
        for name, edit in am.measure.EDITS.items():
            edited = edit(image.resize(size))
            assert edited.mode == "RGB", name
            assert edited.size != size or np.asarray(edited).tolist() != np.asarray(image.resize(size)).tolist(), name


def test_each_network_runs_once(found, extractions):
    assert "preset best" in found.indexes and len(extractions) == 1


def test_a_sample_of_a_larger_folder(drawings, store):
    found, again = (
        recommend(drawings, MODELS, layers=["logits"], sample=40, store=store, progress=False) for _ in range(2)
    )
    assert len(found.pictures) == 40 and len(found.scores) <= 40
    stable = ["system", "mAP", "low", "high", "first", "agreement", "kB"]
    pd.testing.assert_frame_equal(found.table[stable], again.table[stable])


def test_mistakes_are_told(drawings, flat, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["compare", str(flat), "-o", str(tmp_path)])
    assert "give FILE.html" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "nothing")]) == 2
    assert main(["compare", str(flat), "--models", "nonsense"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 2
    few = drawings.subset(drawings.ids[:4])
    with pytest.raises(am.QueryError, match="at least 5 pictures, not 4"):
        recommend(few, progress=False)


@pytest.mark.parametrize("labelled", [True, False])
def test_a_network_without_classes_is_compared_by_its_other_layers(labelled, drawings, flat):
    torch.manual_seed(0)
    module = import_timm().create_model("test_vit", num_classes=0)
    mine = am.models.own("mine", module, am.models.Preprocess(160))
    pictures = drawings if labelled else am.Collection.from_folder(flat, progress=False)[:5]
    found = recommend(pictures, [mine, *MODELS], progress=False).table.set_index("system")
    singles = {f"mine {layer}" for layer in ("penultimate", "last:gem")}
    singles |= {f"{name} {layer}" for name in MODELS for layer in ("logits", "penultimate", "last:gem")}
    fused = {f"{way} of 3 {layer}" for way in ("vote", "rrf", "combsum") for layer in ("penultimate", "last:gem")}
    fused |= {f"{way} of 2 logits" for way in ("vote", "rrf", "combsum")}
    assert set(found.index) == singles | fused
    assert found["kB"]["combsum of 2 logits"] == 8.0 and found.notna().all(axis=None)


def test_the_commands_to_use_a_fusion_name_its_networks():
    singles = [f"{name} {layer}" for name in am.models.BUNDLED for layer in ("logits", "last:gem")]
    options = Namespace(folder="f", store=None, frame=None, background=None, max_pixels=None)
    assert "--models" not in _to_use("rrf of 4 last:gem", singles, options)
    told = _to_use("rrf of 2 logits", [*singles[2:6:2], "siglip_base last:gem"], options).splitlines()
    assert told[0].endswith("--models tf_efficientnet_lite0,tf_efficientnet_lite1 --layers logits")
    assert told[1].endswith("--layer logits --fuse rrf")
