"""Tokens that are refused, one for each reason, and a measure of whether two samples of times differ."""

from __future__ import annotations

import time
from collections.abc import Sequence

from scipy.stats import mannwhitneyu

from app.core.access.key_store import KeyStore, new_key


def wrong_tokens(store: KeyStore) -> dict[str, str]:
    """Return a refused token for each reason; the store gets the keys that this needs."""
    known, rotated, expired, revoked = (
        new_key(name, expires_at=int(time.time()) - 5 if name == "expired" else None)
        for name in ("known", "rotated", "expired", "revoked")
    )
    tokens = {key.name: str(store.create(key)) for key in (known, rotated, expired, revoked)}
    second = str(store.rotate(rotated.id, 3600))
    store.revoke(revoked.id)
    return {
        "unknown id": f"lsk_{'0' * 11}1_{'a' * 43}",
        "wrong secret": _changed(tokens["known"]),
        "wrong secret during a rotation": _changed(second),
        "expired": tokens["expired"],
        "wrong secret of an expired key": _changed(tokens["expired"]),
        "revoked": tokens["revoked"],
        "malformed": "nonsense",
    }


def _changed(token: str) -> str:
    return token[:-1] + ("a" if token[-1] != "a" else "b")


def share_of_longer(times: Sequence[float], others: Sequence[float]) -> float:
    """Return how often a time is longer than another one, by Mann and Whitney: 0.5 if the samples are alike."""
    return float(mannwhitneyu(times, others).statistic) / (len(times) * len(others))
