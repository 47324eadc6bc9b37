"""Tokens signed with a key of a set; where sets come from, and when they are read again."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
from collections.abc import Callable
from http.client import BadStatusLine, HTTPException, IncompleteRead
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from structlog.testing import capture_logs

from app import tokens
from app.errors import Misconfigured
from app.main import create_app
from tests.conftest import SECRET
from tests.signing import claims, configured, doorman, refused, signed

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
KEYS = {"RS256": RSA, "ES256": EC, "EdDSA": ED}


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
