"""The numbers that notebook 01 and its solutions state about the bundled cartoons."""

NOTEBOOK = "01_your_collection"


def test_what_is_in_it(bundled_features, stated):
    table = bundled_features.collection.table
    counts = table["label"].value_counts()
    assert stated(NOTEBOOK, r"bundled cartoons are ([\d,]+) WebP files") == (table["format"] == "WEBP").sum()
    assert stated(NOTEBOOK, r"at most (\d+) pixels on the longer side") == table[["width", "height"]].max().max()
    assert stated(NOTEBOOK, r"bundled cartoons have (\d+) labels") == len(counts)
    assert stated(NOTEBOOK, r"the largest label, `people`, has (\d+) pictures") == counts["people"] == counts.max()
    assert stated(NOTEBOOK, r"the smallest has (\d+),") == counts.min()
    assert stated(NOTEBOOK, r"half of the labels have at most (\d+)\.") == counts.median()


def test_nothing_is_left_out(bundled_features):
    assert bundled_features.collection.rejected.empty and not bundled_features.collection.passed_over


def test_duplicates(bundled_features, stated):
    copies = bundled_features.collection.duplicates()
    labels = copies.groupby("group")["label"].nunique()
    assert stated(NOTEBOOK, r"(\d+) files form \d+ pairs") == len(copies)
    assert stated(NOTEBOOK, r"files form (\d+) pairs") == len(labels) == len(copies) / 2
    assert stated(NOTEBOOK, r"In (\d+) of the pairs, the two files lie in different folders") == (labels > 1).sum()


def test_solutions(bundled_features, stated):
    table = bundled_features.collection.table
    solutions = f"solutions/{NOTEBOOK}"
    shape = table["width"] / table["height"]
    assert abs(stated(solutions, r"heart with the arrow is ([\d.]+) times as wide") - shape.max()) < 0.05
    assert abs(stated(solutions, r"yoga pose is ([\d.]+) times as high") - 1 / shape.min()) < 0.05
    top = table["id"].str.split("/").str[0].value_counts()
    assert stated(solutions, r"have (\d+) top-level folders") == len(top)
    assert stated(solutions, r"the smallest, `electronics`, has (\d+) pictures") == top["electronics"] == top.min()
