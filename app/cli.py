"""The side door: everything that is done from a shell."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Annotated

import typer
from alembic.util import CommandError
from psycopg.errors import UndefinedColumn, UndefinedFunction, UndefinedTable
from pydantic import ValidationError
from rich.console import Console
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, ProgrammingError

from app import cli_data, cli_files, main, migrate, observability, worker
from app.auth import PERMISSIONS, ViewerRole, mint
from app.development import development, with_secret
from app.errors import ClassPerformanceError
from app.graphql import schema
from app.settings import Settings

SCOPES = sorted({rule.scope for rules in PERMISSIONS.values() for rule in rules.values() if rule.scope})

cli = typer.Typer(
    help="Every number about a class, right and at once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def run() -> None:
    """The entry point: what the caller can mend is told in a line, without a traceback."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    try:
        cli()
    except ClassPerformanceError as error:
        _complain(str(error))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except ProgrammingError as error:
        if not isinstance(error.orig, UndefinedTable | UndefinedColumn | UndefinedFunction):
            raise
        _complain("the database has not the tables of this version: run `classperf migrate`")
    except OperationalError as error:
        _complain(f"the database: {str(error.orig).strip().splitlines()[0]}")
    except (CommandError, OSError, UnicodeError) as error:
        _complain(str(error))
    except ValidationError as error:
        _complain(*(f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()))


def _complain(*messages: str) -> None:
    for message in messages:
        Console(stderr=True, soft_wrap=True).print(f"classperf: {message}", style="red", highlight=False, markup=False)
    sys.exit(2)


@cli.command()
def dev() -> None:
    """Run everything here: embedded servers, migrations, demonstration data, the API, a worker. Ctrl-C stops it all."""
    main.require_free_port(Settings(environment="development"))
    with development() as found:
        settings = with_secret(found)
        observability.configure(settings)
        migrate.upgrade(settings.database_url.get_secret_value())
        asyncio.run(cli_data.fill_if_empty(settings))
        main.serve(settings.model_copy(update={"worker_inside": True}), welcome=lambda: _welcome(settings))


async def _welcome(settings: Settings) -> None:
    """The address, and a token for each role with something to see."""
    example = text(
        "SELECT c.id, c.school_id, t.person_id, s.person_id FROM class c "
        "JOIN enrollment t ON t.class_id = c.id AND t.role = 'TEACHER' AND t.ends IS NULL "
        "JOIN enrollment s ON s.class_id = c.id AND s.role = 'STUDENT' AND s.ends IS NULL "
        "WHERE c.status = 'ACTIVE' ORDER BY c.id, t.id, s.id LIMIT 1"
    )
    async with main.services_of(settings) as services, services.engine.connect() as connection:
        found = (await connection.execute(example)).first()
    class_id, school, teacher, student = found or ("class", "school", "teacher", "student")
    address = f"http://{settings.host}:{settings.port}"
    tokens = {
        "admin": mint(settings, "admin", ViewerRole.ADMIN),
        "school_admin": mint(settings, "head", ViewerRole.SCHOOL_ADMIN, schools=[school]),
        "teacher": mint(settings, teacher, ViewerRole.TEACHER),
        "service": mint(settings, "service", ViewerRole.SERVICE, scopes=SCOPES),
    }
    lines = [
        f"GraphQL       {address}/graphql",
        f"GraphiQL      {address}/graphiql",
        f"a class       {class_id} (of {school}, with student {student})",
        "Tokens, good for an hour (make more with `classperf token`):",
        *(f"{role:13} {token}" for role, token in tokens.items()),
    ]
    sys.stdout.write("\n" + "\n".join(lines) + "\n\n")
    sys.stdout.flush()


@cli.command()
def serve() -> None:
    """Serve the API, as set by the environment."""
    settings = Settings()
    main.require_free_port(settings)
    observability.configure(settings)
    main.serve(settings)


@cli.command("worker")
def worker_command() -> None:
    """Calculate what has changed and tell everyone, until stopped. Run as many as you like, wherever you like."""
    settings = Settings()
    observability.configure(settings)
    asyncio.run(worker.work(settings))


@cli.command("migrate")
def migrate_command(
    revision: Annotated[str, typer.Argument(help="A revision; `base` takes everything down.")] = "head",
    down: Annotated[bool, typer.Option(help="Go down to the revision instead of up.")] = False,
) -> None:
    """Bring the database to a revision of the tables."""
    with development() as settings:
        (migrate.downgrade if down else migrate.upgrade)(settings.database_url.get_secret_value(), revision)


@cli.command()
def migration(message: Annotated[str, typer.Argument(help="What it does, as an imperative.")]) -> None:
    """Write a migration from what differs between the tables in the code and in the database."""
    with development() as settings:
        migrate.write(settings.database_url.get_secret_value(), message)


@cli.command("schema")
def schema_command() -> None:
    """Print the GraphQL schema."""
    sys.stdout.write(schema.export())


@cli.command()
def token(
    role: Annotated[ViewerRole, typer.Option(help="What the token allows.")],
    person: Annotated[str, typer.Option(help="Whose it is; for a teacher the person's id.")] = "developer",
    school: Annotated[list[str] | None, typer.Option(help="A school it reaches; repeat for more.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="A scope of a service; repeat for more.")] = None,
) -> None:
    """Print a bearer token for development, good for an hour."""
    settings = with_secret(Settings(environment="development"))
    sys.stdout.write(mint(settings, person, role, schools=school, scopes=scope or ()) + "\n")


cli.add_typer(cli_data.cli)
cli.add_typer(cli_files.cli)
