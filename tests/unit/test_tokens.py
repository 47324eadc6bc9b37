"""Tokens that hold and tokens that do not."""

from __future__ import annotations

import base64
import time
from typing import Any

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import auth
from app.auth import ViewerRole, mint
from app.errors import BadInput, Misconfigured
from tests.conftest import SECRET
from tests.signing import claims, configured, doorman, refused, signed


async def test_a_minted_token_says_who_holds_it() -> None:
    token = mint(configured(), "bus", ViewerRole.SERVICE, schools=["a"], scopes=["metrics:read", "facts:write"])
    viewer = await doorman().identify(token)
    assert (viewer.id, viewer.role, viewer.schools) == ("bus", ViewerRole.SERVICE, frozenset("a"))
    assert viewer.scopes == {"metrics:read", "facts:write"}
    assert 0 < viewer.expires_at.timestamp() - time.time() < 3600


@pytest.mark.parametrize("lifetime", [0, 3600])
def test_no_token_is_minted_for_an_hour_or_more(lifetime: int) -> None:
    with pytest.raises(BadInput):
        mint(configured(), "a", ViewerRole.ADMIN, lifetime=lifetime)


def test_no_token_is_minted_for_a_key_set() -> None:
    with pytest.raises(Misconfigured):
        mint(configured(jwt_jwks="keys.json"), "a", ViewerRole.ADMIN)


@pytest.mark.parametrize(
    "more",
    [
        {"exp": int(time.time()) - 1},
        {"nbf": int(time.time()) + 600},
        {"iss": "other"},
        {"aud": "other"},
        {"sub": ...},
        {"role": ...},
        {"exp": ...},
        {"iss": ...},
        {"aud": ...},
        {"role": "root"},
        {"role": ["admin"]},
        {"role": None},
        {"sub": ""},
        {"sub": "x" * 256},
        {"sub": "a\0"},
        {"schools": "north"},
        {"schools": None},
        {"schools": [1]},
        {"schools": ["a\0"]},
        {"scope": ["metrics:read"]},
        {"scope": None},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"exp": "soon"},
        {"exp": [1]},
    ],
)
async def test_claims_that_do_not_hold_are_refused(more: dict[str, Any]) -> None:
    reason = await refused(doorman(), signed(**more))
    assert len(reason) < 60
    assert SECRET not in reason


async def test_an_issue_time_ahead_of_our_clock_is_no_reason_to_refuse() -> None:
    assert (await doorman().identify(signed(iat=int(time.time()) + 5))).id == "a"


async def test_an_expiry_beyond_all_calendars_is_an_expiry() -> None:
    assert (await doorman().identify(signed(exp=10**30))).expires_at.year == 2200


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_another_algorithm_of_the_same_secret_is_refused(algorithm: str) -> None:
    await refused(doorman(), signed(SECRET * 2, algorithm))


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "é.é.é", "\ud800", "x" * 9_000, "a." * 5_000])
async def test_what_is_no_token_is_refused(token: str) -> None:
    await refused(doorman(), token)


async def test_an_unsigned_token_is_refused() -> None:
    await refused(doorman(), jwt.encode(claims(), None, "none"))
    header, body, _ = signed().split(".")
    await refused(doorman(), f"{header}.{body}.")


async def test_a_header_nested_without_end_is_refused() -> None:
    header = base64.urlsafe_b64encode(b"[" * 5_000).decode()
    await refused(doorman(), f"{header}.e30.e30")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
async def test_a_changed_token_is_refused(data: st.DataObject) -> None:
    token = signed()
    at = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("ABCxyz019-_."))
    changed = token[:at] + letter + token[at + 1 :]
    padding_only = at == len(token) - 1  # the last letter of the signature has bits that mean nothing
    if changed != token and not padding_only:
        await refused(doorman(), changed)


async def test_a_remembered_token_still_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    door, token = doorman(), signed()
    await door.identify(token)
    monkeypatch.setattr(auth.time, "time", lambda now=time.time: now() + 61)
    assert await refused(door, token) == "The token has expired."


async def test_remembered_tokens_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MOST_TOKENS", 3)
    door = doorman()
    for number in range(9):
        await door.identify(signed(sub=str(number)))
    assert len(door._viewers) == 3
