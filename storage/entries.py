"""How is an Entry read, also one that says something of which this program has never heard?

Nodes are upgraded one after the other, so a program meets kinds of changes that came later than itself. Each kind
declares, by the first character of its tag, what may be made of it by whoever does not know it:

    ~   it informs (storage.contents.Informing): it is passed over, and all else of the Entry holds
    @   it must be understood, and bears on the Workspace alone that its first field names (storage.contents.Bearing)
        anything else must be understood, and may bear on all that its journal is about

What must be understood and is not makes an Entry NotUnderstood. An edge passes over the whole of it, and closes what it
may bear on (storage.index.holes); an origin, whose own journal it is, does not go on with it. The bytes are never
changed: chain and hashes are those of all that was said, and who is upgraded reads the rest.
"""

from typing import Any, get_args

import msgspec

from storage.contents import BEARING, INFORMING
from storage.nouns import AnyChange, Entry

_ENTRY = msgspec.msgpack.Decoder(Entry)
_CHANGE: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(AnyChange)
_FIELDS = msgspec.msgpack.Decoder(tuple[Any, ...])
_RAW = msgspec.msgpack.Decoder(list[msgspec.Raw])
_CHANGES_AT = Entry.__struct_fields__.index("changes")
_NONE = msgspec.msgpack.encode(())
KNOWN = frozenset(str(kind.__struct_config__.tag) for kind in get_args(AnyChange))
"""The tags of all kinds of changes that this program knows."""


class NotUnderstood(msgspec.DecodeError):
    """An Entry has changes of unknown kinds (`tags`) that must be understood. `entry` is all there is besides them;
    `bears_on` are the Workspaces that they bear on, None = all that the journal is about."""

    def __init__(self, tags: tuple[str, ...], entry: Entry, bears_on: frozenset[str] | None) -> None:
        super().__init__(f"a kind of change that this version does not know: {', '.join(tags)}")
        self.tags = tags
        self.entry = entry
        self.bears_on = bears_on


def read(body: bytes) -> Entry:
    """The Entry that these bytes say, without what only informs and is not known. Raises NotUnderstood, and DecodeError
    for what is no Entry."""
    return told(body)[0]


def told(body: bytes) -> tuple[Entry, tuple[str, ...]]:
    """As `read`, with the tags of what was passed over."""
    try:
        return _ENTRY.decode(body), ()
    except msgspec.ValidationError as error:
        strict = error
    fields = _RAW.decode(body)
    if len(fields) <= _CHANGES_AT:
        raise strict
    changes, unknown = list[Any](), list[tuple[str, msgspec.Raw]]()
    for raw in _RAW.decode(fields[_CHANGES_AT]):
        tag = _tag(raw)
        if tag is None or tag in KNOWN:
            changes.append(_CHANGE.decode(raw))
        else:
            unknown.append((tag, raw))
    if not unknown:
        raise strict
    fields[_CHANGES_AT] = msgspec.Raw(_NONE)
    entry = _ENTRY.decode(msgspec.msgpack.encode(fields))
    entry = msgspec.structs.replace(entry, changes=tuple(changes))
    if critical := [one for one in unknown if not one[0].startswith(INFORMING)]:
        raise NotUnderstood(tuple(tag for tag, _ in critical), entry, _bearing(critical)) from strict
    return entry, tuple(tag for tag, _ in unknown)


def _tag(raw: msgspec.Raw) -> str | None:
    """Of a change; None for what is none."""
    parts = _RAW.decode(raw)
    try:
        return msgspec.msgpack.decode(parts[0], type=str) if parts else None
    except msgspec.ValidationError:
        return None


def _bearing(critical: list[tuple[str, msgspec.Raw]]) -> frozenset[str] | None:
    names = set[str]()
    for tag, raw in critical:
        fields = _FIELDS.decode(raw)
        if not tag.startswith(BEARING) or len(fields) < 2 or not isinstance(fields[1], str) or not fields[1]:
            return None
        names.add(fields[1])
    return frozenset(names)
