"""The numbers that notebook 01 and its solutions state about the bundled cartoons."""

NOTEBOOK = "01_your_collection"


def test_what_is_in_it(bundled_features, near, stated):
    table = bundled_features.collection.table
    counts = table["label"].value_counts()
    near((table["format"] == "WEBP").sum(), r"bundled cartoons are ([\d,]+) WebP files", within=0)
    near(table[["width", "height"]].max().max(), r"at most (\d+) pixels on the longer side", within=0)
    near(len(counts), r"bundled cartoons have (\d+) labels", within=0)
    assert stated(NOTEBOOK, r"the largest label, `people`, has (\d+) pictures") == counts["people"] == counts.max()
    near(counts.min(), r"the smallest has (\d+),", within=0)
    near(counts.median(), r"half of the labels have at most (\d+)\.", within=0)


def test_nothing_is_left_out(bundled_features):
    assert bundled_features.collection.rejected.empty and not bundled_features.collection.passed_over


def test_duplicates(bundled_features, near, stated):
    copies = bundled_features.collection.duplicates()
    labels = copies.groupby("group")["label"].nunique()
    near(len(copies), r"(\d+) files form \d+ pairs", within=0)
    assert stated(NOTEBOOK, r"files form (\d+) pairs") == len(labels) == len(copies) / 2
    near((labels > 1).sum(), r"In (\d+) of the pairs, the two files lie in different folders", within=0)


def test_solutions(bundled_features, near, stated):
    table = bundled_features.collection.table
    solutions = f"solutions/{NOTEBOOK}"
    shape = table["width"] / table["height"]
    assert abs(stated(solutions, r"heart with the arrow is ([\d.]+) times as wide") - shape.max()) < 0.05
    assert abs(stated(solutions, r"yoga pose is ([\d.]+) times as high") - 1 / shape.min()) < 0.05
    top = table["id"].str.split("/").str[0].value_counts()
    near(len(top), r"have (\d+) top-level folders", of=solutions, within=0)
    assert stated(solutions, r"the smallest, `electronics`, has (\d+) pictures") == top["electronics"] == top.min()
