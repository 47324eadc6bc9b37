"""`python -m benchmarks [reads|climb|recalculation|growth|live|fanout|data] [--quick]`"""

from __future__ import annotations

import argparse
import signal
import sys

from benchmarks import climb, data, fanout, growth, live, machine, reads, recalculation

SUITES = {
    "reads": reads.run,
    "climb": climb.run,
    "recalculation": recalculation.run,
    "growth": growth.run,
    "live": live.run,
    "fanout": fanout.run,
    "data": data.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure speed, as ratios within a run.")
    parser.add_argument("suite", nargs="?", choices=SUITES, help="only these; all, if not given")
    parser.add_argument("--quick", action="store_true", help="small and short: to see that it works, not how fast")
    given = parser.parse_args()
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    print(machine.describe(), flush=True)
    for name, run in SUITES.items():
        if given.suite in (None, name):
            print(run(given.quick), flush=True)


if __name__ == "__main__":
    main()
