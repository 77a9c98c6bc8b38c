"""By which names a server may be asked, so that no web site can make a browser ask it.

A site may point its own name at this computer (DNS rebinding), and any page may send requests to
any port: the headers `Host` and `Origin`, which no page can choose, tell it.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence

# what a browser writes of the address: a name or a number, and the port where it is no usual one
_LABEL = "[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
HOST = re.compile(rf"(?P<name>\[[0-9a-f:.]+\]|{_LABEL}(\.{_LABEL})*)(:[0-9]{{1,5}})?", re.ASCII)
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<address>[^/?#@]+)", re.ASCII)
_THIS_COMPUTER = ("localhost", "127.0.0.1", "[::1]")


class AllowedHosts:
    """The names and addresses by which a server of ours may be asked.

    `host` is what it listens on and `others` are what `--allow-host` adds, with a port where the
    browser shows one. A server for this computer has only the names of this computer. One for
    others also has the machine's own name, and every numeric address: no web site can make a
    browser write those in place of its own name (which is how DNS rebinding works), and what
    address a router or container translates to ours cannot be known here.
    """

    def __init__(self, host: str, others: Sequence[str], local: bool) -> None:
        self._others = frozenset(others)
        self._names = {*_THIS_COMPUTER, _bracketed(host.lower())}
        self._names |= {parts["name"] for other in others if (parts := HOST.fullmatch(other))}
        if not local:
            name = socket.gethostname().lower()
            self._names |= {name, name.partition(".")[0], f"{name.partition('.')[0]}.local"}
        self._local = local

    def has(self, host: str) -> bool:
        """Return whether `host`, the header of a request, is one of them; its port does not matter.

        A tunnel or a container may listen on another port, and no page can choose this header.
        """
        address = HOST.fullmatch(host.lower())
        if address is None:
            return False
        name = address["name"]
        return name in self._names or (not self._local and _is_numeric(name))

    def is_own_origin(self, origin: str, scheme: str, host: str) -> bool:
        """Return whether `origin` is what was asked for at `host`: the same name and port."""
        parts = _ORIGIN.fullmatch(origin.lower())
        if parts is None:  # `null`, of a page without an address, too
            return False
        if parts["address"] in self._others:  # a proxy may change scheme and `Host`
            return True
        return parts["address"] == host.lower() and parts["scheme"] == scheme


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _is_numeric(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
