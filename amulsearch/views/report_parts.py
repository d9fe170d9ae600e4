"""The parts of a report: each appends what it has to say to a page."""

from dataclasses import dataclass

import pandas as pd

from ..features import FeatureSet, concatenate
from ..intake import Collection, counts_text
from ..measure import MEASURES, Recommendation, chance_level, precision_at_k
from ..systems import COPY_LAYERS, PRESETS, Panel, edited_copies
from .captions import short_name
from .mapping import Map, sampled
from .page import Page
from .plot import systems_chart

SHOWN_LAYER = "penultimate"
"""The layer whose neighbours the page shows."""
SHEET, GROUPS, EACH, LISTED, LABELS = 48, 10, 8, 50, 6
"""Maximum numbers of pictures on the contact sheet, groups of near-duplicates, pictures of each, rejected files listed
by name, and labels with the best and worst results."""
JOINED = 50_000
"""Among how many pictures near-duplicates are searched: of a larger folder, among a random sample."""


@dataclass(frozen=True, eq=False)
class Report:
    """What the parts of a report are made from; panel, pictures: of those that can be asked with."""

    features: FeatureSet
    panel: Panel
    pictures: Collection
    advice: Recommendation | None
    k: int
    sees: bool | None


def _say_sample(page: Page, part: int, whole: int) -> None:
    """Say that what follows is about a sample of the pictures, if it is."""
    if part < whole:
        page.text(f"A random sample of {part:,} of the {whole:,} pictures.")


def _summary(page: Page, report: Report) -> None:
    """Which system to use, what there is, and how well it is found, in words."""
    collection, advice = report.features.collection, report.advice
    contents = [f"{len(collection):,} pictures can be searched."]
    if len(collection.rejected):
        files = "file looks like a picture" if len(collection.rejected) == 1 else "files look like pictures"
        contents.append(f"{len(collection.rejected):,} more {files} but cannot be used; the last part lists them.")
    if advice and advice.comparison:
        right = advice.comparison.table.set_index("system")["P@1"][advice.system]
        contents.append(
            f"For {right:.0%} of the {advice.queries:,} pictures that queried, the nearest neighbour with a label has "
            f"the same label, that is, it lies in the same subfolder, if {advice.system} is asked; by chance it would "
            f"be {chance_level(report.pictures.labels):.0%}."
        )
    page.text("\n\n".join([*([advice.advice] if advice else []), " ".join(contents)]))


def _answers(page: Page, report: Report) -> None:
    """Every picture can be asked with; of a large folder, those of a sample."""
    pictures, titles = report.pictures, report.panel.titles(SHOWN_LAYER)
    layers = {title: layer for name, title in titles.items() if (layer := report.panel.features(name))}
    page.heading("Ask with any picture")
    _say_sample(page, len(pictures), len(report.features.collection))
    maps = {"all networks": Map.fit(concatenate(list(layers.values())))} if len(layers) > 1 else {}
    first = next(iter(layers))
    maps[first] = Map.fit(layers[first])
    questions = [f"{name} looks for {preset.question}. " for name, preset in PRESETS.items() if name in report.panel]
    page.text(
        f"Click a picture: its neighbours stand in columns, one for each system. {''.join(questions)}On the map, "
        "similar pictures lie near each other; distances between dissimilar pictures mean little."
    )
    if (chance := chance_level(pictures.labels)) > 0:  # NaN without labels
        nearest = min(10, len(pictures) - 1)
        near = next(iter(maps.values())).neighbours(nearest)
        purity = precision_at_k({"map": near}, pictures.labels, at=[nearest]).iat[0, 0]
        page.text(
            f"On average, {purity:.0%} of a picture's {nearest} nearest neighbours on the map have its label; the "
            f"chance level is {chance:.0%}."
        )
    systems = {title: report.panel[name] for name, title in titles.items()}
    page.answers(pictures, systems, maps, k=report.k, sees=report.sees)


def _quality(page: Page, report: Report) -> None:
    advice = report.advice
    page.heading("Which system is best")
    if advice is None:
        page.text("There are too few pictures to compare systems.")
        return
    by_labels = advice.comparison is not None
    page.figure(systems_chart(advice), f"{advice.measure} of each system, with its 95% interval")
    meaning = (
        f"{advice.queries:,} pictures query all others; those with the same label are relevant. mAP: how well they "
        "come before all others; it is low for a vote, which ranks only the pictures that it lists."
        if by_labels
        else "No two pictures share a label, or too few do: nothing is measured but agreement. Sort some pictures into "
        "subfolders to have the systems measured."
    )
    page.text(
        f"{meaning} agreement: how many systems find the same pictures, weighed as it speaks for pictures of a kind. "
        f"It orders the systems; its level says nothing. low and high: the 95% interval over "
        f"{'labels' if by_labels else 'queries'}. first: the fraction of random draws in which the system is best. ms: "
        "the time for a new picture, once the networks are loaded. kB: vectors of a picture."
    )
    page.table(advice.table)
    if not by_labels:
        return
    page.text(
        "P@1 and P@5: the fraction of the first one and five neighbours that are relevant. R-precision: of the first "
        "R, if R pictures are relevant. mAP: 1 if the relevant pictures come before all others; MAP@R: the same among "
        "the first R. nDCG@10: the same among the first ten, where the first count most."
    )
    page.table(advice.comparison.table[["system", *("mAP" if name == "AP" else name for name in MEASURES)]])
    by_label = advice.comparison[advice.system].by_label().rename("mAP").reset_index()
    page.text(f"Results of {advice.system} by label, best first:")
    page.table(by_label.head(LABELS) if len(by_label) > 2 * LABELS else by_label)
    if len(by_label) > 2 * LABELS:
        page.text(f"and the last {LABELS} of {len(by_label)} labels:").table(by_label.tail(LABELS))


def _near_duplicates(page: Page, report: Report) -> None:
    collection = report.features.collection
    layers = {key: sampled(layer, JOINED) for key, layer in report.features.items() if key[0] in COPY_LAYERS}
    table, digests = edited_copies(layers), collection.table.set_index("id")["digest"]
    page.heading("Near-duplicates")
    _say_sample(page, min(JOINED, len(collection)), len(collection))
    near = f"a cosine similarity of {table.attrs['threshold']} or more"
    if table.empty:
        page.text(f"No two pictures have {near}, as they are, mirrored or turned.")
        return
    groups, copies = table["group"].nunique(), table["id"].map(digests).duplicated(keep=False).sum()
    noun = "group" if groups == 1 else "groups"
    views = (table["view"] != "").sum()
    turned = f"{views:,} of these pictures {'is' if views == 1 else 'are'}" if views else "None of these pictures is"
    exact = f"{copies:,} of these pictures are" if copies else "None of these pictures is"
    page.text(
        f"{groups:,} {noun} with {len(table):,} pictures in total. Each picture, as it is, mirrored or turned, has "
        f"{near} to the first in its group; the least is {table['cosine'].min():.3f}. {turned} mirrored or turned. "
        f"{exact} byte for byte the same as another in the group."
    )
    for _, group in list(table.groupby("group", sort=False))[:GROUPS]:
        shown = group.head(EACH).itertuples()
        captions = {row.id: "\n".join([short_name(row.id), f"cosine {row.cosine:.3f}", row.view]) for row in shown}
        page.contact_sheet(collection, list(captions), captions=captions)
        if len(group) > EACH:
            page.text(f"and {len(group) - EACH:,} more in this group")
    if groups > GROUPS:
        page.text(f"and {groups - GROUPS:,} more groups")


def _contents(page: Page, report: Report) -> None:
    collection, table = report.features.collection, report.features.collection.table
    about = {
        "pictures": f"{len(table):,}",
        "labels": f"{table['label'].nunique():,}; {table['label'].isna().sum():,} pictures without a label",
        "formats": ", ".join(f"{name} {count:,}" for name, count in table["format"].value_counts().items()),
        "width": f"{table['width'].min():,} to {table['width'].max():,} pixels",
        "height": f"{table['height'].min():,} to {table['height'].max():,} pixels",
        "animations": f"{(table['frames'] > 1).sum():,}",
        "rejected": f"{len(collection.rejected):,}",
        "skipped": counts_text(collection.passed_over) or "nothing",
    }
    page.heading("Contents of the folder")
    page.table(pd.DataFrame(list(about.items()), columns=["property", "value"]))
    if len(collection.rejected):
        page.text("These files look like pictures but cannot be used:")
        page.table(collection.rejected.head(LISTED))
        if len(collection.rejected) > LISTED:
            page.text(f"and {len(collection.rejected) - LISTED:,} more")
    ids = collection.sample(SHEET)
    page.text("All pictures:" if len(ids) == len(table) else f"{len(ids)} of the {len(table):,} pictures, at random:")
    page.contact_sheet(collection, ids)


PARTS = {
    "summary": _summary,
    "answers": _answers,
    "quality": _quality,
    "near-duplicates": _near_duplicates,
    "contents": _contents,
}
