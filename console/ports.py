"""Whether an address can be bound, and if not, what to set."""

from __future__ import annotations

import errno
import socket

from db.errors import Misconfigured


def require_free(host: str, port: int, setting: str = "WETREAD_HTTP_PORT") -> None:
    """Raises Misconfigured, naming the setting, where a service could not listen at this address."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise Misconfigured(_cannot_bind(host, port, setting, error)) from None


def _cannot_bind(host: str, port: int, setting: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        none = "any" if setting == "WETREAD_HTTP_PORT" else "none"
        return f"port {port} is taken; set {setting} to a free one (0: {none})"
    if error.errno == errno.EACCES:
        return f"port {port} is for root alone; set {setting} to one above 1023"
    return f"{host} is no address of this machine ({error.strerror}); set WETREAD_HTTP_HOST to one of its own"
