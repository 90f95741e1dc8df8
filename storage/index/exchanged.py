"""Whose is a token, and when may the index forget one of an exchange, or a session? When nobody could use it any more.

Part of the fold: what it does follows from the entry and the rows before it.
"""

import msgspec

from storage.index.keys import join, label_token, seal, unseal, until
from storage.index.tables import Tables, Txn
from storage.nouns import Token

FORGOTTEN_MAX = 4
"""With each such token at most so many that have had their time: their number stays that of a few hours."""

EDGE, ENTITLEMENT = "edge", "entitlement"
_TOKEN = msgspec.msgpack.Decoder(Token)


def note(txn: Txn, tables: Tables, token: Token, now_ms: int) -> None:
    """A Token was put, which never changes its kind or its Account: one that is not for ever stays until its time, and
    some whose time has passed go."""
    if token.kind == EDGE:
        txn.put(token.id.encode(), seal(b""), db=tables.edge_tokens)
    if token.kind == ENTITLEMENT:  # those of one stay within one Workspace
        for ws in {one.scope.partition("/")[0] for one in token.grants}:
            txn.put(join(ws, token.id), seal(b""), db=tables.entitled)
    if token.owner and token.sign_in is None:
        txn.put(join(token.owner, token.id), seal(b""), db=tables.owned)
    if token.exchange is not None:
        txn.put(until(token.exchange.until_ms, token.id), seal(b""), db=tables.exchanged)
    elif token.sign_in is not None:
        txn.put(until(token.sign_in.until_ms, token.id), seal(b""), db=tables.exchanged)
        txn.put(join(token.owner, token.id), seal(b""), db=tables.sign_ins)
    else:
        return
    _forget(txn, tables, now_ms)


def _forget(txn: Txn, tables: Tables, now_ms: int) -> None:
    """They leave the index; the journal keeps what was done."""
    ended: list[bytes] = []
    with txn.cursor(db=tables.exchanged) as cursor:
        if cursor.first():
            for key in cursor.iternext(values=False):
                if len(ended) == FORGOTTEN_MAX or key >= until(now_ms):
                    break
                ended.append(key)
    for key in ended:
        id = key[8:]
        txn.delete(key, db=tables.exchanged)
        value = txn.get(id, db=tables.tokens)
        if value is not None:
            token = _TOKEN.decode(unseal(value, "tokens"))
            txn.delete(token.sha256, db=tables.secrets)
            txn.delete(id, db=tables.tokens)
            txn.delete(id, db=tables.edge_tokens)
            if token.owner:
                txn.delete(join(token.owner, token.id), db=tables.sign_ins if token.sign_in else tables.owned)
        txn.delete(label_token(id.decode()), db=tables.labels)
