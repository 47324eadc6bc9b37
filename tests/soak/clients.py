"""Clients of both APIs: they ask again when there is no answer, and remember what they were promised."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from typing import Any

import httpx2

from app.auth import ViewerRole
from app.settings import Settings
from app.tokens import mint
from tests.soak.evidence import ANSWERED, Evidence

PATIENCE = 3.0
TOKEN_SECONDS = 1_800
TRY_AGAIN = {"UNAVAILABLE"}  # what a client may be told at any time


class NoAnswer(Exception):
    """Done or not, nobody can tell."""


class Wallet:
    """Makes tokens, and makes them again before they expire."""

    def __init__(self, settings: Settings, subject: str, role: str = "admin") -> None:
        self._settings, self.subject, self._role = settings, subject, role
        self._made = float("-inf")

    def token(self) -> str:
        if time.monotonic() > self._made + TOKEN_SECONDS / 2:
            self._token = mint(self._settings, self.subject, ViewerRole(self._role), lifetime=TOKEN_SECONDS)
            self._made = time.monotonic()
        return self._token


class Client:
    """Asks now one API, now the other."""

    def __init__(
        self,
        addresses: Sequence[str],
        wallet: Wallet,
        evidence: Evidence,
        choice: random.Random,
        until: asyncio.Event,
    ) -> None:
        self.addresses = addresses
        self.until = until
        self.wallet = wallet
        self.evidence = evidence
        self.choice = choice
        self._http = httpx2.AsyncClient(timeout=PATIENCE)

    async def ask(self, query: str, variables: dict[str, Any], *, address: str | None = None) -> dict[str, Any]:
        """The data, without errors. Raises NoAnswer."""
        address = address or self.choice.choice(self.addresses)
        headers = {"authorization": f"Bearer {self.wallet.token()}"}
        body = {"query": query, "variables": variables}
        try:
            async with asyncio.timeout(PATIENCE):
                response = await self._http.post(f"{address}/graphql", json=body, headers=headers)
                answer = response.json()
        except (httpx2.HTTPError, TimeoutError, ValueError) as error:
            self.evidence.count("no answer")
            raise NoAnswer from error
        if errors := answer.get("errors"):
            self._look_at(errors)
            raise NoAnswer
        data: dict[str, Any] = answer["data"]
        return data

    def _look_at(self, errors: list[dict[str, Any]]) -> None:
        codes = {error.get("extensions", {}).get("code") for error in errors}
        self.evidence.count("told to try again")
        if codes - TRY_AGAIN:
            self.evidence.complain(ANSWERED, f"an answer with {errors}"[:600])

    async def insist(self, query: str, variables: dict[str, Any], times: int = 6) -> dict[str, Any] | None:
        """Asks until there is an answer, or gives up; at the latest when everybody goes home."""
        for n in range(times):
            if n and self.until.is_set():
                break
            with contextlib.suppress(NoAnswer):
                return await self.ask(query, variables)
            await asyncio.sleep(0.1 * 2**n * self.choice.random())
        if times > 1:
            self.evidence.count("given up")
        return None

    async def close(self) -> None:
        await self._http.aclose()
