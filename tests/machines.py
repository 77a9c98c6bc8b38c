"""Two machines on this one: network namespaces that reach each other and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.run import environment

_LINK = "between"  # the interface's name on both


@dataclass(frozen=True)
class Machine:
    """A namespace with an address of its own; files and processes are those of this machine."""

    name: str
    address: str

    def start(
        self, command: Sequence[str | Path], extra: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Run a command there."""
        network = {"GLOO_SOCKET_IFNAME": _LINK}
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, *map(str, command)],
            env=environment({**network, **(extra or {})}),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def sent(self) -> int:
        """Count the bytes that went to the other machine."""
        path = f"/sys/class/net/{_LINK}/statistics/tx_bytes"
        command = ["ip", "netns", "exec", self.name, "cat", path]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    """Make two namespaces with a pair of virtual interfaces between them; skip where none can be.

    Of the network of this machine they have nothing, so no other one sees what they send.
    """
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("needs Linux, root and the command ip, for network namespaces")
    names = [f"vqa-{os.getpid()}-{number}" for number in range(2)]
    one, two = (Machine(name, f"10.77.0.{n}") for n, name in enumerate(names, 1))
    try:
        try:
            for machine in (one, two):
                _ip("netns", "add", machine.name)
            link = ["link", "add", _LINK, "type", "veth", "peer", "name", _LINK]
            _ip("-n", one.name, *link, "netns", two.name)
            for machine in (one, two):
                _ip("-n", machine.name, "address", "add", f"{machine.address}/30", "dev", _LINK)
                for link_name in (_LINK, "lo"):
                    _ip("-n", machine.name, "link", "set", link_name, "up")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
        yield one, two
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True)
