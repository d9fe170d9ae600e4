"""The numbers that lesson 1 and its solutions state about the bundled cartoons."""

import numpy as np
import pandas as pd
import pytest
import torch

import amulsearch as am

NOTEBOOK = "01_pictures_and_networks"
SOLUTIONS = f"solutions/{NOTEBOOK}"
NAME = am.models.BUNDLED[-1]
TIGER = "animals/mammals/big_cats/tiger_graig_ryan_smith_-_01.webp"
PIN = "people/safety_pin_timothy_whit_r.webp"
WRONG = {
    1: "smallest = cartoons.table['label'].value_counts().min()",
    2: "row = row[::-1]",
    3: "names = names[::-1]",
    4: "guitars = guitars[::-1]",
}


@pytest.fixture(scope="module")
def classes() -> list[str]:
    return am.models.categories()


@pytest.fixture(scope="module")
def shares(bundled_features, classes) -> pd.DataFrame:
    """The probabilities of the classes, (N, 1000)."""
    logits = bundled_features[NAME, "logits"]
    powers = np.exp(logits.vectors - logits.vectors.max(axis=1, keepdims=True))
    return pd.DataFrame(powers / powers.sum(axis=1, keepdims=True), index=logits.ids, columns=classes)


def test_the_folder(bundled_features, near):
    collection = bundled_features.collection
    table = collection.table
    counts = table["label"].value_counts()
    near(len(table), "The # cartoons measure at most", within=0)
    near(table[["width", "height"]].max().max(), "at most # pixels on the longer side", within=0)
    sizes = [am.models.get(name).preprocess.size for name in am.models.BUNDLED]
    near([min(sizes), max(sizes)], "take squares of # to # pixels", within=0)
    near(len(counts), "The # labels are uneven", within=0)
    near([counts["people"], counts.min()], "`people` has # pictures, the smallest label #,", within=0)
    near(counts.median(), "half of the labels have at most #.", within=0)
    assert counts["people"] == counts.max() and abs((counts["people"] - 1) / (len(table) - 1) - 0.1) < 0.01
    others = [counts.min() - 1, len(table) - 1]
    near([others[1] / others[0], *others], "the smallest label one time in # (# others among #).", within=0.5)
    assert collection.rejected.empty


def test_copies(bundled_features, near):
    copies = bundled_features.collection.duplicates()
    labels = copies.groupby("group")["label"].nunique()
    near([len(copies), len(labels)], "The # files form # pairs", within=0)
    assert (copies["group"].value_counts() == 2).all()
    near((labels > 1).sum(), "In # of the ~ pairs, shown in the table", within=0)
    names = copies["id"].head(12).str.rpartition("/")[2].str.partition("_")[0].tolist()
    assert ("apple", "pear") in zip(names[::2], names[1::2], strict=True)


def test_the_decompression_bomb(executed, stated):
    variables = executed(NOTEBOOK, until="damaged.rejected")
    size = (variables["trial"] / "huge.png").stat().st_size
    assert size < 1000 * stated(NOTEBOOK, "takes less than # kilobytes on disk")
    assert 20_000 * 20_000 * 3 > 1e9  # as RGB
    assert variables["damaged"].ids == ["good.png", "truncated.png"] and len(variables["damaged"].rejected) == 3


def test_the_layers(bundled_features, near):
    cartoons, model, network = bundled_features.collection, am.models.get(NAME), am.models.load(NAME)
    square = np.array(am.models.resize_image(cartoons[TIGER], model.preprocess.size))
    weights = network.modules["conv_stem"].weight.cpu().numpy()
    text = "The # kernels of Lite2's first layer have # x ~ weights for each of the # colours"
    near([len(weights), weights.shape[2], weights.shape[1]], text, within=0)
    values = model.preprocess.normalise(torch.from_numpy(square)[None]).to(network.device)
    outputs = {layer: output[0].cpu().numpy() for layer, output in network.run(values, ["conv_stem", "last"]).items()}
    near(outputs["conv_stem"].shape[:2], "hence # channels of # x ~ numbers", within=0)
    near(outputs["last"].shape[:2], "The last map has # channels of only # x ~ places", within=0)

    # sums of the weights over colours and rows, or colours and columns
    by_columns = [abs(weights[channel].sum(axis=(0, 1))).max() for channel in (3, 4)]
    by_rows = [abs(weights[channel].sum(axis=(0, 2))).max() for channel in (3, 4)]
    assert by_columns[0] > 2 * by_rows[0] and by_rows[1] > 2 * by_columns[1]
    red, green, _ = weights[24].sum(axis=(1, 2))
    assert red < -5 < 5 < green
    seen = outputs["conv_stem"][24]
    colour = square[: 2 * len(seen) : 2, : 2 * len(seen) : 2].astype(int)
    orange = (colour[..., 0] > 200) & (colour[..., 1] < 180)
    eyes = colour[..., 1] - colour[..., 0] > 40
    assert np.median(seen[orange]) < np.median(seen) - 1 and np.median(seen[eyes]) > np.median(seen) + 1


@pytest.mark.parametrize(
    ("pattern", "id", "answer"),
    [
        ("The guitar (#)", "recreation/music/guitar_jarno_vasamaa1.webp", "acoustic guitar"),
        ("the pumpkin (#)", "food/pumpkin_erik_postma_01.webp", "jack-o'-lantern"),
        ("are a Band Aid with #,", "food/meats_and_eggs/breakfast_sausage.webp", "Band Aid"),
        ("is an electric fan with #.", "plants/flowers/flower_01.webp", "electric fan"),
    ],
)
def test_what_a_cartoon_is_called(shares, near, pattern, id, answer):
    assert shares.loc[id].idxmax() == answer
    near(shares.loc[id].max(), pattern, within=0.02)


def test_what_most_cartoons_are_called(shares, near):
    counts = shares.idxmax(axis=1).value_counts()
    assert counts.index[0] == "envelope"
    near(counts.iloc[0], "The most frequent answer is an envelope, for # cartoons.", within=4)
    near(shares.max(axis=1).median(), "the largest probability is at most #.", within=0.01)


def test_solution_1(bundled_features, near):
    top = bundled_features.collection.table["id"].str.split("/").str[0].value_counts()
    text = "have # top-level folders; the smallest, `electronics`, has # pictures"
    near([len(top), top["electronics"]], text, of=SOLUTIONS, within=0)
    assert top["electronics"] == top.min()


def test_solution_3(bundled_features, classes, near):
    for framing, answer, pattern in (
        ("pad", "safety pin", "gives the correct name, with #."),
        ("crop", "hook", "calls a hook with #."),
        ("squash", "bolo tie", "is a bolo tie with #."),
    ):
        logits = am.embed(bundled_features.collection[PIN], NAME, "logits", framing=framing)["logits"][0]
        assert classes[logits.argmax()] == answer
        near(1 / np.exp(logits - logits.max()).sum(), pattern, of=SOLUTIONS, within=0.02)


def test_solution_4(bundled_features, classes):
    logits = bundled_features[NAME, "logits"]
    best = np.argsort(-logits.vectors[:, classes.index("acoustic guitar")])[:8]
    names = [logits.ids[row].rpartition("/")[2] for row in best]
    assert all("violin" in name for name in names[1:3]) and "pear" in names[4]
    assert sum("guitar" in name for name in names) == 5
