"""Is a thing still what the caller believes it to be? ETags and the conditions on them (RFC 9110, section 13).

The ETag of a thing is a hash of all that is shown of it, so it tells nobody anything that he was not shown (B10). For a
change the conditions are judged under the write lock, on the same reading that the change is decided on: of two that
were made from one state, one alone can come first.
"""

import base64
import re

import msgspec

from storage.digest import sha256
from storage.errors import Invalid, PreconditionFailed

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
TAGS_MAX = 100


def etag_of(shown: object) -> str:
    """The strong ETag of what is shown."""
    return '"' + base64.urlsafe_b64encode(sha256(msgspec.json.encode(shown))[:15]).decode() + '"'


class Tags:
    """The value of an If-Match or If-None-Match. Raises Invalid."""

    def __init__(self, value: str) -> None:
        self.any = value.strip() == "*"
        parts = [] if self.any else [part.strip() for part in value.split(",") if part.strip()]
        found = [_TAG.fullmatch(part) for part in parts]
        if len(parts) > TAGS_MAX or not (self.any or parts) or not all(found):
            raise Invalid("An ETag in If-Match or If-None-Match cannot be read.", 'Send it as it was given: "...".')
        self._strong = {one[0] for one in found if one is not None and not one[1]}
        self._weak = {f'"{one[2]}"' for one in found if one is not None}

    def match(self, etag: str, *, weak: bool = False) -> bool:
        """`etag` "" = there is nothing."""
        return bool(etag) and (self.any or etag in (self._weak if weak else self._strong))


class Conditions:
    """What must hold for a change. `if_match` and `if_none_match` are the headers, "" = not there."""

    def __init__(self, if_match: str, if_none_match: str) -> None:
        self._match = Tags(if_match) if if_match else None
        self._none = Tags(if_none_match) if if_none_match else None

    def __bool__(self) -> bool:
        return self._match is not None or self._none is not None

    def check(self, etag: str) -> None:
        """Raises PreconditionFailed; `etag` "" = there is nothing."""
        if self._match is not None and not self._match.match(etag):
            raise PreconditionFailed(
                "This is not as it was when you looked." if etag else "There is nothing here with such an ETag.",
                "Get it anew, and make your change to what is there now.",
            )
        if self._none is not None and self._none.match(etag, weak=True):
            raise PreconditionFailed("There is something here already.", "Get it, and change that with If-Match.")
