"""Which versions of which packages does a grant's query let through?

A query in the language of searches (gateway.queries), of which a grant takes what can be judged at each read from what
every node knows, and as it is at that moment: name, format, repository, version and tag. It is taken in two steps, as
a search takes it:

    by the package alone     yes or no says so for all versions, before anything is looked for (THREATS B9);
                             where that hangs on the version its documents are shown whole, as they are kept
    by one version           for a file, with the tags that lead to the version now

A file that belongs to no version, or to one that is not known here, is not let through by what hangs on the version.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache, lru_cache, partial
from typing import NamedTuple, cast

from formats.kit.contract import Room, order_of
from formats.kit.traits import Composed
from gateway.queries.fields import At, Held, Order, Part
from gateway.queries.parsing import parse
from gateway.queries.terms import All, Not, Some, Term
from storage.errors import Invalid
from storage.nouns import File, Version, View

FIELDS = ("name", "format", "repository", "version", "tag")


class Sought(NamedTuple):
    """Of what a read is: the `package` as the View and searches name it, how its format spells and orders, and the
    version that is read (`held`), None = not known yet. `documents`: it is enough that there could be a version that
    is let through."""

    package: str
    order: Order | None
    spelt: Callable[[str], str]
    held: Held | None = None
    documents: bool = False


def query(text: str) -> str:
    """`text` if it can be the query of a grant, "" for none. Raises Invalid."""
    if not text.strip():
        return ""
    if not text.isprintable():
        raise Invalid("This cannot be a query.", "Use printable characters.")
    if others := sorted({one.field for one in _terms(parse(text))} - set(FIELDS)):
        raise Invalid(
            f"A grant cannot be judged by {', '.join(others)} each time that something is read.",
            f"Ask for {', '.join(FIELDS[:-1])} and {FIELDS[-1]}, with AND, OR, NOT and parentheses.",
        )
    return text


def lets(text: str, at: tuple[str, str, str], sought: Sought) -> bool | None:
    """Does a query let this through, in a workspace, repository and format? None where it hangs on the version, which
    is not known."""
    return compiled(text).holds(At(*at, sought.package, sought.spelt), sought.held, sought.order)


def deciding(text: str, at: tuple[str, str, str], sought: Sought) -> str:
    """The part of a query that alone decides what it lets through, as a query is written."""
    return _deciding(compiled(text), At(*at, sought.package, sought.spelt), sought)


def _deciding(part: Part, at: At, sought: Sought) -> str:
    if isinstance(part, Not):
        return f"NOT {_deciding(part.part, at, sought)}"
    if isinstance(part, All | Some):
        wanted = isinstance(part, Some)
        for one in part.parts:
            if one.holds(at, sought.held, sought.order) is wanted:
                return _deciding(one, at, sought)
    return _written(part)


def _written(part: Part) -> str:
    match part:
        case Term(field, op, text):
            return f'{field}:{op}"{text}"' if set(text) & set(" ()") else f"{field}:{op}{text}"
        case Not(one):
            return f"NOT {_written(one)}"
        case All(parts) | Some(parts):
            word = " AND " if isinstance(part, All) else " OR "
            return f"({word.join(_written(one) for one in parts)})"
    raise TypeError(type(part).__name__)


@lru_cache(maxsize=4096)
def compiled(text: str) -> Part:
    """What a query says, made out once."""
    return parse(text)


def _terms(part: Part) -> Iterable[Term]:
    match part:
        case Term():
            yield part
        case Not(one):
            yield from _terms(one)
        case All(parts) | Some(parts):
            for one in parts:
                yield from _terms(one)


# ---------------------------------------------------------------- of what is read


def sought(room: Room, package: str) -> Sought:
    """Documents of a package of this room."""
    return Sought(package, order_of(room), cache(partial(_spelt, room)), documents=True)


def _spelt(room: Room, typed: str) -> str:
    """How names begin in this format; `typed` may end anywhere in a name, so a letter stands for the rest of it."""
    try:
        return room.normalise(typed + "x")[:-1] if typed else ""
    except Invalid:
        return typed


def held(version: str, tags: Mapping[str, str]) -> Held:
    """A version as a query sees it; `tags` lead to versions."""
    return Held(version, [tag for tag, one in tags.items() if one == version], (), 0, 0)


def file_named(view: View, package: str, file: str, tag: str) -> File | None:
    """The file that a read is of, as a Serve names it."""
    if tag:
        version = view.tag(package, tag)
        return None if version is None else view.file(package, file + version)
    return view.file(package, file)


def may_read(room: Room, view: View, package: str, file: File, lets_version: Callable[[Held], bool]) -> bool:
    """Is the file of a version that is let through, or one of those that such a version consists of?"""
    tags = view.tags(package)
    if file.version and lets_version(held(file.version, tags)):
        return True
    if not hasattr(room, "consists"):
        return False
    versions = {one.name: one for one in view.versions(package)}
    files = {one.name: one for one in view.files(package)}
    for one in files.values():
        if one.version:
            versions.setdefault(one.version, Version(one.version))
    waiting = [one for one in versions.values() if lets_version(held(one.name, tags))]
    seen = {one.name for one in waiting}
    while waiting:
        for name in cast("Composed", room).consists(waiting.pop(), files):
            if name == file.name:
                return True
            part = files.get(name)
            if part is not None and part.version in versions and part.version not in seen:
                seen.add(part.version)
                waiting.append(versions[part.version])
    return False
