"""/metrics and /healthz: what waits, how long already, what fails; for those who may know."""

from __future__ import annotations

import math
import re
import time
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from app import monitoring
from app.settings import Settings
from tests.serving import Client, serving
from tests.working import idle, tell, workers

TOKEN = "for the operator alone"
WAITING = (
    "INSERT INTO class_change (class_id, at) "
    "SELECT 'algebra', now() - n * interval '10 s' FROM generate_series(1, 3) AS n",
    "INSERT INTO performance_change (class_id, at) SELECT 'algebra', now() - interval '50 s'",
    "INSERT INTO calculation_failure VALUES ('algebra', 1, 'E', now(), now(), now() + interval '1 hour')",
)


async def read(api: Client, **headers: str) -> dict[str, float]:
    answer: Any = await api.http.get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {name: float(value) for name, value in re.findall(r"^(classperf_\w+) (\S+)$", answer.text, re.M)}


async def test_what_waits_and_what_fails_is_told(api: Client, engine: AsyncEngine, school: None) -> None:
    await tell(engine, "DELETE FROM class_change", "DELETE FROM performance_change")
    before = await read(api)
    assert (before["classperf_changes"], before["classperf_changes_oldest_seconds"]) == (0, 0)
    await tell(engine, *WAITING)
    after = await read(api)
    assert after["classperf_database_up"] == 1
    assert after["classperf_changes"] == 3
    assert 30 <= after["classperf_changes_oldest_seconds"] < 90
    assert after["classperf_outbox"] == 1
    assert 50 <= after["classperf_outbox_oldest_seconds"] < 110
    assert after["classperf_failing_classes"] == 1


async def test_what_a_worker_did_is_told(settings: Settings, engine: AsyncEngine, api: Client, school: None) -> None:
    before = await read(api)
    async with workers(settings):
        await tell(engine, "UPDATE submission SET score = 1")
        await idle(engine)
    after = await read(api)
    for name in ("classes_calculated_total", "records_changed_total", "batch_classes_count", "batch_seconds_count"):
        assert after[f"classperf_{name}"] > before.get(f"classperf_{name}", 0)


@pytest.mark.parametrize("environment", ["production", "development"])
async def test_with_a_token_only_who_has_it_is_told(settings: Settings, environment: str) -> None:
    changes = {"metrics_token": SecretStr(TOKEN), "environment": environment}
    async with serving(settings.model_copy(update=changes)) as api:
        for given in ("", "Bearer ", "Bearer another", f"Basic {TOKEN}", TOKEN, f"Bearer {api.token()}"):
            refused = await api.http.get("/metrics", headers={"authorization": given} if given else {})
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert "classperf" not in refused.text
        assert await read(api, authorization=f"Bearer {TOKEN}")


async def test_in_production_there_is_nothing_without_a_token(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"environment": "production"})) as api:
        assert (await api.http.get("/metrics")).status_code == 404
        assert (await api.http.get("/healthz")).text == "ok\n"


async def test_a_database_that_is_away_is_told_soon(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "PATIENCE", 0.5)
    away = settings.model_copy(update={"database_url": SecretStr("postgresql://nobody@127.0.0.1:1/nowhere")})
    async with serving(away) as api:
        begun = time.monotonic()
        found = await read(api)
        assert time.monotonic() - begun < 5
        assert found["classperf_database_up"] == 0
        assert math.isnan(found["classperf_changes"])
        assert (await api.http.get("/healthz")).text == "ok\n"


async def test_a_worker_listens_where_it_was_told_to(settings: Settings, engine: AsyncEngine) -> None:
    port = monitoring.socket.create_server(("127.0.0.1", 0))
    number = port.getsockname()[1]
    port.close()
    listening = settings.model_copy(update={"worker_port": number})
    async with (
        monitoring.listening(listening, engine),
        monitoring.listening(listening, engine),  # whose port is taken
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{number}") as http,
    ):
        assert (await http.get("/healthz")).text == "ok\n"
        assert "classperf_database_up 1.0" in (await http.get("/metrics")).text
        assert (await http.post("/graphql")).status_code == 404
