from __future__ import annotations

from dataclasses import asdict

import pytest

from agglo.training.train_config import TrainConfig
from analysis.input_error import InputError
from benchmarks.learners.variants import varied


def test_a_variant_changes_what_it_names() -> None:
    config = TrainConfig(seed=3)
    assert varied(config, "default") == config
    changed = varied(config, "validation-shards=4+choose-round+balance-classes")
    before, after = asdict(config), asdict(changed)
    assert after.pop("learner") == {**before.pop("learner"), "balance_classes": True}
    assert after == {**before, "validation_shards": 4, "choose_round": True}


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("best", "--variants must be default, or some of choose-round, balance-classes"),
        ("validation-shards", r"validation-shards=N, patience=N joined by \+, not val"),
        ("choose-round=2", r"joined by \+, not choose-round=2"),
        ("choose-round", "--choose-round"),
    ],
)
def test_what_cannot_be_varied_or_trained_is_refused(variant: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        varied(TrainConfig(), variant)
