"""Does an index hold what this program would have written into it?

A table that came later has no rows in an older index, and a noun that was kept by an older program lacks the fields
that it did not know. So an index carries a stamp: the tables, the fields of all that is kept in them, and a number for
what neither shows. One with another stamp is made anew from the journal.
"""

import hashlib
from collections.abc import Iterator

import msgspec
from msgspec.inspect import DictType, StructType, TupleType, Type, UnionType, VarTupleType, type_info

from storage.index import tables
from storage.index.answers import Answer
from storage.index.published import Publisher
from storage.nouns import Entry

LAYOUT = 2
"""Raise it where the fold makes other rows of the same entries."""


def shapes(*nouns: type[msgspec.Struct]) -> Iterator[str]:
    """Each kind of noun that is part of these, with its fields in order."""
    seen: set[type] = set()
    waiting: list[Type] = [type_info(noun) for noun in nouns]
    while waiting:
        one = waiting.pop()
        match one:
            case StructType() if one.cls not in seen:
                seen.add(one.cls)
                yield f"{one.tag or one.cls.__name__}: {' '.join(field.name for field in one.fields)}"
                waiting += [field.type for field in one.fields]
            case UnionType():
                waiting += one.types
            case VarTupleType():
                waiting.append(one.item_type)
            case TupleType():
                waiting += one.item_types
            case DictType():
                waiting += [one.key_type, one.value_type]


def _stamp(*lines: str) -> bytes:
    return hashlib.sha256("\n".join(lines).encode()).digest()[:16]


INDEX = _stamp(
    str(LAYOUT),
    *tables.FOLD_TABLES,
    *tables.WORK_TABLES,
    *tables.BLOB_TABLES,
    *sorted(shapes(Entry, Answer, Publisher)),
)
CACHE = _stamp(str(LAYOUT), *tables.BLOB_TABLES)
