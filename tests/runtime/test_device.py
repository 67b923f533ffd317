"""Devices and their attention."""

import pytest
import torch

from runtime.device import attention_implementation, pick_device
from runtime.errors import UserError


def test_devices_and_their_attention(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="device: no GPU is visible: found cuda, wanted auto or cpu"):
        pick_device("cuda")
    assert attention_implementation(torch.device("cpu")) == "eager"
    assert attention_implementation(torch.device("cuda")) == "sdpa"
