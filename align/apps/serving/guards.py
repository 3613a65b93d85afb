"""Which requests are answered, and what a browser may do with the answers."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Text of users is never put into the page as markup; should it be, the browser runs none of it."""

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    # Another site can neither read the answers nor show the thumbnails.
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}

_HOST = re.compile(r"(\[[^\]]+\]|[^:\[\]]+)(?::\d{1,5})?")


def guarded(app: ASGI, *, host: str) -> ASGI:
    """The app behind a check of the Host header, with ``HEADERS`` on every answer.

    A page of another site can make its own name point to this machine, and then read what a server
    here answers (DNS rebinding). It cannot change the name in the Host header, so names other than
    ``host``, to which the server was bound, and localhost are refused. Addresses pass: nobody can
    point those elsewhere.
    """

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1000})

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) == 1 and is_expected(hosts[0], host=host):
            return await app(scope, receive, with_headers)
        error = (
            f"the Host header must be localhost, an address or {host!r}; got {hosts}. "
            "Open the page under the address that the server printed."
        )
        start = {"status": 421, "headers": [(b"content-type", b"application/json")]}
        await with_headers({"type": "http.response.start", **start})
        await send({"type": "http.response.body", "body": json.dumps({"error": error}).encode()})

    return checked


def is_expected(value: str, *, host: str) -> bool:
    """Whether a Host header, with or without a port, names this server."""
    match = _HOST.fullmatch(value.strip())
    if match is None:
        return False
    name = match[1].strip("[]").lower().rstrip(".")
    return name in ("localhost", host.lower()) or is_address(name)


def is_address(name: str) -> bool:
    """Whether a name is an IP address as it is."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a server bound to ``host`` is reached from this machine alone."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)
