"""Does an LMDB environment open, and can its tables be walked? Run as a process of its own: a damaged file may end it.

    probe.py PATH [STORE ROLE STAMP]

STORE is the id that the index must carry, in hex; an origin's index must also know its End in the journal. STAMP is
that of this program's tables (storage.index.stamp), in hex.
"""

import os
import sys

import lmdb

OUTDATED = 5


def main(path: str, store: str = "", role: str = "", stamp: str = "") -> int:
    """0 where every table opens, its first and last rows can be read, and the file is as long as its pages say;
    OUTDATED where this is so and the stamp is another."""
    env = lmdb.open(path, max_dbs=64, map_size=1 << 40, readonly=True, lock=False)
    size = os.stat(os.path.join(path, "data.mdb")).st_size
    if size < (env.info()["last_pgno"] + 1) * env.stat()["psize"]:
        return 2
    with env.begin() as txn:
        names = [bytes(key) for key, _ in txn.cursor()]
    for name in names:
        table = env.open_db(name, create=False)
        with env.begin(db=table) as txn, txn.cursor() as cursor:
            if cursor.first():
                cursor.item()
            if cursor.last():
                cursor.item()
    if not store:
        return 0
    if b"state" not in names:
        return 3
    with env.begin(db=env.open_db(b"state", create=False)) as txn:
        known = txn.get(b"store") or b""
        if known[8:] != bytes.fromhex(store) or (role == "origin" and txn.get(b"end") is None):
            return 4
        return 0 if (txn.get(b"stamp") or b"")[8:] == bytes.fromhex(stamp) else OUTDATED


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
