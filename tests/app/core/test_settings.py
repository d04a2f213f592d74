from __future__ import annotations

import os

import pytest
from pydantic import ValidationError

from app.core.redis_address import read_redis_address
from app.core.settings import Settings

GOOD_ADDRESSES = [
    "redis://h",
    "redis://h:1/15",
    "redis://[::1]:1/0",
    "rediss://u:p%40@h?ssl_cert_reqs=none",
    "unix:///tmp/r.sock?db=3",
    "unix://u:p@/tmp/r.sock",
]
WRONG_ADDRESSES = [
    "",
    " ",
    "h:6379",
    "http://h",
    "redis:/h",
    "redis://h:port",
    "redis://h:99999",
    "redis://h/first",
    "redis://h/-1",
    "redis://h?db=x",
    "redis://h?db=-1",
    "redis://h?sockets=1",
    "redis://[::1",
    "unix://",
    "unix://tmp/r.sock",
    "unix:///",
]


@pytest.mark.parametrize("url", GOOD_ADDRESSES)
def test_addresses_of_redis(url):
    assert Settings(redis_url=url).redis_url == url and read_redis_address(url)


@pytest.mark.parametrize("url", WRONG_ADDRESSES)
def test_wrong_addresses_of_redis(url):
    with pytest.raises(ValidationError) as refusal:
        Settings(redis_url=url)
    assert [error["loc"] for error in refusal.value.errors()] == [("redis_url",)]


def test_a_refusal_never_shows_the_password():
    with pytest.raises(ValueError, match="database") as refusal:
        read_redis_address("redis://:secret@h/first")
    assert "secret" not in str(refusal.value)


LIMITS = ["segment_s", "max_duration_s", "max_fps"]
COUNTS = ["workers", "batch_size", "max_upload_bytes", "max_pixels", "retention_s", "max_queued_jobs", "max_attempts"]
COUNTS += ["max_active_per_key", "run_timeout_s"]


@pytest.mark.parametrize("name", [*LIMITS, *COUNTS])
@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "-1", "0", "", "1e999", "1" + "0" * 30])
def test_a_limit_is_a_finite_positive_number(name, value):
    with pytest.raises(ValidationError):
        Settings(**{name: value})


LISTS = [
    # name, value, what it becomes; None if it is refused
    (
        "cors_origins",
        "https://Studio.example, http://localhost:3000/",
        ("https://studio.example", "http://localhost:3000"),
    ),
    ("cors_origins", "http://[::1]:80", ("http://[::1]:80",)),
    ("cors_origins", "*", None),
    ("cors_origins", "studio.example", None),
    ("cors_origins", "https://studio.example/page", None),
    ("cors_origins", "https://*.studio.example", None),
    ("allowed_hosts", "Dub.example:8000,other.example.", ("dub.example", "other.example")),
    ("allowed_hosts", "[fd00::7]:80", ("fd00::7",)),
    ("allowed_hosts", "https://dub.example", None),
    ("allowed_hosts", "*.dub.example", None),
    ("allowed_hosts", "*", None),
    ("url_hosts", "*.media.example,Media.example", ("*.media.example", "media.example")),
    ("url_hosts", "https://media.example/", None),
    ("webhook_hosts", "two words", None),
    ("webhook_hosts", "*", None),
]


@pytest.mark.parametrize(("name", "value", "wanted"), LISTS)
def test_a_list_has_only_what_can_match(name, value, wanted):
    if wanted is not None:
        assert getattr(Settings(**{name: value}), name) == wanted
        return
    with pytest.raises(ValidationError) as refusal:
        Settings(**{name: value})
    assert [error["loc"] for error in refusal.value.errors()] == [(name,)]


def test_an_empty_value_is_none(monkeypatch):
    for name in [name for name in os.environ if name.startswith("LIPSYNC_")]:
        monkeypatch.delenv(name)
    usual = Settings()
    for name in Settings.model_fields:
        monkeypatch.setenv(f"LIPSYNC_{name.upper()}", "")
    assert Settings() == usual


FORMS = [
    # name, value, what the refusal says; None if it is allowed
    ("storage", "/srv/lipsync", None),
    ("storage", "s3://bucket/a/b", None),
    ("storage", "data", "must be an absolute path like /srv/lipsync, or s3://bucket or s3://bucket/prefix"),
    ("storage", "s3://b", "must be an absolute path"),
    ("storage", "s3://AKIAX:SECRET@bucket", "must be an absolute path"),
    ("device", "cuda:3", None),
    ("device", "gpu", "must be auto, cpu, cuda, or a GPU by number like cuda:1"),
    ("device", "cpu\n", "must be auto"),
    ("public_url", "https://dub.example/lips", None),
    ("public_url", "dub.example", "must be an address like https://dub.example"),
    ("public_url", "https://user:SECRET@dub.example/", "without a slash at its end"),
    ("public_url", "https://dub.example/", "without a slash at its end"),
]


@pytest.mark.parametrize(("name", "value", "said"), FORMS)
def test_a_refusal_says_in_words_what_is_expected(name, value, said):
    if said is None:
        assert getattr(Settings(**{name: value}), name) == value
        return
    with pytest.raises(ValidationError) as refusal:
        Settings(**{name: value})
    (error,) = refusal.value.errors()
    assert error["loc"] == (name,) and said in error["msg"]
    assert "pattern" not in error["msg"] and "SECRET" not in error["msg"]
