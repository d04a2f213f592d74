"""Commands that create, list, rotate and revoke API keys; they speak to Redis, not to the API."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from app.core.errors import ErrorCode, InputError, RequestError
from lipsync.commands.options import load_settings, log_line

if TYPE_CHECKING:
    from app.core.access.api_key import ApiKey, Token

DAY_S: Final = 24 * 3600
OVERLAP_S: Final = DAY_S


@click.group()
def keys() -> None:
    """Manage API keys; the service asks for them with LIPSYNC_AUTH=keys."""


@keys.command()
@click.option("--name", required=True, help="Whose key it is, for the list.")
@click.option("--scopes", default="submit,read", show_default=True, help="Of submit, read and admin.")
@click.option("--expires-days", type=click.IntRange(1, 36500), help="Days until the key ends; without it, never.")
@click.option("--rate-per-min", type=int, help="Calls that the key may make in a minute; without it, any number.")
@click.option("--max-active", type=int, help="Jobs of the key that have not ended; else LIPSYNC_MAX_ACTIVE_PER_KEY.")
@click.option("--webhook-url", help="Address that is told the end of each job that names no other.")
def create(
    name: str,
    scopes: str,
    expires_days: int | None,
    rate_per_min: int | None,
    max_active: int | None,
    webhook_url: str | None,
) -> None:
    """Create a key and print its token, which is shown only now."""
    from pydantic import ValidationError

    from app.core.access.key_store import KeyStore, new_key
    from app.core.options import first_fault
    from app.outgoing_clients import check_webhook_url, webhook_client
    from lipsync.record_redis import record_redis, store_name

    expires_at = None if expires_days is None else int(time.time()) + expires_days * DAY_S
    settings = load_settings()
    if webhook_url is not None:
        check_webhook_url(webhook_url, webhook_client(settings).policy, "--webhook-url")
    facts = {
        "scopes": [scope.strip() for scope in scopes.split(",")],
        "expires_at": expires_at,
        "rate_per_min": rate_per_min,
        "max_active": max_active,
        "webhook_url": webhook_url,
    }
    try:
        key = new_key(name, **facts)
    except ValidationError as error:
        place, reason = first_fault(error)
        raise InputError(ErrorCode.OPTION_INVALID, f"{place[0]}: {reason}.") from None
    is_new = settings.redis_url is None and not settings.data_dir.exists()
    with record_redis(settings, may_make_folder=True) as client:
        token = KeyStore(client).create(key)
    note = ", which is new; only a service that uses it knows the key" if is_new else ""
    log_line(f"The key is in {store_name(settings)}{note}.")
    _show(token)


@keys.command("list")
def list_keys() -> None:
    """List all keys, without their secrets."""
    from app.core.access.key_store import KeyStore
    from lipsync.record_redis import record_redis, store_name

    settings = load_settings()
    with record_redis(settings) as client:
        found = KeyStore(client).all()
    for key in found:
        click.echo(_line(key))
    if not found:
        log_line(f"There is no key in {store_name(settings)}.")


@keys.command()
@click.argument("key_id", metavar="ID")
@click.option(
    "--overlap-s",
    type=click.IntRange(0, 30 * DAY_S),
    default=OVERLAP_S,
    show_default=True,
    help="Seconds for which the secret before it still works.",
)
def rotate(key_id: str, overlap_s: int) -> None:
    """Give a key a new secret and print its token; jobs and limits stay."""
    from app.core.access.key_store import KeyStore
    from lipsync.record_redis import record_redis

    with record_redis(load_settings()) as client:
        _show(KeyStore(client).rotate(key_id, overlap_s))


@keys.command()
@click.argument("key_id", metavar="ID")
@click.option("--new", is_flag=True, help="Make a new secret.")
@click.option("--overlap-s", type=click.IntRange(0, 30 * DAY_S), default=OVERLAP_S, show_default=True)
def webhook_secret(key_id: str, new: bool, overlap_s: int) -> None:
    """Print the secret that signs the webhooks of a key; with --new both sign for --overlap-s seconds."""
    from app.core.access.key_store import KeyStore
    from lipsync.record_redis import record_redis

    with record_redis(load_settings()) as client:
        store = KeyStore(client)
        secrets = [store.rotate_webhook_secret(key_id, overlap_s)] if new else store.webhook_secrets(key_id)
    if not secrets:
        raise RequestError(ErrorCode.NOT_FOUND, "There is no such key; `lipsync keys list` shows all.")
    click.echo(secrets[0])


@keys.command()
@click.argument("key_id", metavar="ID")
def revoke(key_id: str) -> None:
    """Delete a key at once; its jobs stay until they expire."""
    from app.core.access.key_store import KeyStore
    from lipsync.record_redis import record_redis

    with record_redis(load_settings()) as client:
        KeyStore(client).revoke(key_id)
    click.echo(f"revoked {key_id}")


def _show(token: Token) -> None:
    log_line("This token is shown only now. Send it as `Authorization: Bearer TOKEN`, or set LIPSYNC_API_KEY.")
    click.echo(str(token))


def _line(key: ApiKey) -> str:
    parts = [
        key.id,
        ",".join(sorted(key.scopes)),
        f"created {_day(key.created_at)}",
        "never expires" if key.expires_at is None else f"expires {_day(key.expires_at)}",
        *([f"{key.rate_per_min} calls/min"] if key.rate_per_min else []),
        *([f"{key.max_active} jobs at once"] if key.max_active else []),
        key.name,
    ]
    return "  ".join(parts)


def _day(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
