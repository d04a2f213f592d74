"""Middleware against pages of other sites: a browser that reaches this service must not lend them its reach.

Two attacks are refused. A page of another site sends a form or a script's request to a service on localhost
(cross-site request forgery). Or it gives its own host name the address 127.0.0.1 after it was loaded (DNS rebinding),
so that the browser takes the service for a part of that site.

The first is seen by `Sec-Fetch-Site`, which every current browser sends and no page can change, and by `Origin`. The
second is seen by `Host`: an address in digits cannot be rebound, and names must be listed. With API keys the name is
free, because a rebound page has no key. Programs send neither header and are not affected. Answers also forbid pages of
other sites to show them, for browsers that do not send `Sec-Fetch-Site`.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import ErrorCode, RequestError
from app.core.hosts import LOOPBACK_NAMES, host_name, is_address
from app.core.settings import Settings
from app.problems import on_error

# Anyone may open these in a browser, wherever the link stands: pages without data, and signed links.
OPEN_PATHS: Final = ("/", "/docs", "/healthz", "/readyz")
LINKS: Final = "/links/"
OWN_SITES: Final = ("same-origin", "none")  # `none`: the user typed the address


class BrowserGuard:
    """Middleware that refuses calls which a page of another site makes a browser send."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._names = None if settings.auth == "keys" and not settings.allowed_hosts else _names(settings)
        self._origins = frozenset(settings.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one call."""
        if scope["type"] == "http":
            refusal = self._refusal(scope["method"], scope["path"], Headers(scope=scope))
            if refusal is not None:
                error = RequestError(ErrorCode.FORBIDDEN, refusal)
                await on_error(Request(scope), error)(scope, receive, send)
                return
            if not scope["path"].startswith(LINKS):
                send = _for_own_pages(send)
        await self._app(scope, receive, send)

    def _refusal(self, method: str, path: str, headers: Headers) -> str | None:
        """Return why a call is refused, or None."""
        host = headers.get("host")  # only old programs, such as health checks, leave it out; no browser does
        if host is not None and not self._is_own_host(host):
            return "This host name is not one of the service; LIPSYNC_ALLOWED_HOSTS lists them."
        is_read = method in ("GET", "HEAD")
        if is_read and (path.startswith(LINKS) or path in OPEN_PATHS or headers.get("sec-fetch-dest") == "document"):
            return None  # a whole new page shows nothing to the page whose link was followed
        if self._is_foreign(headers):
            return "Pages of other sites may not call this service; LIPSYNC_CORS_ORIGINS lists exceptions."
        return None

    def _is_own_host(self, host: str) -> bool:
        return self._names is None or is_address(host_name(host)) or host_name(host) in self._names

    def _is_foreign(self, headers: Headers) -> bool:
        """Return whether a page of another site made the browser send this call."""
        origin = headers.get("origin")
        if origin is not None and origin.lower() in self._origins:
            return False
        site = headers.get("sec-fetch-site")
        if site is not None and site not in OWN_SITES:
            return True
        # A browser without Sec-Fetch-Site sends Origin with everything that changes something.
        return (
            origin is not None and site is None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
        )


def _for_own_pages(send: Send) -> Send:
    async def send_marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), (b"cross-origin-resource-policy", b"same-origin")]
        await send(message)

    return send_marked


def _names(settings: Settings) -> frozenset[str]:
    return frozenset({*LOOPBACK_NAMES, settings.host.lower(), *settings.allowed_hosts})
