"""Where an export goes: standard output, or a file that is there when it is whole, and not before."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from app.errors import BadInput


@contextmanager
def opened(path: Path | None) -> Iterator[IO[bytes]]:
    """Standard output if there is no path. What was called so before stays until the new file is complete."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = _require_file(path)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with aside.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _require_file(path: Path) -> Path:
    """Behind a link, the file itself."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise BadInput(f"{path} is not a file; without --output it goes to standard output.")
    return path
