"""What docs/environment.md tells and examples/agent.py does is true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import envs
from envs.agglomeration_env import AgglomerationEnv, merging_env
from envs.features import N_FEATURES, N_SHAPE_FEATURES
from envs.objective import OBJECTIVES
from envs.observation import candidate_names
from envs.prices import Prices
from examples import agent

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert len(blocks) == PAGE.count("```") / 2 == 6
    names: dict[str, Any] = {}
    said = []
    for block in blocks:
        exec(compile(block, "docs/environment.md", "exec"), names)
        said.append({key: names.get(key) for key in ("is_over", "picture", "info", "rewards")})
    assert said[0]["is_over"]
    assert said[1]["picture"].shape == (384, 384, 3)
    assert said[2]["info"]["n_regions"] > 20
    assert said[3]["info"]["cost"] == 0
    assert said[4]["rewards"].shape == (2,)
    assert str(names["episode"].kinds) in capsys.readouterr().out
    names["vector"].close()


def test_what_the_page_says_in_numbers() -> None:
    whole, merging = AgglomerationEnv(), merging_env()
    assert [env.dynamics.n_actions for env in (whole, merging)] == [4 * 16 + 1, 16 + 1]
    assert (N_FEATURES, N_SHAPE_FEATURES) == (41, 57)
    assert len(candidate_names(57)) == 59
    assert Prices() == Prices(merge=0.0, query=0.01, reimage=1.0, stop=0.0)
    for name in (*OBJECTIVES, envs.ENVIRONMENT_ID, envs.MERGING_ID):
        assert f"`{name}`" in PAGE
    _, info = whole.reset(seed=0)
    assert all(f"`{name}`" in PAGE for name in info)


def test_files_and_modules_that_the_page_names_exist() -> None:
    for name in re.findall(r"\]\(\.\./([^)]+)\)", PAGE):
        assert (ROOT / name).exists()
    for module in set(re.findall(r"`envs\.(\w+)", PAGE)):
        assert (ROOT / "envs" / f"{module}.py").exists()


def test_the_example_is_short_and_learns(capsys: pytest.CaptureFixture[str]) -> None:
    before, after = agent.main(n_episodes=60)
    assert "before" in capsys.readouterr().out
    assert np.isfinite(before)
    assert after > before + 1
    assert len((ROOT / "examples" / "agent.py").read_text().splitlines()) <= 40
