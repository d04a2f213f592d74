"""API keys: who calls, what the caller may do, and how often.

A key has an id, which owns its jobs, and one or two secrets. A token is `lsk_<id>_<secret>`; it is shown once. Only the
SHA-256 digest of the secret is stored. A slow hash as for passwords is not needed: the secret has 256 random bits, so
nobody can guess it from the digest.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

TOKEN_PREFIX: Final = "lsk"  # noqa: S105  it marks a token, and is none
SECRET_BYTES: Final = 32
_TOKEN: Final = re.compile(r"lsk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


class Scope(StrEnum):
    """Permissions of a key."""

    SUBMIT = "submit"  # create, check, cancel, retry and delete its own jobs
    READ = "read"  # list, poll and download its own jobs
    ADMIN = "admin"  # do both with the jobs of every key, and read the metrics


USUAL_SCOPES: Final = frozenset({Scope.SUBMIT, Scope.READ})


class ApiKey(BaseModel):
    """Facts of a key, without its secrets.

    Times are seconds since the epoch. rate_per_min: calls in a minute, None for any number. max_active: jobs that have
    not ended, None for the limit of the service. webhook_url: address for jobs that name none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str = Field(min_length=1, max_length=100)
    scopes: frozenset[Scope] = USUAL_SCOPES
    created_at: int
    expires_at: int | None = None
    rate_per_min: int | None = Field(None, gt=0, le=1_000_000)
    max_active: int | None = Field(None, gt=0, le=1_000_000)
    webhook_url: str | None = Field(None, max_length=2000)

    def allows(self, scope: Scope) -> bool:
        """Return whether the key has a scope; `admin` includes all others."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


@dataclass(frozen=True)
class Token:
    """Two parts of a token: the id of its key, and the secret."""

    key_id: str
    secret: str

    @classmethod
    def new(cls, key_id: str) -> Token:
        """Return a token with a random secret."""
        return cls(key_id, secrets.token_urlsafe(SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> Token | None:
        """Return the token that a caller sent, or None if it has another form."""
        match = _TOKEN.fullmatch(text)
        return None if match is None else cls(match[1], match[2])

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the secret in hexadecimal digits."""
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def __str__(self) -> str:
        return f"{TOKEN_PREFIX}_{self.key_id}_{self.secret}"


def new_key_id() -> str:
    """Return a random id for a key."""
    return secrets.token_hex(6)


def matches(token: Token, digests: list[str]) -> bool:
    """Return whether the token's secret has one of the digests; takes as long for a wrong secret as for a right one."""
    own = token.digest
    equal = [hmac.compare_digest(own, digest) for digest in digests]
    return any(equal)
