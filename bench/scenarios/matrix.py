"""Does any address of any room tell who may not know of a thing whether it is there? Every cell, at origin and edge.

No figure of speed: `--quick` asks a tenth of the rows. See bench/matrix.py for what a cell is.
"""

from pathlib import Path

from bench.hostile.drive import Target
from bench.matrix import REPOSITORY, WORKSPACE, World, asked
from bench.options import Options
from bench.report import Result, Row
from bench.servers import Node

QUICK_SHARE = 10


def run(told: Options) -> Result:
    result = Result("matrix")
    with Node(told.home) as node:
        target = Target(node.origin, node.token, f"{WORKSPACE}/{REPOSITORY}", Path(told.home) / "data" / "origin")
        world = World(node.origin, node.token, target)
        for name, url in (("origin", node.origin), ("edge", node.edge)):
            found = asked(url, world, QUICK_SHARE if told.quick else 1)
            result.rows += [
                Row(f"{name}: cells", "asked", [float(found.cells)]),
                Row(f"{name}: leaks", "rows", [float(len(found.leaks))], goal="0"),
                Row(f"{name}: failures, changes", "", [float(len(found.wrong))], goal="0"),
                Row(f"{name}: rooms in which the reader reads", "", [float(len(found.found))]),
            ]
            result.notes += [f"{name}: {line}" for line in (*found.leaks[:20], *found.wrong[:20])]
    return result
