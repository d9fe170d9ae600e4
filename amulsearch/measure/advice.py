"""The sentences of `recommend`: what to use, and how sure that is."""

from __future__ import annotations

import numpy as np
import pandas as pd

FAILS = 0.1
"""A system whose MRR is so far below the highest is not recommended."""


def with_labels(
    table: pd.DataFrame, means: pd.DataFrame, scores: pd.DataFrame, groups: np.ndarray, seed: int
) -> tuple[str, str]:
    """Say what to use, and how sure that is, if labels say which pictures are relevant to each other.

    Parameters
    ----------
    table : DataFrame
        The systems, best first, as `recommend` returns them.
    means : DataFrame
        The mAP of each bootstrap sample (rows) by system.
    scores : DataFrame
        The average precision of each query (rows) by system.
    groups : ndarray of shape (Q,), int
        The label of each query.
    seed : int

    Returns
    -------
    system, advice : str
    """
    best = table["system"][0]
    chance = np.random.default_rng(seed).permutation(groups.max() + 1)
    half = np.isin(groups, chance[: len(chance) // 2])
    chosen = scores[half].mean().idxmax()
    told = [
        f"Use {best}: its mAP of {table['mAP'][0]:.3f} is the highest of {len(table)} systems, also in "
        f"{table['first'][0]:.0%} of {len(means):,} random draws of labels.",
        f"Chosen on half of the labels, {chosen} has {scores.loc[~half, chosen].mean():.3f} on the other half, "
        f"where the mean of all systems is {scores[~half].mean().mean():.3f}.",
    ]
    behind = means.sub(means[best], axis=0)
    near = [name for name in means if name != best and np.percentile(behind[name], 97.5) >= 0]
    costs = table.set_index("system")
    cheaper = [name for name in near if costs["ms"][name] < 0.9 * costs["ms"][best]]
    if cheaper:
        other = max(cheaper, key=lambda name: (costs["mAP"][name], -costs["ms"][name]))
        told.append(
            f"This is not sure: {other} ({costs['mAP'][other]:.3f}) cannot be told from it, and takes "
            f"{costs['ms'][other]:.0f} instead of {costs['ms'][best]:.0f} ms for a new picture."
        )
    elif near:
        told.append(f"{len(near)} other systems cannot be told from it, but none of them is faster.")
    else:
        told.append("All other systems are worse by more than chance explains.")
    return best, " ".join(told)


def without_labels(table: pd.DataFrame) -> tuple[str, str]:
    """Say what to use if nothing says which pictures are alike in meaning.

    Parameters
    ----------
    table : DataFrame
        The systems, best first, as `recommend` returns them.

    Returns
    -------
    system, advice : str
    """
    found, best = table.set_index("system")["MRR"], table["system"][0]
    system = "preset best" if found.get("preset best", 0) >= found[best] - FAILS else best
    if system == "preset best":
        told = (
            "Use preset best, the best in mAP on each labelled collection that it was measured on (drawings, emoji, "
            f"stamps). Here, edited copies find their original with an MRR of {found['preset best']:.3f}; the highest "
            f"of {len(table)} systems is {found[best]:.3f}, of {best}."
        )
    else:
        told = f"Use {best}: edited copies find their original with the highest MRR of {len(table)} systems, "
        told += f"{found[best]:.3f}."
    return system, (
        f"{told} This is not sure: without labels, nothing says which results are alike in meaning. Sort some pictures "
        "into subfolders, two or more into each of at least five, and compare again."
    )
