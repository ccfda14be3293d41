"""Which episodes an asynchronous training plays, and in which round each is learned from.

Round r = 1, 2, … learns from M episodes, and its latest network is version r − 1. An episode that
was played with version v and is learned from in round r is r − 1 − v versions old; that must not
exceed the bound S (bounded staleness as in Ho et al. 2013, of episodes in place of gradients), so
its last round is v + 1 + S. Two rules keep it, and no episode is thrown away: what takes long to
play is learned from as often as what does not.

* Drawn in advance: while v is the latest version, at most M (v + 1 + S) episodes have been drawn.
* Taken in time: of the episodes whose last round is m or before, a round leaves no more than the
  rounds up to m can take, waiting for those under way if it has to. It is filled with the first
  of the others to have arrived.

With S = 0 that is the synchronous round.
"""

from __future__ import annotations

from typing import NamedTuple


class Taken(NamedTuple):
    """An episode that a round learns from.

    Attributes:
        number: in the order in which episodes were drawn.
        staleness: versions between the network that played it and the latest.
    """

    number: int
    staleness: int


class EpisodeLedger:
    """Count the episodes drawn, arrived and taken."""

    def __init__(
        self, n_per_round: int, staleness: int, n_rounds: int, *, n_taken: int = 0
    ) -> None:
        """Begin, or go on after some rounds.

        Args:
            n_per_round: episodes that a round learns from, M.
            staleness: the bound S.
            n_rounds: rounds in all, the flat start not counted.
            n_taken: rounds that have taken their episodes.
        """
        self._n_per_round, self._staleness, self._n_rounds = n_per_round, staleness, n_rounds
        self._n_drawn = n_taken * n_per_round
        self._versions: dict[int, int] = {}  # of the episodes that no round has taken
        self._arrived: list[int] = []

    def may_draw(self, version: int) -> bool:
        """Tell whether an episode may be drawn while a version is the latest."""
        n_rounds = min(version + 1 + self._staleness, self._n_rounds)
        return self._n_drawn < n_rounds * self._n_per_round

    def draw(self, version: int) -> int:
        """Draw an episode to be played with a version; return its number."""
        number = self._n_drawn
        self._versions[number] = version
        self._n_drawn += 1
        return number

    def arrive(self, number: int) -> None:
        """Note that an episode was played."""
        self._arrived.append(number)

    def take(self, round_index: int) -> list[Taken] | None:
        """Take the episodes of a round, in the order in which they arrived.

        Args:
            round_index: from 1 on, one after the other.

        Returns:
            the episodes, or None while some that it needs are under way.
        """
        last_rounds = {n: v + 1 + self._staleness for n, v in self._versions.items()}
        chosen: set[int] = set()
        for last in range(round_index, round_index + self._staleness + 1):
            due = {number for number, own in last_rounds.items() if own <= last}
            n_left = (last - round_index) * self._n_per_round
            n_missing = len(due) - n_left - len(chosen)
            there = [n for n in self._arrived if n in due and n not in chosen]
            if len(there) < n_missing:
                return None
            chosen.update(there[: max(n_missing, 0)])
        others = [number for number in self._arrived if number not in chosen]
        chosen.update(others[: self._n_per_round - len(chosen)])
        if len(chosen) < self._n_per_round:
            return None
        taken = [
            Taken(number, round_index - 1 - self._versions.pop(number))
            for number in self._arrived
            if number in chosen
        ]
        self._arrived = [number for number in self._arrived if number not in chosen]
        return taken
