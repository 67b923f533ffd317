"""The devices that a config may ask for, named without loading what runs on them."""

from typing import Literal

DeviceName = Literal["auto", "cpu", "cuda"]
"""What a config may ask for."""
