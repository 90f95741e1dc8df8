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
from typing import NamedTuple

from gateway.queries.fields import COMPARED, DELETED, FLAGS, PACKAGE_FIELDS, STATUSES, VERSION_FIELDS, Part
from gateway.queries.terms import DAY_MS, All, Not, Some, Term
from storage.errors import Invalid

TERMS_MAX = 50
DEPTH_MAX = 10
QUERY_CHARS_MAX = 500
_SIZES = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}

_TOKEN = re.compile(
    r"\s*(?:(?P<paren>[()])|(?P<not>-(?=[^\s]))|"
    r'(?:(?P<field>[a-z_]+):)?(?P<op>>=|<=|~=|>|<|=)?(?:"(?P<phrase>[^"]*)"|(?P<word>[^\s()"]+)))'
)
_VALUELESS = re.compile(r"[a-z_]+:|[<>~]?=|[<>]")
_DEPENDENCY = re.compile(r"([^<>=~\s]+)\s*(?:(>=|<=|~=|>|<|=)\s*([^<>=\s]+))?")
_SIZE = re.compile(r"(\d{1,15})([kmg]?)b?", re.IGNORECASE)


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
    if token.op and field not in COMPARED:
        raise Invalid(f"The field {field} is not compared.", f"These are: {', '.join(COMPARED)}.")
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
    if field in FLAGS:
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
