"""Does a version hold against a query? What depends on a version that was not looked at yet says that it does."""

import re
from functools import partial
from typing import Any, NamedTuple

from gateway.queries.fields import FLAGS, LOOKED_UP, PACKAGE_FIELDS, At, Held, Known, Order, Part
from gateway.queries.patterns import compared, matches, same_release
from storage.errors import Invalid

DAY_MS = 24 * 3600 * 1000
_PART = re.compile(r"\d{1,9}(\.\d{1,9})?")


class Term(NamedTuple):
    """`field` "" = the name. `op` "" = as the field does. Of a dependency `op` and `version` are about what it is
    wanted in, and `text` is its name."""

    field: str
    op: str
    text: str
    number: int = 0
    version: str = ""

    def holds(self, at: At, held: Held | None, order: Order | None) -> bool | None:
        if self.field == "name" and (typed := beginning_of(self.text)):
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
            return compared(self.op or "=", held.size_bytes, self.number)
        return self._holds_day(held.at_ms)

    def _holds_known(self, known: Known) -> bool:
        if self.field == "downloads":
            return compared(self.op or "=", known.downloads(), self.number)
        if self.field == "last_downloaded":
            last_ms = known.last_downloaded_ms()
            return last_ms > 0 and self._holds_day(last_ms)
        if self.field in FLAGS:
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
        return compared(self.op or "=", day, self.number)

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
                return compared(self.op, mine, theirs)
            return bool(mine >= theirs) and same_release(version, self.text)
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


def beginning_of(pattern: str) -> str:
    """How a name must begin that `pattern` fits, "" = that is not told."""
    plain = pattern[1:].removesuffix("$")
    return plain if pattern.startswith("^") and not set(plain) & set("*?") else ""
