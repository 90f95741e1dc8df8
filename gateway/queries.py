"""What does somebody who searches for packages ask? A query is taken apart here, and held against one version.

    query  = either *("OR" either)
    either = one *(["AND"] one)                  what stands side by side must all hold
    one    = ("NOT" | "-") one | "(" query ")" | term
    term   = [field ":"] [">=" | "<=" | ">" | "<" | "=" | "~="] value
    value  = a word, or a phrase in double quotes

Words of `name`, `filename`, `license` and of no field are found within, whatever the case; ^ before one holds it to
the beginning (a name then as its format spells it), $ behind it to the end, * and ? stand for any. `format`,
`repository`, `workspace`, `tag`, `version`, `checksum`, `architecture`, `uploader` (an id, or what that was called),
`type`, `distribution`, `component`, `dependency` and `upstream` are meant whole; * and ? work there too. Versions are
compared in the order of their format, and those of a format that has none are never below or above another. A size is
bytes, or has k, m, g; a date is YYYY-MM-DD in UTC; `downloads` is a number; `quarantined` and `prerelease` are true or
false, where a version of a format without an order is no prerelease. What was never downloaded was not
`last_downloaded` on any day. `dependency:NAME>=VERSION` holds where a version is named with that dependency, as a bound
or as the only one, of which this is true. `upstream:*` is what is known from any upstream, and is not published here.

`status` is available, quarantined or deleted. What was deleted, and stands in a bin, is found by `status:deleted`
alone, which must hold for all that is found: no other query costs a look into bins, and none finds what is gone by
accident.

Pure. A query has bounded length, depth and number of terms, and no pattern runs longer than its text times its length.
"""

import datetime
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from formats.kit.traits import Dependency
from storage.errors import Invalid

TERMS_MAX = 50
DEPTH_MAX = 10
QUERY_CHARS_MAX = 500
DAY_MS = 24 * 3600 * 1000

PACKAGE_FIELDS = ("name", "format", "repository", "workspace", "upstream")
VERSION_FIELDS = (
    "version", "tag", "filename", "checksum", "size", "uploaded", "license", "architecture", "uploader", "quarantined",
    "downloads", "last_downloaded", "prerelease", "status", "type", "dependency", "distribution", "component",
)  # fmt: skip
_WITHIN = ("name", "filename", "license")
_COMPARED = ("version", "size", "uploaded", "downloads", "last_downloaded")
_SAID = ("license", "architecture", "uploader", "type", "distribution", "component")
_FLAGS = ("quarantined", "prerelease")
LOOKED_UP = (*_SAID, *_FLAGS, "downloads", "last_downloaded", "status", "dependency")
"""What nothing but a look at the version and around it tells (Known)."""
_HEARD_OF = ("version", "prerelease")
"""What is known of a version of which an upstream has told the name."""
AVAILABLE, WITHHELD, DELETED = "available", "quarantined", "deleted"
STATUSES = (AVAILABLE, WITHHELD, DELETED)
_SIZES = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}

_TOKEN = re.compile(
    r"\s*(?:(?P<paren>[()])|(?P<not>-(?=[^\s]))|"
    r'(?:(?P<field>[a-z_]+):)?(?P<op>>=|<=|~=|>|<|=)?(?:"(?P<phrase>[^"]*)"|(?P<word>[^\s()"]+)))'
)
_VALUELESS = re.compile(r"[a-z_]+:|[<>~]?=|[<>]")
_PART = re.compile(r"\d{1,9}(\.\d{1,9})?")
_DEPENDENCY = re.compile(r"([^<>=~\s]+)\s*(?:(>=|<=|~=|>|<|=)\s*([^<>=\s]+))?")
_SIZE = re.compile(r"(\d{1,15})([kmg]?)b?", re.IGNORECASE)

Order = Callable[[str], Any]
"""A sort key of a version within its format. Raises Invalid for what is none there."""


class At(NamedTuple):
    """A package where it is; the query is held against it first."""

    workspace: str
    repository: str
    format: str
    name: str
    spelt: Callable[[str], str] = str
    """How the format spells what a name begins with."""
    upstream: str = ""
    """The name of the Upstream that knows it, "" for what was published here."""


class Known(Protocol):
    """What is looked up of a version only where a query asks for it, or an answer tells it."""

    def licenses(self) -> Sequence[str]: ...
    def architectures(self) -> Sequence[str]: ...
    def uploaders(self) -> Sequence[str]:
        """Id and name; none where the caller may not know."""
        ...

    def types(self) -> Sequence[str]: ...
    def distributions(self) -> Sequence[str]: ...
    def components(self) -> Sequence[str]: ...
    def dependencies(self) -> Sequence[Dependency]: ...
    def quarantined(self) -> bool: ...
    def prerelease(self) -> bool: ...
    def status(self) -> str:
        """One of STATUSES."""
        ...

    def downloads(self) -> int:
        """0 where nobody counts."""
        ...

    def last_downloaded_ms(self) -> int:
        """0 = never, and where nobody counts."""
        ...

    def shown(self) -> dict[str, object]:
        """What an answer tells of all that."""
        ...


class Held(NamedTuple):
    """One version of it with what was published as it; a package without versions is held with an empty one."""

    version: str
    tags: Sequence[str]
    files: Sequence[tuple[str, str]]
    """Names and hex sha256."""
    size_bytes: int
    at_ms: int
    known: Known | None = None


class Part(Protocol):
    """A part of a query. Without a version the answer is None where it depends on one."""

    def holds(self, at: At, held: Held | None, order: Order | None) -> bool | None: ...


class Term(NamedTuple):
    """`field` "" = the name. `op` "" = as the field does. Of a dependency `op` and `version` are about what it is
    wanted in, and `text` is its name."""

    field: str
    op: str
    text: str
    number: int = 0
    version: str = ""

    def holds(self, at: At, held: Held | None, order: Order | None) -> bool | None:
        if self.field == "name" and (typed := _beginning(self.text)):
            begin = at.spelt(typed)
            return at.name == begin if self.text.endswith("$") else at.name.startswith(begin)
        if self.field == "upstream":
            return bool(at.upstream) and matches("upstream", self.text, at.upstream)
        if self.field in PACKAGE_FIELDS:
            return matches(self.field, self.text, getattr(at, self.field))
        if held is None:
            return None
        if self.field == "version":
            return self.holds_version(held.version, order)
        if self.field == "dependency":
            return held.known is not None and self._holds_dependency(at, held.known, order)
        if self.field in LOOKED_UP:
            return held.known is not None and self._holds_known(held.known)
        if self.field == "tag":
            return any(matches("tag", self.text, one) for one in held.tags)
        if self.field == "filename":
            return any(matches("filename", self.text, name) for name, _ in held.files)
        if self.field == "checksum":
            return any(matches("checksum", self.text.removeprefix("sha256:"), one) for _, one in held.files)
        if self.field == "size":
            return _compared(self.op or "=", held.size_bytes, self.number)
        return self._holds_day(held.at_ms)

    def _holds_known(self, known: Known) -> bool:
        if self.field == "downloads":
            return _compared(self.op or "=", known.downloads(), self.number)
        if self.field == "last_downloaded":
            last_ms = known.last_downloaded_ms()
            return last_ms > 0 and self._holds_day(last_ms)
        if self.field in _FLAGS:
            found = known.quarantined() if self.field == "quarantined" else known.prerelease()
            return found is (self.number == 1)
        if self.field == "status":
            return known.status() == self.text
        told = {
            "license": known.licenses,
            "architecture": known.architectures,
            "uploader": known.uploaders,
            "type": known.types,
            "distribution": known.distributions,
            "component": known.components,
        }
        return any(matches(self.field, self.text, one) for one in told[self.field]())

    def _holds_dependency(self, at: At, known: Known, order: Order | None) -> bool:
        spelt = "" if set(self.text) & set("*?") else at.spelt(self.text)
        wanted, whole = Term("version", self.op, self.version), order and partial(_whole_order, order)
        for one in known.dependencies():
            if any(name == spelt or matches("dependency", self.text, name) for name in one.names) and (
                not self.version or any(wanted.holds_version(version, whole) for version in one.versions)
            ):
                return True
        return False

    def _holds_day(self, at_ms: int) -> bool:
        day = at_ms - at_ms % DAY_MS
        return _compared(self.op or "=", day, self.number)

    def holds_version(self, version: str, order: Order | None) -> bool:
        if not version:  # what was published without one
            return False
        if self.op in ("", "="):
            return matches("version", self.text, version)
        if order is None:
            return False
        try:
            mine, theirs = order(version), _whole_order(order, self.text)
            if self.op != "~=":
                return _compared(self.op, mine, theirs)
            return bool(mine >= theirs) and _same_release(version, self.text)
        except Invalid:
            return False


def _whole_order(order: Order, text: str) -> Any:
    """The sort key of a version as people write it; 2 is 2.0.0 to a format that wants it whole. Raises Invalid."""
    try:
        return order(text)
    except Invalid:
        if not _PART.fullmatch(text):
            raise
    return order(text + ".0" * (2 - text.count(".")))


class Not(NamedTuple):
    part: Part

    def holds(self, at: At, held: Held | None, order: Order | None) -> bool | None:
        found = self.part.holds(at, held, order)
        return None if found is None else not found


class All(NamedTuple):
    parts: tuple[Part, ...]

    def holds(self, at: At, held: Held | None, order: Order | None) -> bool | None:
        unknown = False
        for part in self.parts:
            found = part.holds(at, held, order)
            if found is False:
                return False
            unknown |= found is None
        return None if unknown else True


class Some(NamedTuple):
    parts: tuple[Part, ...]

    def holds(self, at: At, held: Held | None, order: Order | None) -> bool | None:
        unknown = False
        for part in self.parts:
            found = part.holds(at, held, order)
            if found:
                return True
            unknown |= found is None
        return None if unknown else False


def parse(text: str) -> Part:
    """The query that `text` is. Raises Invalid, and says where it went wrong."""
    if len(text) > QUERY_CHARS_MAX:
        raise Invalid(f"A query has at most {QUERY_CHARS_MAX} characters.", "Ask for less at once.")
    if not text.strip():
        return All(())
    reader = _Reader(_tokens(text))
    found = reader.query(0)
    if reader.at < len(reader.tokens):
        raise Invalid('The query has a ")" that nothing opened.', "Leave it out, or open it.")
    if not _all_apart(found):
        raise Invalid("What is deleted is found apart from what is there.", "Put status:deleted beside all the rest.")
    return found


def _all_apart(part: Part, *, top: bool = True) -> bool:
    """Does status:deleted, where it stands, have to hold for whatever the query finds?"""
    match part:
        case Term("status", _, text):
            return top or text != DELETED
        case Not(inner):
            return _all_apart(inner, top=False)
        case All(parts):
            return all(_all_apart(one, top=top and not isinstance(one, All)) for one in parts)
        case Some(parts):
            return all(_all_apart(one, top=False) for one in parts)
    return True


def wants_deleted(part: Part) -> bool:
    """Is it about what stands in the bins, and about nothing else?"""
    parts = part.parts if isinstance(part, All) else (part,)
    return any(isinstance(one, Term) and (one.field, one.text) == ("status", DELETED) for one in parts)


def fields_of(part: Part) -> set[str]:
    """The fields that it names anywhere."""
    match part:
        case Term(field):
            return {field}
        case Not(inner):
            return fields_of(inner)
        case All(parts) | Some(parts):
            return {field for one in parts for field in fields_of(one)}
    return set()


def beginning(part: Part) -> str:
    """How the name of whatever the query finds must begin, "" where that is not told: then all names are looked at."""
    if isinstance(part, Term) and part.field == "name":
        return _beginning(part.text)
    if isinstance(part, All):
        return max((beginning(one) for one in part.parts), key=len, default="")
    return ""


def version_terms(part: Part) -> list[Term]:
    """The terms about a version that must hold for whatever the query finds."""
    parts = part.parts if isinstance(part, All) else (part,)
    return [one for one in parts if isinstance(one, Term) and one.field == "version"]


def wants_upstreams(part: Part) -> bool:
    """Can it find what is not published here? Not where a term must hold that only files, tags or counts can meet."""
    parts = part.parts if isinstance(part, All) else (part,)
    return not any(
        isinstance(one, Term) and one.field in VERSION_FIELDS and one.field not in _HEARD_OF for one in parts
    )


def _beginning(pattern: str) -> str:
    plain = pattern[1:].removesuffix("$")
    return plain if pattern.startswith("^") and not set(plain) & set("*?") else ""


def matches(field: str, pattern: str, text: str) -> bool:
    """Is `text` what `pattern` means in this field? Names within, others whole; without regard to case."""
    pattern, text = pattern.lower(), text.lower()
    if field not in _WITHIN:
        return _wild(pattern, text)
    begins, ends = pattern.startswith("^"), pattern.endswith("$") and len(pattern) > 1
    pattern = pattern[1 if begins else 0 : -1 if ends else None]
    if not set(pattern) & set("*?"):
        if begins and ends:
            return pattern == text
        if begins or ends:
            return text.startswith(pattern) if begins else text.endswith(pattern)
        return pattern in text
    return _wild(pattern, text)


def _wild(pattern: str, text: str) -> bool:
    """Does `text` fit, with * for any characters and ? for one? Steps are at most the product of both lengths."""
    if not set(pattern) & set("*?"):
        return pattern == text
    at, put, star, mark = 0, 0, -1, 0
    while put < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, mark, at = at, put, at + 1
        elif at < len(pattern) and pattern[at] in ("?", text[put]):
            at, put = at + 1, put + 1
        elif star >= 0:
            mark += 1
            at, put = star + 1, mark
        else:
            return False
    return pattern[at:].strip("*") == ""


def _compared(op: str, mine: Any, theirs: Any) -> bool:
    if op == "=":
        return bool(mine == theirs)
    if op in (">=", "<="):
        return bool(mine >= theirs if op == ">=" else mine <= theirs)
    return bool(mine > theirs if op == ">" else mine < theirs)


def _same_release(version: str, least: str) -> bool:
    """All numbers but the last that `least` has are those of `version` (PEP 440, compatible release)."""
    kept = re.split(r"[.\-+]", least.split("-")[0])[:-1]
    return re.split(r"[.\-+]", version)[: len(kept)] == kept


class _Token(NamedTuple):
    kind: str
    field: str = ""
    op: str = ""
    text: str = ""


def _tokens(text: str) -> list[_Token]:
    found, at = [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise Invalid(f"The query cannot be read from character {at + 1} on.", 'Close what a " opens.')
        at = match.end()
        if match["paren"]:
            found.append(_Token(match["paren"]))
        elif match["not"]:
            found.append(_Token("NOT"))
        elif match["word"] in ("AND", "OR", "NOT") and not match["field"] and not match["op"]:
            found.append(_Token(match["word"]))
        elif match["phrase"] is None and _VALUELESS.fullmatch(match["word"]):  # nobody means "name:" or ">=" as a name
            found.append(_Token("term", match["field"] or match["word"].rstrip(":<>=~"), "", ""))
        else:
            word = match["phrase"] if match["phrase"] is not None else match["word"]
            found.append(_Token("term", match["field"] or "", match["op"] or "", word))
    return found


class _Reader:
    """Reads tokens from left to right."""

    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.terms = 0

    def next(self) -> str:
        return self.tokens[self.at].kind if self.at < len(self.tokens) else ""

    def query(self, depth: int) -> Part:
        if depth > DEPTH_MAX:
            raise Invalid(f"A query goes at most {DEPTH_MAX} deep.", "Use fewer parentheses.")
        parts = [self.either(depth)]
        while self.next() == "OR":
            self.at += 1
            parts.append(self.either(depth))
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def either(self, depth: int) -> Part:
        parts = [self.one(depth)]
        while self.next() not in ("", "OR", ")"):
            if self.next() == "AND":
                self.at += 1
            parts.append(self.one(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def one(self, depth: int) -> Part:
        kind = self.next()
        if depth > DEPTH_MAX:
            raise Invalid(f"A query goes at most {DEPTH_MAX} deep.", "Use fewer of NOT and parentheses.")
        if kind == "NOT":
            self.at += 1
            return Not(self.one(depth + 1))
        if kind == "(":
            self.at += 1
            found = self.query(depth + 1)
            if self.next() != ")":
                raise Invalid('The query has a "(" that nothing closes.', "Close it.")
            self.at += 1
            return found
        if kind != "term":
            raise Invalid(f"The query ends, or goes on with {kind or 'nothing'}, where a word must stand.", "Add one.")
        self.at += 1
        self.terms += 1
        if self.terms > TERMS_MAX:
            raise Invalid(f"A query has at most {TERMS_MAX} terms.", "Ask for less at once.")
        return _term(self.tokens[self.at - 1])


def _term(token: _Token) -> Term:
    field = token.field or "name"
    if field not in (*PACKAGE_FIELDS, *VERSION_FIELDS):
        known = ", ".join(sorted((*PACKAGE_FIELDS, *VERSION_FIELDS)))
        raise Invalid("The query names a field that there is none of.", f"One of {known}; put a phrase in quotes.")
    if token.op and field not in _COMPARED:
        raise Invalid(f"The field {field} is not compared.", f"These are: {', '.join(_COMPARED)}.")
    if token.op == "~=" and field != "version":
        raise Invalid("Only a version can be compatible with another.", "Use >= and <.")
    if not token.text or token.text in ("^", "$"):
        raise Invalid(f"The field {field} is given without a value.", "Add one.")
    if field == "size":
        size = _SIZE.fullmatch(token.text)
        if size is None:
            raise Invalid("This is no size.", "Write bytes, or a number with k, m or g.")
        return Term(field, token.op, token.text, int(size[1]) * _SIZES[size[2].lower()])
    if field in ("uploaded", "last_downloaded"):
        return Term(field, token.op, token.text, _day_ms(token.text))
    if field == "downloads":
        if not (token.text.isascii() and token.text.isdigit() and len(token.text) < 16):
            raise Invalid("This is no number of downloads.", "Write it in digits.")
        return Term(field, token.op, token.text, int(token.text))
    if field == "status":
        if token.text.lower() not in STATUSES:
            raise Invalid("There is no such status.", f"A version is one of {', '.join(STATUSES)}.")
        return Term(field, token.op, token.text.lower())
    if field == "dependency":
        said = _DEPENDENCY.fullmatch(token.text)
        if said is None:
            raise Invalid("This is no dependency.", "Write its name, and a version behind it: dependency:lib>=2.")
        return Term(field, said[2] or "", said[1], version=said[3] or "")
    if field in _FLAGS:
        if token.text.lower() not in ("true", "false"):
            raise Invalid(f"The field {field} is true or false.")
        return Term(field, token.op, token.text, int(token.text.lower() == "true"))
    return Term(field, token.op, token.text)


def _day_ms(text: str) -> int:
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError:
        raise Invalid("This is no date.", "Write it as YYYY-MM-DD.") from None
    return (day - datetime.date(1970, 1, 1)).days * DAY_MS
