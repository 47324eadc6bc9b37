"""The short form of `make soak`: each kind of process is killed under load, one is stopped, one wire is half open."""

from __future__ import annotations

from pathlib import Path

import uvloop

from tests.soak.plan import SHORT
from tests.soak.run import SHORT_SECONDS, Run, account, soak


def test_whatever_happens_to_any_process_no_effect_of_a_fact_is_lost(tmp_path: Path) -> None:
    run = Run(seed=1, seconds=SHORT_SECONDS, plan=SHORT)
    evidence = uvloop.run(soak(run, tmp_path))
    assert not evidence.complaints, account(run, evidence)
