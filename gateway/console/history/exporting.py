"""How do lines of the client log leave, all of them? Piece by piece, in the order of their times, behind a cursor.

A piece holds at most `rows` lines, and its header Entrepot-Next says where the next one begins; there is none behind
the last. Who keeps the cursor goes on where an export broke off. A line that comes in late, behind the cursor, is not
in it: up to Entrepot-Counted-Until (ms) all lines are there. No more than one piece is in memory at once.
"""

from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.permissions import NODE_ADMIN, WORKSPACE_STATISTICS
from gateway.console.history.traffic import OF_LINES, asking, filter_of, nodes_of, number
from gateway.console.packages.pulls import certain
from storage.errors import Invalid

ROUTES = Routes("/-/api/v1")
NDJSON, PARQUET = "application/x-ndjson", "application/vnd.apache.parquet"
ROWS, ROWS_MAX = 10_000, 50_000
TAKEN = (*OF_LINES, "after", "rows")


@ROUTES.add("GET", "/logs/ndjson", NODE_ADMIN, (*TAKEN, "workspace"), gives=str, media=NDJSON)
async def lines_of_all(call: Call) -> Reply:
    """A line of JSON for each request."""
    return await _piece(call, call.argument("workspace"), NDJSON)


@ROUTES.add("GET", "/logs/parquet", NODE_ADMIN, (*TAKEN, "workspace"), gives=str, media=PARQUET)
async def columns_of_all(call: Call) -> Reply:
    """Each piece is a whole file; empty where there is no line."""
    return await _piece(call, call.argument("workspace"), PARQUET)


@ROUTES.add("GET", "/workspaces/<workspace>/logs/ndjson", WORKSPACE_STATISTICS, TAKEN, gives=str, media=NDJSON)
async def lines(call: Call) -> Reply:
    """A line of JSON for each request."""
    return await _piece(call, call.at["workspace"], NDJSON)


@ROUTES.add("GET", "/workspaces/<workspace>/logs/parquet", WORKSPACE_STATISTICS, TAKEN, gives=str, media=PARQUET)
async def columns(call: Call) -> Reply:
    """Each piece is a whole file; empty where there is no line."""
    return await _piece(call, call.at["workspace"], PARQUET)


async def _piece(call: Call, workspace: str, media: str) -> Reply:
    questions, wanted = asking(call), filter_of(call, workspace)
    rows = number(call, "rows", ROWS)
    if not 1 <= rows <= ROWS_MAX:
        raise Invalid("The argument rows is no number that can be used.", f"Use 1 to {ROWS_MAX}.")
    sees = nodes_of(call, workspace)
    piece = await questions.export(wanted, sees, call.argument("after"), rows, parquet=media == PARQUET)
    headers = {"Entrepot-Rows": str(piece.rows)}
    if piece.next:
        headers["Entrepot-Next"] = piece.next
    if (register := call.services.register) is not None:
        with call.read() as reading:
            headers["Entrepot-Counted-Until"] = str(certain(reading, register).until_ms)
    return Reply(200, piece.body, headers, media)
