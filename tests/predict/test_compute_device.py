from __future__ import annotations

import time

import pytest
import torch

from analysis.input_error import InputError
from predict.compute_device import choose_device, keep_freed_memory


def test_cpu_is_named_with_its_arithmetic():
    device = choose_device("cpu", bfloat16=False)
    assert device.torch_device == torch.device("cpu")
    assert device.description.startswith("CPU")
    assert device.description.endswith("float32")
    with device.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    low = choose_device("cpu", bfloat16=True)
    assert low.description.endswith("bfloat16")
    with low.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_auto_takes_the_gpu_where_there_is_one():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device("auto").torch_device.type == expected


def test_the_clock_runs_with_work_and_not_with_waiting():
    device = choose_device("cpu")
    keep_freed_memory()
    started = device.clock_s()
    time.sleep(0.2)
    waited = device.clock_s() - started
    a = torch.ones(700, 700)
    while device.clock_s() - started < waited + 0.05:
        torch.mm(a, a)
    assert waited < 0.1


def test_bad_device():
    with pytest.raises(InputError, match="device must be auto, cpu or cuda, got 'tpu'"):
        choose_device("tpu")  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="device is cuda, but torch sees no GPU here"):
        choose_device("cuda")
