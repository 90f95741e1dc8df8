"""What can go wrong, named for what the caller may conclude from it.

Every layer raises these; the room of a format says them in its client's own dialect, and `gateway/front.py` alone
turns them into answers. A bug is an assertion or an unexpected exception, never a Problem.
"""

TYPES = "/-/problems/"
"""Each kind of problem has an address, at every node, where it is explained: this and its code."""


class Problem(Exception):
    """Something the client can be told. `message` says what happened, `remedy` what to do about it.

    Neither may hold a secret: both reach the client and the log.
    """

    status = 500
    code = "problem"
    fields: tuple[tuple[str, str], ...] = ()
    """Headers that say more of it, in whatever dialect it is told."""

    def __init__(self, message: str, remedy: str = "", *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.retry_after_s = retry_after_s

    def text(self) -> str:
        """One line for clients that show a line: what happened, then what to do."""
        return f"{self.message} {self.remedy}".strip()

    def document(self) -> dict[str, object]:
        """The problem details (RFC 9457) that are said wherever no tool's dialect wants another form: `code` is for
        programs, `remedy` for people."""
        told: dict[str, object] = {
            "type": f"{TYPES}{self.code}",
            "title": type(self).__name__,
            "status": self.status,
            "code": self.code,
            "detail": self.message,
        }
        if self.remedy:
            told["remedy"] = self.remedy
        return told


class Invalid(Problem):
    """The request or the package is malformed; sending it again unchanged fails again."""

    status, code = 400, "invalid"


NOTHING_SHOWN = "This needs a token."
"""Who showed none is told so, everywhere in the same words."""


class Unauthenticated(Problem):
    """No credential, or one that is unknown, expired or revoked."""

    status, code = 401, "unauthenticated"


class Forbidden(Problem):
    """The credential is good, and does not allow this."""

    status, code = 403, "forbidden"


class Absent(Problem):
    """There is no such thing, or none that this principal may know of."""

    status, code = 404, "absent"


class MethodRefused(Problem):
    """This address exists and has no such method."""

    status, code = 405, "method-refused"


class Conflict(Problem):
    """What is there already forbids this: an immutable version with other bytes, a name that is taken."""

    status, code = 409, "conflict"


class PreconditionFailed(Problem):
    """The client's own condition (If-Match, If-None-Match) does not hold."""

    status, code = 412, "precondition-failed"


class TooLarge(Problem):
    """Over a limit; the message names the limit."""

    status, code = 413, "too-large"


class Unsupported(Problem):
    """Understood, and not offered: a media type, an encoding, an option."""

    status, code = 415, "unsupported"


class KeyReused(Problem):
    """Another request came with this Idempotency-Key before."""

    status, code = 422, "key-reused"


class StillRunning(Conflict):
    """A request with this Idempotency-Key is being worked on."""

    code = "still-running"


class RangeRefused(Problem):
    """The range or offset asked for is not there."""

    status, code = 416, "range-refused"


class TooMany(Problem):
    """Over a rate or a budget; `retry_after_s` tells when to come back."""

    status, code = 429, "too-many"


class Damaged(Problem):
    """Stored bytes do not match their checksum. Never served; the operator is told."""

    status, code = 500, "damaged"


class UpstreamFailed(Problem):
    """A foreign registry, or our origin, did not answer or answered something that cannot be trusted."""

    status, code = 502, "upstream-failed"


class Unavailable(Problem):
    """Not now; the same request may well succeed later."""

    status, code = 503, "unavailable"


class NotKept(Problem):
    """It was asked for only if it is kept here (only-if-cached), and it is not."""

    status, code = 504, "not-kept"


class OverQuota(Problem):
    """It would exceed what a Workspace or Repository may hold. Reads and deletions go on (RFC 4331 section 6)."""

    status, code = 507, "over-quota"


class Full(Problem):
    """No room on the disk. Reads go on."""

    status, code = 507, "full"
