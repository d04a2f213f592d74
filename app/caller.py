"""Who makes a call: the API key that it carries, checked before anything of the call is read.

With LIPSYNC_AUTH=off all callers count as the same one, who may do everything. With `keys` a call needs a token, as
`Authorization: Bearer <token>` or `X-API-Key: <token>`. The id of the key owns the jobs that it creates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers

from app.core.access.api_key import USUAL_SCOPES, ApiKey, Scope
from app.core.access.key_store import KeyStore
from app.core.errors import ErrorCode, RequestError

_BEARER: Final = "bearer "


@dataclass(frozen=True)
class Caller:
    """Owner of the jobs of a call, and its key; no key with LIPSYNC_AUTH=off."""

    owner: str = ""
    key: ApiKey | None = None

    @property
    def max_active(self) -> int | None:
        """Return the most jobs of this caller that have not ended; None for the limit of the service."""
        return None if self.key is None else self.key.max_active

    def may(self, scope: Scope) -> bool:
        """Return whether the caller has a permission."""
        return self.key is None or self.key.allows(scope)

    def check_may(self, scope: Scope) -> None:
        """Raise RequestError(forbidden) if the caller lacks a permission."""
        if not self.may(scope):
            wanted = scope if scope is Scope.ADMIN else ",".join(sorted(USUAL_SCOPES))
            hint = f"Use a key that has this scope: `lipsync keys create --scopes {wanted}` makes one."
            raise RequestError(ErrorCode.FORBIDDEN, f"This key lacks the scope `{scope}`.", hint=hint)

    def owns(self, owner: str) -> bool:
        """Return whether the caller may see the jobs of an owner."""
        return self.owner == owner or (self.key is not None and Scope.ADMIN in self.key.scopes)


def find_caller(keys: KeyStore | None, headers: Headers) -> Caller:
    """Return who makes a call with these headers; `keys` is None if no key is needed.

    Raises RequestError(unauthorized), CapacityError(rate_limited).
    """
    if keys is None:
        return Caller()
    text = _token_text(headers)
    if text is None:
        raise RequestError(ErrorCode.UNAUTHORIZED, "This service needs an API key.")
    key = keys.find(text)
    if key is None:
        raise refused_key()
    keys.take_call(key)
    return Caller(key.id, key)


def refused_key() -> RequestError:
    """Return the error for a call whose key is not or no longer valid."""
    return RequestError(ErrorCode.UNAUTHORIZED, "The API key is wrong, revoked or expired.")


def may_call(keys: KeyStore | None, headers: Headers) -> bool:
    """Return whether a call with these headers would still be let in; it is not counted. May raise `redis.RedisError`.

    A call that lasts asks this again: its key can have been revoked, have expired, or have another secret.
    """
    if keys is None:
        return True
    text = _token_text(headers)
    return text is not None and keys.find(text) is not None


def _token_text(headers: Headers) -> str | None:
    authorization = headers.get("authorization", "")
    if authorization[: len(_BEARER)].lower() == _BEARER:
        return authorization[len(_BEARER) :].strip()
    return headers.get("x-api-key")
