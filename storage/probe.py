"""Does an LMDB environment open, and can its tables be walked? A process of its own asks: a damaged file may end it."""

import sys

import lmdb


def main(path: str) -> int:
    """0 where every table opens and its first and last rows can be read."""
    env = lmdb.open(path, max_dbs=64, map_size=1 << 40, readonly=True, lock=False)
    with env.begin() as txn:
        names = [bytes(key) for key, _ in txn.cursor()]
    for name in names:
        table = env.open_db(name, create=False)
        with env.begin(db=table) as txn, txn.cursor() as cursor:
            if cursor.first():
                cursor.item()
            if cursor.last():
                cursor.item()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
