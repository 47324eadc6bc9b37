"""What an operator may set, by environment variables of the same names."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.errors import Misconfigured


class Settings(BaseSettings):
    model_config = SettingsConfigDict(frozen=True)

    environment: Literal["production", "development"] = Field("production", description="Development is lenient.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on.")

    database_url: SecretStr = Field(SecretStr(""), description="PostgreSQL 16 or newer: postgresql://...")
    database_pool_size: int = Field(10, ge=1, le=200, description="Connections of one process, at the most.")
    database_timeout: float = Field(10.0, gt=0, description="Seconds a statement of a request may take.")
    redis_url: SecretStr = Field(
        SecretStr(""), description="Redis 7 or newer, or Valkey: redis://... Without, all is read from PostgreSQL."
    )
    redis_timeout: float = Field(0.1, gt=0, description="Seconds to wait for Redis before going on without it.")
    redis_retry_after: float = Field(1.0, gt=0, description="Seconds without Redis after it failed.")

    cache_ttl_active: int = Field(300, ge=1, description="Seconds a record of an ACTIVE class is cached.")
    cache_ttl_archived: int = Field(86_400, ge=1, description="Seconds a record of an ARCHIVED class is cached.")
    cache_ttl_unknown: int = Field(10, ge=1, description="Seconds an unknown id is remembered.")
    cache_ttl_jitter: float = Field(0.1, ge=0, lt=1, description="Share by which a time to live varies at random.")

    jwt_secret: SecretStr | None = Field(None, description="Secret for HS256 tokens, 32 bytes or more.")
    jwt_jwks: str | None = Field(None, description="URL or file of the JSON Web Key Set for RS256, ES256 and EdDSA.")
    jwt_issuer: str = Field("class-performance", description="The `iss` a token must carry.")
    jwt_audience: str = Field("class-performance", description="The `aud` a token must carry.")

    introspection: bool | None = Field(None, description="Allow introspection. Default: in development only.")
    suggestions: bool | None = Field(None, description="Suggest names in errors. Default: in development only.")
    graphiql: bool | None = Field(None, description="Serve GraphiQL. Default: in development only.")
    max_body_bytes: int = Field(1_000_000, ge=1_000, description="Largest request body.")
    max_tokens: int = Field(5_000, ge=100, description="Most tokens in a GraphQL document.")
    max_fields: int = Field(
        25_000, ge=100, description="Most fields an operation may be answered with, lists counted by their length."
    )
    max_operations_per_connection: int = Field(100, ge=1, description="Most operations at a time over a WebSocket.")
    max_subscriptions_per_viewer: int = Field(200, ge=1, description="Most subscriptions of a viewer to one process.")
    max_connections_per_viewer: int = Field(50, ge=1, description="Most WebSockets of a viewer to one process.")

    worker_inside: bool = Field(False, description="Run a worker in the API process: enough for a small deployment.")
    worker_port: int = Field(8001, ge=0, le=65535, description="Port of a worker's /metrics and /healthz; 0: none.")
    worker_timeout: float = Field(60.0, gt=0, description="Seconds the calculation of one class may take.")
    nightly_cron: str = Field("0 3 * * *", description="When all ACTIVE classes are recalculated; empty: never.")
    schedule_time_zone: str = Field("UTC", description="The time zone in which NIGHTLY_CRON is read.")
    history_days: int = Field(400, ge=1, description="Days a version of a record is kept in its history.")
    idempotency_days: int = Field(30, ge=1, description="Days a mutation can be repeated by its idempotencyKey.")
    metrics_token: SecretStr | None = Field(
        None, description="Bearer token for /metrics. Without one, it is open in development and absent in production."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level to log.")

    @model_validator(mode="after")
    def _development_is_lenient(self) -> Self:
        lenient = self.environment == "development"
        for name in ("introspection", "suggestions", "graphiql"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, lenient)
        return self

    def require_keys(self) -> None:
        """Refuse to serve without a key: there is no default that could be guessed."""
        secret = self.jwt_secret.get_secret_value() if self.jwt_secret else ""
        if not secret and not self.jwt_jwks:
            raise Misconfigured(
                "Set JWT_SECRET (32 bytes or more) or JWT_JWKS: tokens cannot be checked without a key."
            )
        if secret and len(secret.encode()) < 32:
            raise Misconfigured("JWT_SECRET is shorter than 32 bytes.")
