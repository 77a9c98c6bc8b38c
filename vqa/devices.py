"""The device that a user has named."""

from __future__ import annotations

import torch

from vqa.errors import InputError


def device_named(name: str) -> torch.device:
    """The device of that name; `auto` is the accelerator of this machine, or the CPU without one.

    Raises InputError where this machine has no such device.
    """
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if found is None else found
    try:
        torch.zeros(1, device=name).item()  # `meta` cannot tell
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"--device {name}: not a device of this machine; auto takes what there is, cpu works "
            "everywhere"
        ) from error
    return torch.device(name)
