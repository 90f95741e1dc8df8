"""Which scenario is run, and where does its report go?

python -m bench SCENARIO [--quick] [--json FILE] [--png FILE]; a scenario is a module of bench/scenarios.
"""

import signal
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from types import FrameType

from bench.machine import Skipped, conditions, isolate, pin_to_client
from bench.options import options
from bench.pictures import picture
from bench.report import Result, as_json, words


def leave(number: int, _: FrameType | None) -> None:
    """A bench that is told to end takes its servers along, as one that comes to its end does."""
    sys.exit(128 + number)


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="entrepot-bench-") as home:
        told = options(Path(home), arguments)
        try:
            scenario = import_module(f"bench.scenarios.{told.scenario}")
            if hasattr(scenario, "prepare"):  # what needs the machine's network, before that is left behind
                scenario.prepare(told)
            network = "the machine's own loopback, as asked" if told.here else isolate()
            around = conditions(network)
            pin_to_client()
            result: Result = scenario.run(told)
        except Skipped as reason:
            print(f"skipped: {reason}")
            return 0
    result.conditions = around | result.conditions
    if told.quick:
        result.notes.append("a quick run: it shows that the bench works, and no figure to quote")
    print(words(result))
    if told.json:
        told.json.write_text(as_json(result))
    if told.png:
        print(picture(result, told.png))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, leave)
    sys.exit(main(sys.argv[1:]))
