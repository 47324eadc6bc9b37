"""Bearer tokens: JWTs checked against one secret or one key set, and made for development.

Which key is configured decides the algorithm; a token cannot choose it. With a key set, each key brings its own.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import HTTPRedirectHandler, Request, build_opener

import jwt
import structlog

from app.errors import BadInput, Misconfigured, Unauthenticated
from app.settings import Settings

LONGEST_TOKEN = 8_192
LONGEST_LIFETIME = 3_599
REQUIRED = ["exp", "iss", "aud", "sub", "role"]
REFETCH_SECONDS = 30.0
FETCH_SECONDS = 3.0
LARGEST_KEY_SET = 1_000_000
SHORTEST_RSA = 2_048

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Key:
    algorithm: str
    value: Any


class Tokens:
    """Checks signature, issuer, audience and expiry; the claims mean nothing here."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keys = KeySet(settings.jwt_jwks) if settings.jwt_jwks else None

    async def verify(self, token: str) -> dict[str, Any]:
        if len(token) > LONGEST_TOKEN:
            raise Unauthenticated("The token is too long.")
        try:
            return self._decode(token, await self._key(token))
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("The token has expired.") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            # What exactly was wrong would help a forger more than a developer.
            raise Unauthenticated("The token is not valid.") from None

    async def _key(self, token: str) -> Key:
        if self._keys is not None:
            return await self._keys.require(jwt.get_unverified_header(token).get("kid"))
        if self._settings.jwt_secret is None:
            raise Misconfigured("Tokens cannot be checked without a key.")
        return Key("HS256", self._settings.jwt_secret.get_secret_value())

    def _decode(self, token: str, key: Key) -> dict[str, Any]:
        return jwt.decode(
            token,
            key.value,
            algorithms=[key.algorithm],
            issuer=self._settings.jwt_issuer,
            audience=self._settings.jwt_audience,
            # A clock a second ahead is no reason to refuse: expiry alone decides.
            options={"require": REQUIRED, "verify_iat": False},
        )


def require_keys(settings: Settings) -> None:
    """Raises Misconfigured where no token could ever be checked."""
    settings.require_keys()
    if settings.jwt_jwks:
        KeySet(settings.jwt_jwks).check()


class KeySet:
    """The public keys at a URL or in a file. An unknown key makes it look again, every 30 s at the most."""

    def __init__(self, location: str) -> None:
        if "://" in location and not location.startswith("https://"):
            raise Misconfigured("JWT_JWKS must be an https URL or a file.")
        self._location = location
        self._keys: dict[str | None, Key] = {}
        self._fetched = float("-inf")
        self._modified: int | None = None
        self._lock = asyncio.Lock()

    def check(self) -> None:
        """Raises Misconfigured for a file without a usable key; a URL may answer later."""
        if self._is_url:
            return
        try:
            content = Path(self._location).read_bytes()
        except OSError as error:
            raise Misconfigured(f"JWT_JWKS names a file that cannot be read ({error.strerror}).") from None
        self._replace(content)
        if not self._keys:
            raise Misconfigured("JWT_JWKS names a file that holds no key which can be used.")

    async def require(self, kid: object) -> Key:
        if not (kid is None or isinstance(kid, str)):
            raise Unauthenticated("The token is not valid.")
        if not self._is_url:
            await self._read_if_changed()
        elif kid not in self._keys:
            await self._fetch_if_due(kid)
        if kid not in self._keys:
            raise Unauthenticated("The token is signed with a key that is not known.")
        return self._keys[kid]

    @property
    def _is_url(self) -> bool:
        return self._location.startswith("https://")

    async def _read_if_changed(self) -> None:
        async with self._lock:
            try:
                modified, content = await asyncio.to_thread(read_if_changed, self._location, self._modified)
            except OSError as error:
                log.warning("key_set_unreadable", error=type(error).__name__)
                return
            if content is not None:
                self._replace(content)
                self._modified = modified

    async def _fetch_if_due(self, kid: str | None) -> None:
        """Others who wait for the lock find the keys there, or the fetch not due."""
        async with self._lock:
            if kid in self._keys or time.monotonic() - self._fetched < REFETCH_SECONDS:
                return
            self._fetched = time.monotonic()
            try:
                self._replace(await asyncio.to_thread(fetch, self._location))
            # What a server answers may be no HTTP, and what it is called no name.
            except (OSError, HTTPException, ValueError) as error:
                log.error("key_set_unreachable", error=type(error).__name__)

    def _replace(self, content: bytes) -> None:
        """A key set that cannot be read leaves the keys as they are."""
        try:
            listed = json.loads(content)["keys"]
            if not isinstance(listed, list):
                raise TypeError
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            log.error("key_set_malformed", error=type(error).__name__)
            return
        self._keys = _usable(listed)
        if not self._keys:
            log.error("key_set_without_keys")


def _usable(listed: Sequence[Any]) -> dict[str | None, Key]:
    """By key id. A set of one key also serves tokens that name none. A key that is not as it should be is left out."""
    keys: dict[str | None, Key] = {}
    for entry in listed:
        try:
            if key := _key(entry):
                keys[_key_id(entry)] = key
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
            log.warning("key_unusable", error=type(error).__name__)
    if len(keys) == 1:
        keys[None] = next(iter(keys.values()))
    return keys


def _key(entry: dict[str, Any]) -> Key | None:
    algorithm = _algorithm(entry)
    if algorithm is None or entry.get("use", "sig") != "sig":
        return None
    value = jwt.PyJWK(entry, algorithm).key
    if algorithm == "RS256" and value.key_size < SHORTEST_RSA:
        log.warning("key_too_short", bits=value.key_size)
        return None
    return Key(algorithm, value)


def _key_id(entry: dict[str, Any]) -> str | None:
    kid = entry.get("kid")
    if not (kid is None or isinstance(kid, str)):
        raise TypeError
    return kid


def _algorithm(entry: dict[str, Any]) -> str | None:
    """What the key itself is for. A symmetric key has no place in a public set."""
    kind: Any = (entry.get("kty"), entry.get("crv"))
    algorithm = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}.get(kind)
    return algorithm if entry.get("alg", algorithm) == algorithm else None


def read_if_changed(path: str, modified: int | None) -> tuple[int, bytes | None]:
    file = Path(path)
    now = file.stat().st_mtime_ns
    return now, None if now == modified else file.read_bytes()


class _StayHere(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> Request | None:
        return None


def fetch(url: str) -> bytes:
    """Follows no redirection: it could lead away from https."""
    with build_opener(_StayHere).open(url, timeout=FETCH_SECONDS) as response:
        content: bytes = response.read(LARGEST_KEY_SET)
    return content


def mint(
    settings: Settings,
    subject: str,
    role: str,
    *,
    schools: Sequence[str] | None = None,
    scopes: Sequence[str] = (),
    lifetime: int = LONGEST_LIFETIME,
) -> str:
    """A token for development and tests, valid for `lifetime` seconds, signed with the configured secret."""
    if settings.jwt_secret is None or settings.jwt_jwks:
        raise Misconfigured("Tokens are made with JWT_SECRET only; those of a key set come from its owner.")
    if not 1 <= lifetime <= LONGEST_LIFETIME:
        raise BadInput(f"A token may last 1 to {LONGEST_LIFETIME} seconds.")
    now = int(time.time())
    claims: dict[str, Any] = {
        "sub": subject,
        "role": role,
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "iat": now,
        "exp": now + lifetime,
    }
    if schools is not None:
        claims["schools"] = list(schools)
    if scopes:
        claims["scope"] = " ".join(scopes)
    return jwt.encode(claims, settings.jwt_secret.get_secret_value(), algorithm="HS256")
