from __future__ import annotations

import pytest
from pydantic import ValidationError

from app.core.access.api_key import ApiKey, Scope, Token, matches
from app.core.access.key_store import new_key


def test_a_token_is_read_back():
    token = Token.new("0123456789ab")
    assert Token.parse(str(token)) == token and str(token).startswith("lsk_0123456789ab_")
    assert len(token.secret) == 43 and token.secret not in token.digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lsk_",
        "lsk_0123456789ab_short",
        "lsk_0123456789AB_" + "a" * 43,
        "lsk_0123456789ab_" + "a" * 44,
        "LSK_0123456789ab_" + "a" * 43,
        "lsk_0123456789ab_" + "a" * 42 + "\n",
        "lsk_0123456789ab_" + "é" * 43,
        "lsk_*_" + "a" * 43,
    ],
)
def test_other_texts_are_no_token(text):
    assert Token.parse(text) is None


def test_any_of_the_digests_may_match():
    token, other = Token.new("0123456789ab"), Token.new("0123456789ab")
    assert matches(token, [token.digest]) and matches(token, [other.digest, token.digest])
    assert not matches(token, [other.digest]) and not matches(token, [])


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        ({"submit"}, {"submit"}),
        ({"read"}, {"read"}),
        ({"submit", "read"}, {"submit", "read"}),
        ({"admin"}, {"submit", "read", "admin"}),
        (set(), set()),
    ],
)
def test_scopes(scopes, allowed):
    key = new_key("team", scopes=scopes)
    assert {scope.value for scope in Scope if key.allows(scope)} == allowed


@pytest.mark.parametrize(
    "facts", [{"rate_per_min": 0}, {"max_active": -1}, {"scopes": ["write"]}, {"name": ""}, {"color": "red"}]
)
def test_wrong_facts_are_refused(facts):
    with pytest.raises(ValidationError):
        ApiKey.model_validate({"id": "0123456789ab", "name": "team", "created_at": 0} | facts)
