"""`make soak`: SEED and SECONDS say which run. It ends with 1 if a promise was broken."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from tests.soak.plan import SHORT, random_plan
from tests.soak.run import SHORT_SECONDS, Run, account, soak, summary


def main() -> int:
    seed = int(os.environ.get("SEED") or time.time_ns() // 1_000 % 1_000_000)
    seconds = float(os.environ.get("SECONDS") or 300)
    plan = SHORT if "short" in sys.argv[1:] else random_plan(seed, seconds)
    run = Run(seed, SHORT_SECONDS if plan is SHORT else seconds, plan)
    print(f"seed {run.seed}, {run.seconds:g} s, {len(run.plan)} faults", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        evidence = uvloop.run(soak(run, Path(name)))
        if evidence.complaints:
            print(account(run, evidence))
            print(f"\nAgain: make soak SEED={run.seed} SECONDS={run.seconds:g}")
            return 1
    print(f"Every promise was kept: {summary(evidence)}; {time.monotonic() - began:.0f} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
