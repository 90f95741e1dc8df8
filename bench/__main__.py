"""Which scenario is run, and where does its report go?

python -m bench delivery|publish|cold|replicate|deb|peers|crash|hostile|oci|revoke [--quick]
[--json FILE] [--png FILE]
"""

import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from bench.machine import Skipped, conditions, isolate, pin_to_client
from bench.options import Options, options
from bench.report import Result, as_json, picture, words
from bench.scenarios import cold, crash, deb, delivery, hostile, oci, peers, publish, replicate, revoke

RUN: dict[str, Callable[[Options], Result]] = {
    "delivery": delivery.run,
    "publish": publish.run,
    "cold": cold.run,
    "replicate": replicate.run,
    "deb": deb.run,
    "revoke": revoke.run,
    "peers": peers.run,
    "crash": crash.run,
    "hostile": hostile.run,
    "oci": oci.run,
}
# What needs the machine's network or takes long, before the bench moves into a namespace of its own.
PREPARE: dict[str, Callable[[Options], None]] = {"peers": peers.prepare, "oci": oci.prepare, "deb": deb.prepare}


def leave(number: int, _: FrameType | None) -> None:
    """A bench that is told to end takes its servers along, as one that comes to its end does."""
    sys.exit(128 + number)


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="entrepot-bench-") as home:
        told = options(Path(home), arguments)
        try:
            if told.scenario in PREPARE:
                PREPARE[told.scenario](told)
            network = "the machine's own loopback, as asked" if told.here else isolate()
            around = conditions(network)
            pin_to_client()
            result = RUN[told.scenario](told)
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
