from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agglo.training.episode_ledger import EpisodeLedger, Taken


def test_a_bound_of_zero_is_the_synchronous_round() -> None:
    ledger = EpisodeLedger(3, 0, 2)
    assert [ledger.draw(0) for _ in range(3) if ledger.may_draw(0)] == [0, 1, 2]
    assert not ledger.may_draw(0)
    ledger.arrive(2)
    ledger.arrive(0)
    assert ledger.take(1) is None
    ledger.arrive(1)
    assert ledger.take(1) == [Taken(2, 0), Taken(0, 0), Taken(1, 0)]
    assert ledger.may_draw(1)


def test_a_straggler_is_waited_for_when_it_may_not_grow_older() -> None:
    """Two a round, one version old at most: episode 0 takes long."""
    ledger = EpisodeLedger(2, 1, 9)
    assert [ledger.draw(0) for _ in range(9) if ledger.may_draw(0)] == [0, 1, 2, 3]
    for number in (3, 1, 2):
        ledger.arrive(number)
    assert ledger.take(1) == [Taken(3, 0), Taken(1, 0)], "the first to arrive"
    assert [ledger.draw(1) for _ in range(9) if ledger.may_draw(1)] == [4, 5]
    ledger.arrive(4)
    ledger.arrive(5)
    assert ledger.take(2) is None, "0 and 2 were played with version 0"
    ledger.arrive(0)
    assert ledger.take(2) == [Taken(2, 1), Taken(0, 1)]
    assert ledger.take(3) == [Taken(4, 1), Taken(5, 1)]


def test_what_is_resumed_goes_on_with_the_next_episodes() -> None:
    ledger = EpisodeLedger(2, 0, 3, n_taken=2)
    assert [ledger.draw(2) for _ in range(9) if ledger.may_draw(2)] == [4, 5]


@settings(max_examples=300, deadline=None)
@given(
    n_per_round=st.integers(1, 5),
    staleness=st.integers(0, 4),
    n_rounds=st.integers(1, 6),
    n_actors=st.integers(1, 7),
    data=st.data(),
)
def test_in_any_order_of_arrival_no_episode_is_too_old_or_lost(
    n_per_round: int, staleness: int, n_rounds: int, n_actors: int, data: st.DataObject
) -> None:
    """Actors end in any order; rounds wait for what they need, and there is always a way on."""
    ledger = EpisodeLedger(n_per_round, staleness, n_rounds)
    playing: dict[int, int] = {}
    versions: dict[int, int] = {}
    arrivals: list[int] = []
    used: list[int] = []
    for round_index in range(1, n_rounds + 1):
        latest = round_index - 1
        while True:
            while len(playing) < n_actors and ledger.may_draw(latest):
                number = ledger.draw(latest)
                playing[number] = versions[number] = latest
            wants_more = data.draw(st.booleans()) and len(playing) > 0
            taken = None if wants_more else ledger.take(round_index)
            if taken is not None:
                break
            assert playing, "nothing to wait for"
            ended = data.draw(st.sampled_from(sorted(playing)))
            del playing[ended]
            arrivals.append(ended)
            ledger.arrive(ended)
        assert len(taken) == n_per_round
        for number, age in taken:
            assert age == latest - versions[number]
            assert 0 <= age <= staleness
        places = [arrivals.index(number) for number, _ in taken]
        assert places == sorted(places), "in the order of arrival"
        used += [number for number, _ in taken]
    assert sorted(used) == list(range(n_per_round * n_rounds)), "each once, none thrown away"
    assert not playing
    assert not ledger.may_draw(n_rounds)
