"""Does an LMDB environment open, and can its tables be walked? Run as a process of its own: a damaged file may end it.

    probe.py PATH [STORE ROLE]

STORE is the id that the index must carry, in hex; an origin's index must also know its End in the journal.
"""

import os
import sys

import lmdb


def main(path: str, store: str = "", role: str = "") -> int:
    """0 where every table opens, its first and last rows can be read, and the file is as long as its pages say."""
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
    if b"state" not in names or b"touched" not in names:  # the second came later: an index without it is made anew
        return 3
    with env.begin(db=env.open_db(b"state", create=False)) as txn:
        known = txn.get(b"store") or b""
        whole = known[8:] == bytes.fromhex(store) and (role != "origin" or txn.get(b"end") is not None)
    return 0 if whole else 4


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
