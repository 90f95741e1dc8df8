"""When may the index forget a token that was given for an identity token? When nobody could use either any more.

Part of the fold: what it does follows from the entry and the rows before it.
"""

import msgspec

from storage.index.keys import label_token, seal, unseal, until
from storage.index.tables import Tables, Txn
from storage.nouns import Token

FORGOTTEN_MAX = 4
"""With each exchange at most so many that have had their time: their number stays that of a few hours."""

_TOKEN = msgspec.msgpack.Decoder(Token)


def remember(txn: Txn, tables: Tables, id: str, until_ms: int) -> None:
    """This Token stays until then."""
    txn.put(until(until_ms, id), seal(b""), db=tables.exchanged)


def forget(txn: Txn, tables: Tables, now_ms: int) -> None:
    """Some whose time has passed leave the index; the journal keeps what was done."""
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
            txn.delete(_TOKEN.decode(unseal(value, "tokens")).sha256, db=tables.secrets)
            txn.delete(id, db=tables.tokens)
        txn.delete(label_token(id.decode()), db=tables.labels)
