"""The four kinds of action and what each does, compiled.

    merge      the two regions of a candidate become one
    query      a human is asked about a candidate: yes merges it (must-link); no forbids it for
               good, also to whatever the two are merged into (cannot-link)
    reimage    the smaller region of a candidate is imaged again: its sums and those of all its
               contacts become those of the second look
    leave      a candidate is put aside unmerged, which makes room in a window on the queue
    stop       ends the episode; nothing to do here

Contradictions: an answer stands against whatever comes later. A pair forbidden by an answer is
never offered again, so it can neither be merged nor asked about; no beats yes where two edges, one
forbidden, become one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from envs import statistics as st
from envs.human import HumanState, answer_of, has_answer, join_human
from envs.merge_state import FORBIDDEN, LEFT, N_VOXELS, NODE, SMALLEST, MergeState, ordered_ends
from envs.objective import ObjectiveState, gain_of, join_objective
from envs.prices import Prices
from envs.scorers import join_in_scorer
from envs.transitions import merge, see_again, set_status
from envs.truth_rows import TruthRows, join_rows

MERGE = 0
QUERY = 1
REIMAGE = 2
LEAVE = 3
STOP = 4
ACTION_NAMES = ("merge", "query", "reimage", "leave", "stop")


class Process(NamedTuple):
    """Everything an action changes.

    Attributes:
        merging: clusters, contacts and queue.
        objective: what rewards are made of.
        rows: true labels of the clusters, for who answers questions; empty if nobody does.
        human: who answers.
        prices: what actions cost.
    """

    merging: MergeState
    objective: ObjectiveState
    rows: TruthRows
    human: HumanState
    prices: Prices


class Outcome(NamedTuple):
    """What an action did.

    Attributes:
        gain: fall of the error; cost: price paid. The reward is their difference.
        kept, gone: regions that merged, −1 if none did.
    """

    gain: float
    cost: float
    kept: int
    gone: int


@njit(cache=True)
def can_query(process, edge):
    """Tell whether a human has an answer on a candidate."""
    links = process.merging.links
    return has_answer(process.human, links[2 * edge, NODE], links[2 * edge + 1, NODE])


@njit(cache=True)
def n_to_image(merging, edge):
    """Return how many voxels of the smaller region of an edge were not yet imaged again."""
    if len(merging.clear_regions) == 0:
        return 0
    small, _ = ordered_ends(merging.links, merging.places, merging.rows, merging.regions, edge)
    return merging.regions[small, st.SIZE] - merging.n_clear[small]


@njit(cache=True)
def act(process, scorer, kind, edge):
    """Do what an action says to an open edge, and return its `Outcome`.

    Args:
        process: changed.
        scorer: told about merges.
        kind: MERGE, QUERY, REIMAGE or LEAVE.
        edge: open; for QUERY one with an answer, for REIMAGE one with voxels left to image.
    """
    merging, prices = process.merging, process.prices
    small, large = ordered_ends(merging.links, merging.places, merging.rows, merging.regions, edge)
    if kind == LEAVE:
        set_status(merging.links, edge, LEFT)
        return Outcome(0.0, 0.0, -1, -1)
    if kind == REIMAGE:
        share = n_to_image(merging, edge) / merging.counters[N_VOXELS]
        see_again(merging, small)
        return Outcome(0.0, prices.reimage * share, -1, -1)
    cost = prices.merge
    if kind == QUERY:
        cost = prices.query
        is_yes = answer_of(
            process.human,
            process.rows,
            small,
            large,
            merging.places[small, SMALLEST],
            merging.places[large, SMALLEST],
            merging.regions[small, st.SIZE],
        )
        if not is_yes:
            set_status(merging.links, edge, FORBIDDEN)
            return Outcome(0.0, cost, -1, -1)
    gain = gain_of(process.objective, small, large)
    kept, gone = merge(merging, edge)
    join_objective(process.objective, kept, gone)
    join_human(process.human, kept, gone)
    if len(process.rows.head):
        join_rows(process.rows, kept, gone)
    join_in_scorer(scorer, kept, gone)
    return Outcome(gain, cost, np.int64(kept), np.int64(gone))  # pyright: ignore
