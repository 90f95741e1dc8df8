"""Is this the password? Asked in a few threads, so that a flood of sign-ins costs the node a core's share and no more.

argon2id with the parameters of the configuration; the defaults are those that OWASP's cheat sheet on password storage
names first for little memory (19 MiB, two passes, one lane). A hash says with which it was made, so one that was made
with others is known, and made anew when its password is shown next.

Where there is no such account, or none with a password, one is hashed all the same: the answer takes the same time (C:
no oracle of accounts). So many wait and no more; who comes then is told to come back.
"""

import unicodedata
from collections.abc import Callable

import trio
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gateway.config import SignIn as Limits
from storage.errors import Invalid, Unavailable

CHARS_MIN = 12
CHARS_MAX = 256
THREADS = 1
WAITING_MAX = 32
KINDS_MIN = 5
"""Different characters in a password, at least."""


def prepared(text: str) -> str:
    """The password as it is hashed: the same characters, however a keyboard composes them (RFC 8265 section 4.2)."""
    return unicodedata.normalize("NFC", text)


def check_choice(text: str, name: str) -> None:
    """May somebody choose this password? Its length is what counts (NIST SP 800-63B section 3.1.1). Raises Invalid."""
    if not CHARS_MIN <= len(prepared(text)) <= CHARS_MAX:
        raise Invalid(f"A password has {CHARS_MIN} to {CHARS_MAX} characters.", "Several words make a good one.")
    if len(set(text)) < KINDS_MIN or (len(name) > 2 and name.lower() in text.lower()):
        raise Invalid("This password is guessed too easily.", "Leave out your name, and use different characters.")


class Passwords:
    """Hashing and comparing, for one worker."""

    def __init__(self, limits: Limits) -> None:
        self._hasher = PasswordHasher(
            time_cost=limits.password_passes,
            memory_cost=limits.password_memory_kib,
            parallelism=limits.password_lanes,
        )
        self._threads: trio.CapacityLimiter | None = None
        self._nobodys = ""

    def __repr__(self) -> str:
        return "<Passwords>"

    async def hash(self, text: str) -> str:
        """Raises Unavailable where too many wait."""
        return await self._aside(self._hasher.hash, prepared(text))

    async def verify(self, hash: str, text: str) -> bool:
        """Is `hash` that of this password? With "" it takes as long, and is none. Raises Unavailable."""
        return await self._aside(self._same, hash, prepared(text[: 4 * CHARS_MAX]))

    def outdated(self, hash: str) -> bool:
        """Was it made with other parameters than are configured?"""
        return self._hasher.check_needs_rehash(hash)

    def _same(self, hash: str, text: str) -> bool:
        if not self._nobodys:
            self._nobodys = self._hasher.hash("nobody's")
        try:
            return self._hasher.verify(hash or self._nobodys, text) and bool(hash)
        except (VerificationError, InvalidHashError):
            return False

    async def _aside[T, *Ts](self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        if self._threads is None:
            self._threads = trio.CapacityLimiter(THREADS)
        if self._threads.statistics().tasks_waiting >= WAITING_MAX:
            raise Unavailable("Too many sign in at this moment.", "Try again.", retry_after_s=3)
        return await trio.to_thread.run_sync(work, *args, limiter=self._threads)
