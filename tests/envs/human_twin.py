"""Ask a human about two sets of superpixels, put together in a state of their own."""

from __future__ import annotations

from envs import statistics as st
from envs.human import Human, answer_of, join_human
from envs.region_graph import RegionGraph
from envs.truth_rows import TruthTable, join_rows, start_rows


def answer_on(
    human: Human, graph: RegionGraph, truth: TruthTable, first: set[int], second: set[int]
) -> bool:
    """Join each set in ascending order and ask."""
    state, rows = human.start(graph), start_rows(truth, graph.n_regions)
    for members in (first, second):
        kept, *others = sorted(members)
        for gone in others:
            join_human(state, kept, gone)
            join_rows(rows, kept, gone)
    sizes = [int(graph.regions[sorted(members), st.SIZE].sum()) for members in (first, second)]
    u, v = min(first), min(second)
    return bool(answer_of(state, rows, u, v, u, v, min(sizes)))
