"""The compute type is measured, or as set."""

import pytest
import torch

from unlogit import device

CPU = torch.device("cpu")


@pytest.mark.parametrize(("bfloat16_seconds", "dtype"), [(0.5, torch.bfloat16), (0.95, torch.float32)])
def test_auto_takes_what_is_faster(
    monkeypatch: pytest.MonkeyPatch, bfloat16_seconds: float, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(device, "_seconds", lambda kind: bfloat16_seconds if kind == torch.bfloat16 else 1.0)
    found, reason = device.choose_dtype("auto", CPU)
    assert found == dtype
    assert f"{bfloat16_seconds:.2g}" in reason


def test_what_is_set_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_seconds", lambda kind: 1 / 0)
    assert device.choose_dtype("bfloat16", CPU) == (torch.bfloat16, "as set")
