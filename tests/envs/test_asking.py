from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from envs.actions import LEAVE, MERGE, QUERY, REIMAGE, act
from envs.asking import Asking, decide, doubt_of, saved_by_answer, stakes_of
from envs.asking_rollout import NOBODY, start_process
from envs.human import Human, SimulatedHuman
from envs.merge_network import logit, pack
from envs.merge_state import chance, see
from envs.prices import Prices
from envs.scorers import MeanBoundary
from tests.envs.random_tissue import SEEDS, random_network
from tests.envs.test_actions import drawn_instance

modest = settings(max_examples=100, deadline=None)
RATES = hs.floats(0, 1)
SCORER = MeanBoundary(0.0)


def kind_of(
    asking: Asking,
    score: float,
    *,
    human: Human | None = None,
    prices: Prices | None = None,
    edge: int = 1,
    threshold: float = 0.0,
    is_clear: bool = True,
) -> int:
    """Decide an edge of the drawn instance."""
    instance = drawn_instance()
    process = start_process(
        instance if is_clear else instance._replace(clear=None),
        SCORER,
        human=SimulatedHuman() if human is None else human,
        prices=Prices() if prices is None else prices,
    )
    return decide(process, asking.rule(), np.float32(score), threshold, edge)


def expected_loss(p: float, error: float, *, asks: bool) -> float:
    """Return the least expected share of wrong decisions, over all ways to use an answer.

    A strategy is a decision for either answer; without asking, both decisions are the same.
    """
    losses = []
    for on_yes, on_no in product((True, False), repeat=2):
        if not asks and on_yes != on_no:
            continue
        loss = 0.0
        for is_same, probability in ((True, p), (False, 1 - p)):
            for says_yes in (True, False):
                likelihood = 1 - error if says_yes == is_same else error
                decision = on_yes if says_yes else on_no
                loss += probability * likelihood * (decision != is_same)
        losses.append(loss)
    return min(losses)


@modest
@given(RATES, RATES)
def test_value_of_an_answer_is_the_fall_of_the_expected_loss(p: float, error: float) -> None:
    value = expected_loss(p, error, asks=False) - expected_loss(p, error, asks=True)
    assert saved_by_answer(p, error) == pytest.approx(value, abs=1e-12)
    assert saved_by_answer(1 - p, error) == pytest.approx(value, abs=1e-12)


@modest
@given(hs.floats(-1e30, 1e30))
def test_doubt_is_that_of_the_logistic_and_never_quite_gone(score: float) -> None:
    doubt = doubt_of(score)
    assert 0 < doubt <= 0.5
    assert doubt_of(-score) == doubt
    if abs(score) < 30:
        p = 1 / (1 + np.exp(-score))
        assert doubt == pytest.approx(min(p, 1 - p), rel=1e-3)


def test_stakes_are_the_vi_between_right_and_wrong() -> None:
    """Of pure regions: a merge lets VI fall or rise by the stakes, as they are of one neuron."""
    for edge, sign in ((0, -1), (1, -1), (2, 1)):
        process = start_process(drawn_instance(), SCORER)
        stakes = stakes_of(process.merging, edge)
        assert stakes > 0
        assert act(process, SCORER, MERGE, edge).gain == pytest.approx(sign * stakes)


@modest
@given(hs.floats(-8, 8), hs.sampled_from([0.0, 0.1, 0.5]), hs.floats(1e-4, 2), hs.floats(-1, 1))
def test_rule_value_takes_the_largest_net_worth(
    score: float, error: float, price: float, threshold: float
) -> None:
    score = float(np.float32(score))
    prices = Prices(query=price, reimage=4 * price)
    asking = Asking(query="value", human_error=error, reimage="value", clear_error=0.05)
    p = 1 / (1 + np.exp(-(score - threshold)))
    stakes = stakes_of(start_process(drawn_instance(), SCORER).merging, 1)

    def worth(rate: float) -> float:
        return stakes * (expected_loss(p, rate, asks=False) - expected_loss(p, rate, asks=True))

    nets = {
        QUERY: worth(error) - price,
        REIMAGE: worth(0.05) - 4 * price * 4 / 16,  # the smaller region has 4 of 16 voxels
    }
    kind = max(nets, key=lambda k: nets[k])
    if nets[kind] <= 0:
        kind = MERGE if score >= threshold else LEAVE
    if min(abs(nets[QUERY] - nets[REIMAGE]), *(abs(net) for net in nets.values())) > 1e-9:
        assert kind_of(asking, score, prices=prices, edge=1, threshold=threshold) == kind


@pytest.mark.parametrize("score", [-3.0, -0.5, 0.0, 0.5, 3.0])
def test_rules_that_do_not_look_at_the_price(score: float) -> None:
    otherwise = MERGE if score >= 0 else LEAVE
    is_unsure = 4 / (1 + np.exp(score)) / (1 + np.exp(-score)) >= 0.7
    assert kind_of(Asking(), score) == otherwise
    assert kind_of(Asking(query="uncertainty", query_level=0.7), score) == (
        QUERY if is_unsure else otherwise
    )
    assert kind_of(Asking(reimage="uncertainty", reimage_level=0.7), score) == (
        REIMAGE if is_unsure else otherwise
    )
    for level, is_asked in ((0.0, False), (1.0, True)):
        assert kind_of(Asking(query="random", query_level=level), score) == (
            QUERY if is_asked else otherwise
        )
        assert kind_of(Asking(reimage="random", reimage_level=level), score) == (
            REIMAGE if is_asked else otherwise
        )


def test_what_cannot_be_done_is_not_chosen() -> None:
    asking = Asking(query="random", query_level=1.0, reimage="random", reimage_level=1.0)
    assert kind_of(asking, 1.0) == REIMAGE
    assert kind_of(asking, 1.0, is_clear=False) == QUERY
    assert kind_of(asking, 1.0, is_clear=False, human=NOBODY) == MERGE
    process = start_process(drawn_instance(), SCORER, human=SimulatedHuman())
    act(process, SCORER, REIMAGE, 1)
    assert decide(process, asking.rule(), np.float32(1), 0.0, 1) == QUERY


@modest
@given(SEEDS, hs.floats(0.01, 0.99))
def test_chance_is_of_the_pair_and_its_own_for_either_question(seed: int, level: float) -> None:
    merging = start_process(drawn_instance(), SCORER).merging
    for edge in range(3):
        drawn = [chance(merging, np.uint64(2 * seed + k), edge) for k in (0, 1)]
        query = Asking(query="random", query_level=level, seed=seed)
        assert (kind_of(query, -1, edge=edge) == QUERY) == (drawn[0] < level)
        reimage = Asking(reimage="random", reimage_level=level, seed=seed)
        assert (kind_of(reimage, -1, edge=edge) == REIMAGE) == (drawn[1] < level)


def test_a_network_can_say_what_a_second_look_is_worth() -> None:
    for seed in range(20):
        network = random_network(seed)
        process = start_process(drawn_instance(), SCORER)
        see(process.merging, 0)
        packed = pack(network)
        saved = logit(packed, process.merging.features, np.zeros(packed.n_scratch, np.float32))
        price = 0.02
        net = stakes_of(process.merging, 0) * float(saved) - price * 2 / 16
        asking = Asking(reimage="value", reveal=network)
        kind = kind_of(asking, 1.0, prices=Prices(reimage=price), edge=0)
        assert kind == (REIMAGE if net > 0 else MERGE)


def test_wrong_rules_are_told() -> None:
    with pytest.raises(ValueError, match=r"query must be one of never, random, unc.*, not 'often'"):
        Asking(query="often")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="reimage must be one of never, random"):
        Asking(reimage="often")  # pyright: ignore[reportArgumentType]
    for name in ("query_level", "reimage_level", "human_error", "clear_error"):
        for wrong in (-0.1, 1.1, float("nan")):
            with pytest.raises(ValueError, match=rf"{name} must lie in \[0, 1\], not {wrong}"):
                Asking(**{name: wrong})  # pyright: ignore[reportArgumentType]
