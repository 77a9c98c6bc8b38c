"""Addresses that a command listens on."""

from __future__ import annotations

import ipaddress
import os
import socket

from vqa.errors import InputError


def check_address(host: str, port: int) -> None:
    """Raise InputError where nothing can listen on an address."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except UnicodeError:  # of a name with an empty or an endless part
        raise InputError(f"Cannot listen on {host!r}: it is no address.") from None
    except OSError as error:
        raise InputError(
            f"Cannot listen on {host}, port {port} ({error.strerror}): try another --port."
        ) from error


def is_loopback(host: str) -> bool:
    """Return whether only this computer reaches an address."""
    address = socket.getaddrinfo(host, None)[0][4][0]
    return ipaddress.ip_address(str(address).partition("%")[0]).is_loopback


def shown(host: str) -> str:
    """Write an address as it stands in a URL for this computer."""
    host = "localhost" if host in ("0.0.0.0", "::") else host
    return f"[{host}]" if ":" in host else host
