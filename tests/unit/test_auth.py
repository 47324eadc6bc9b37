"""Tokens that hold and tokens that do not; who reaches what."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import time
from collections.abc import Callable
from http.client import BadStatusLine, HTTPException, IncompleteRead
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from structlog.testing import capture_logs

from app import auth, tokens
from app.auth import PERMISSIONS, Action, Doorman, Reach, Viewer, ViewerRole, mint
from app.errors import BadInput, Forbidden, Misconfigured, Unauthenticated
from app.main import create_app
from app.settings import Settings
from tests.serving import statements, store

SECRET = "a secret of the tests, at least thirty-two bytes long"
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
KEYS = {"RS256": RSA, "ES256": EC, "EdDSA": ED}
NOWHERE = create_async_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")


def configured(**more: Any) -> Settings:
    return Settings(**{"jwt_secret": SECRET, **more})


def doorman(**more: Any) -> Doorman:
    return Doorman(configured(**more), NOWHERE)


def claims(**more: Any) -> dict[str, Any]:
    usual = {"sub": "a", "role": "admin", "iss": "class-performance", "aud": "class-performance"}
    return {k: v for k, v in {**usual, "exp": int(time.time()) + 60, **more}.items() if v is not ...}


def signed(key: Any = SECRET, algorithm: str = "HS256", headers: Any = None, **more: Any) -> str:
    return jwt.encode(claims(**more), key, algorithm, headers)


async def refused(door: Doorman, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await door.identify(token)
    return str(caught.value)


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


def public(algorithm: str, kid: str | None = None, **more: Any) -> dict[str, Any]:
    kind = {"RS256": jwt.algorithms.RSAAlgorithm, "ES256": jwt.algorithms.ECAlgorithm}.get(
        algorithm, jwt.algorithms.OKPAlgorithm
    )
    key = json.loads(kind.to_jwk(KEYS[algorithm].public_key()))
    return {**key, **({"kid": kid} if kid else {}), **more}


@pytest.fixture
def key_file(tmp_path: Path) -> Callable[..., str]:
    path, times = tmp_path / "keys.json", iter(range(1, 99))

    def write(*keys: Any, content: str | None = None) -> str:
        path.write_text(json.dumps({"keys": keys}) if content is None else content)
        os.utime(path, ns=(0, next(times)))
        return str(path)

    return write


@pytest.mark.parametrize("algorithm", KEYS)
async def test_a_key_set_brings_its_algorithms(algorithm: str, key_file: Callable[..., str]) -> None:
    door = doorman(jwt_jwks=key_file(*(public(name, name) for name in KEYS)))
    token = signed(KEYS[algorithm], algorithm, {"kid": algorithm})
    assert (await door.identify(token)).id == "a"
    other = next(name for name in KEYS if name != algorithm)
    await refused(door, signed(KEYS[algorithm], algorithm, {"kid": other}))
    await refused(door, signed(KEYS[algorithm], algorithm, {"kid": "unknown"}))
    await refused(door, signed(KEYS[algorithm], algorithm))


async def test_a_set_of_one_key_serves_tokens_that_name_none(key_file: Callable[..., str]) -> None:
    door = doorman(jwt_jwks=key_file(public("ES256", "k")))
    assert (await door.identify(signed(EC, "ES256"))).id == "a"


async def test_a_public_key_is_no_secret(key_file: Callable[..., str]) -> None:
    """The confusion of algorithms: a token signed by HS256 with the public key, which everybody has."""
    pem = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    header = {"typ": "JWT", "alg": "HS256", "kid": "k"}
    parts = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=") for p in (header, claims())]
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(b".".join(parts), pem)
    token = b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()
    await refused(doorman(jwt_jwks=key_file(public("RS256", "k"))), token)


async def test_the_secret_does_not_serve_where_a_key_set_is_configured(key_file: Callable[..., str]) -> None:
    secret = {"kty": "oct", "k": base64.urlsafe_b64encode(SECRET.encode()).decode(), "kid": "s"}
    door = doorman(jwt_jwks=key_file(public("RS256", "k"), secret))
    await refused(door, signed())
    await refused(door, signed(headers={"kid": "s"}))
    await refused(door, signed(headers={"kid": "k"}))


@pytest.mark.parametrize("more", [{"use": "enc"}, {"alg": "RS512"}, {"n": "!"}])
async def test_a_key_meant_for_something_else_is_left_out(more: Any, key_file: Callable[..., str]) -> None:
    door = doorman(jwt_jwks=key_file({**public("RS256", "k"), **more}))
    await refused(door, signed(RSA, "RS256", {"kid": "k"}))


async def test_keys_are_read_again_when_their_file_changes(key_file: Callable[..., str]) -> None:
    door = doorman(jwt_jwks=key_file(public("ES256", "old")))
    new = signed(RSA, "RS256", {"kid": "new"})
    await refused(door, new)
    key_file(public("RS256", "new"))
    assert (await door.identify(new)).id == "a"
    key_file(content="half a fi")
    assert (await door.identify(signed(RSA, "RS256", {"kid": "new"}, sub="b"))).id == "b"


@pytest.mark.parametrize(
    "bad",
    [{"kid": ["k"]}, {"kid": {"a": 1}}, {"kid": 5}, {"kty": ["RSA"]}, {"n": 5}, {"n": None}, {"e": []}, {"alg": []}],
)
async def test_a_key_that_is_not_as_it_should_be_is_left_out_alone(bad: Any, key_file: Callable[..., str]) -> None:
    door = doorman(jwt_jwks=key_file({**public("RS256", "k"), **bad}, "no key", None, 5, public("ES256", "good")))
    assert (await door.identify(signed(EC, "ES256", {"kid": "good"}))).id == "a"
    await refused(door, signed(RSA, "RS256", {"kid": "k"}))


async def test_a_short_rsa_key_is_left_out(key_file: Callable[..., str]) -> None:
    short = rsa.generate_private_key(65537, 1024)
    listed = {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(short.public_key())), "kid": "short"}
    door = doorman(jwt_jwks=key_file(listed, public("ES256", "good")))
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = signed(short, "RS256", {"kid": "short"})
    await refused(door, token)
    assert (await door.identify(signed(EC, "ES256", {"kid": "good"}))).id == "a"


@pytest.mark.parametrize(
    "content", ["", "half a fi", "[]", '{"keys": {}}', '{"keys": []}', '{"keys": [{"kty": "oct"}]}']
)
def test_a_key_file_without_a_usable_key_is_no_start(content: str, key_file: Callable[..., str]) -> None:
    with pytest.raises(Misconfigured, match="JWT_JWKS names a file that holds no key"):
        create_app(configured(jwt_jwks=key_file(content=content), database_url="postgresql://nobody@127.0.0.1:1/none"))


def test_a_key_file_that_cannot_be_read_is_no_start(tmp_path: Path) -> None:
    for location in (tmp_path / "none.json", tmp_path):
        with pytest.raises(Misconfigured, match=r"JWT_JWKS names a file that cannot be read \("):
            tokens.require_keys(configured(jwt_jwks=str(location)))


def test_a_key_file_with_a_key_and_a_url_that_may_answer_later_are_a_start(key_file: Callable[..., str]) -> None:
    tokens.require_keys(configured(jwt_secret=None, jwt_jwks=key_file(public("RS256"))))
    tokens.require_keys(configured(jwt_secret=None, jwt_jwks="https://keys.example/jwks"))


@pytest.mark.parametrize(
    "error",
    [HTTPException(), BadStatusLine("x"), IncompleteRead(b""), ssl.SSLError(), ssl.CertificateError(), ValueError()],
)
async def test_a_server_of_keys_that_answers_nonsense_refuses(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(_: str) -> bytes:
        raise error

    monkeypatch.setattr(tokens, "fetch", fetch)
    with capture_logs() as logged:
        await refused(doorman(jwt_jwks="https://keys.example/jwks"), signed(RSA, "RS256", {"kid": "k"}))
    assert [(entry["event"], entry["log_level"]) for entry in logged] == [("key_set_unreachable", "error")]


async def test_a_key_file_that_is_missing_refuses(tmp_path: Path) -> None:
    await refused(doorman(jwt_jwks=str(tmp_path / "none.json")), signed(RSA, "RS256"))


def test_keys_come_by_https_or_from_a_file() -> None:
    for location in ("http://keys.example/jwks", "ftp://keys.example/jwks"):
        with pytest.raises(Misconfigured):
            doorman(jwt_jwks=location)


async def test_an_unknown_key_fetches_again_every_30_s_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    served, fetches, now = [public("ES256", "old")], [], [1000.0]

    def fetch(url: str) -> bytes:
        fetches.append(url)
        return json.dumps({"keys": served}).encode()

    monkeypatch.setattr(tokens, "fetch", fetch)
    monkeypatch.setattr(tokens.time, "monotonic", lambda: now[0])
    door = doorman(jwt_jwks="https://keys.example/jwks")
    old, new = signed(EC, "ES256", {"kid": "old"}), signed(RSA, "RS256", {"kid": "new"})
    await asyncio.gather(*(door.identify(old) for _ in range(9)))
    assert len(fetches) == 1
    served.append(public("RS256", "new"))
    await refused(door, new)
    assert len(fetches) == 1
    now[0] += 31
    await asyncio.gather(*(door.identify(new) for _ in range(9)))
    assert len(fetches) == 2
    monkeypatch.setattr(tokens, "fetch", lambda _: (_ for _ in ()).throw(OSError()))
    now[0] += 31
    await refused(door, signed(RSA, "RS256", {"kid": "other"}))
    assert (await door.identify(signed(EC, "ES256", {"kid": "old"}, sub="c"))).id == "c"


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


def viewer(role: str, schools: Any = None, *scopes: str, subject: str = "a") -> Viewer:
    named = None if schools is None else frozenset(schools)
    return Viewer(subject, ViewerRole(role), named, frozenset(scopes), None)  # type: ignore[arg-type]


async def test_reach_by_role() -> None:
    door, everything, nothing = doorman(), Reach(everything=True), Reach()
    north = Reach(schools=frozenset({"north"}))
    for action in Action:
        assert await door.reach(viewer("admin", ["north"]), action) == everything
        assert await door.reach(viewer("school_admin", ["north"]), action) == north
        assert await door.reach(viewer("school_admin", []), action) == nothing
        assert await door.reach(viewer("school_admin"), action) == nothing
        scope = PERMISSIONS[action][ViewerRole.SERVICE].scope
        assert await door.reach(viewer("service", None, scope), action) == everything
        assert await door.reach(viewer("service", ["north"], scope), action) == north
        assert await door.reach(viewer("service", [], scope), action) == nothing
        others = {"metrics:read", "metrics:write", "facts:write"} - {scope}
        with pytest.raises(Forbidden):
            await door.reach(viewer("service", None, *others), action)
    for action in (Action.REPORT, Action.ROSTER):
        with pytest.raises(Forbidden):
            await door.reach(viewer("teacher"), action)


def test_scopes_are_those_of_the_design() -> None:
    scopes = {action: rules[ViewerRole.SERVICE].scope for action, rules in PERMISSIONS.items()}
    assert scopes == {
        Action.READ: "metrics:read",
        Action.REPORT: "metrics:write",
        Action.RECALCULATE: "metrics:write",
        Action.RECORD: "facts:write",
        Action.ROSTER: "facts:write",
    }


def test_reach_covers_by_school_or_class() -> None:
    reach = Reach(schools=frozenset("s"), classes=frozenset("c"))
    assert reach.covers("x", "s")
    assert reach.covers("c", "x")
    assert not reach.covers("s", "c")
    assert Reach(everything=True).covers("x", "x")
    assert not Reach().covers("x", "x")
    assert reach.covers_school("s")
    assert not reach.covers_school("c")


@pytest.fixture
async def taught(engine: AsyncEngine) -> AsyncEngine:
    """What t teaches now: `now`, `open`, `twice`. The rest is over, to come, empty, or as a student."""
    long_ago, ahead = "2020-01-01T00:00:00Z", "2190-01-01T00:00:00Z"
    periods = {
        "now": (long_ago, ahead),
        "open": (None, None),
        "over": (None, "2021-01-01T00:00:00Z"),
        "ahead": (ahead, None),
        "empty": (long_ago, long_ago),
        "twice": (None, "2021-01-01T00:00:00Z"),
    }
    enroll = {"person_id": "t", "role": "TEACHER"}
    await store(
        engine,
        schools=[{"id": "s", "title": "S", "time_zone": "UTC"}],
        people=[{"id": "t", "school_id": "s"}],
        classes=[{"id": c, "school_id": "s", "title": c} for c in (*periods, "student")],
        enrollments=[
            *({**enroll, "class_id": c, "id": "1", "begins": b, "ends": e} for c, (b, e) in periods.items()),
            {**enroll, "class_id": "twice", "id": "2", "begins": long_ago, "ends": None},
            {**enroll, "class_id": "student", "id": "1", "role": "STUDENT"},
        ],
    )
    return engine


async def test_a_teacher_reaches_what_they_teach_now(taught: AsyncEngine) -> None:
    reach = await Doorman(configured(), taught).reach(viewer("teacher", ["s"], subject="t"), Action.READ)
    assert reach == Reach(classes=frozenset({"now", "open", "twice"}))


async def test_what_is_taught_is_read_once_for_all_who_ask_and_again_after_30_s(
    taught: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, door, teacher = [1000.0], Doorman(configured(), taught), viewer("teacher", subject="t")
    monkeypatch.setattr(auth.time, "monotonic", lambda: now[0])
    with statements() as seen:
        await asyncio.gather(*(door.reach(teacher, Action.READ) for _ in range(20)))
        await door.reach(teacher, Action.RECORD)
        assert len(seen) == 1
        async with taught.begin() as connection:
            await connection.execute(text("DELETE FROM enrollment WHERE class_id <> 'now'"))
        now[0] += 29
        assert len((await door.reach(teacher, Action.READ)).classes) == 3
        now[0] += 1
        assert (await door.reach(teacher, Action.READ)).classes == {"now"}
    assert len([s for s in seen if s.startswith("SELECT")]) == 2


async def test_one_who_gives_up_does_not_end_the_read_for_others(taught: AsyncEngine) -> None:
    door, teacher = Doorman(configured(), taught), viewer("teacher", subject="t")
    impatient = asyncio.create_task(door.reach(teacher, Action.READ))
    patient = asyncio.create_task(door.reach(teacher, Action.READ))
    await asyncio.sleep(0)
    impatient.cancel()
    assert len((await patient).classes) == 3


async def test_a_read_that_failed_is_tried_again(taught: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    door, teacher = Doorman(configured(), taught), viewer("teacher", subject="t")
    with monkeypatch.context() as patch:
        patch.setattr(auth, "TEACHES", text("SELECT nonsense WHERE :person_id = ''"))
        with pytest.raises(Exception, match="nonsense"):
            await door.reach(teacher, Action.READ)
    assert len((await door.reach(teacher, Action.READ)).classes) == 3


async def test_remembered_teachers_are_bounded(taught: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MOST_VIEWERS", 2)
    door = Doorman(configured(), taught)
    for number in range(5):
        await door.reach(viewer("teacher", subject=str(number)), Action.READ)
    assert len(door._taught._known) == 2
