"""Does a flood of passwords cost the node a few threads and no more? Does a wrong name cost as much as a right one?"""

import threading

import pytest
import trio

from gateway.access.signin.passwords import CHARS_MIN, THREADS, WAITING_MAX, Passwords, check_choice
from gateway.config import SignIn
from storage.errors import Invalid, Unavailable

CHEAP = SignIn(password_memory_kib=64, password_passes=1)


class Slow:
    """A hasher that goes on when it is told to, and counts."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.running = 0
        self.most = 0
        self._lock = threading.Lock()

    def hash(self, text: str) -> str:
        return "made"

    def verify(self, hash: str, text: str) -> bool:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.go.wait(30)
        with self._lock:
            self.running -= 1
        return True


async def test_c_a_flood_of_sign_ins_waits_in_a_short_line_and_the_loop_goes_on() -> None:
    passwords, slow = Passwords(CHEAP), Slow()
    passwords._hasher = slow  # type: ignore[assignment]
    told: list[bool] = []
    refused: list[int | None] = []

    async def try_one() -> None:
        try:
            told.append(await passwords.verify("hash", "text"))
        except Unavailable as problem:
            refused.append(problem.retry_after_s)

    turns = 0
    async with trio.open_nursery() as nursery:
        for _ in range(THREADS + WAITING_MAX + 20):
            nursery.start_soon(try_one)
        while len(refused) < 20:
            turns += 1
            await trio.lowlevel.checkpoint()
        assert told == [], "nothing has come back, and the loop has turned meanwhile"
        slow.go.set()
    assert len(told) == THREADS + WAITING_MAX
    assert refused == [3] * 20
    assert slow.most <= THREADS
    assert turns > 0


async def test_c_a_hash_is_made_for_whom_nobody_knows() -> None:
    passwords = Passwords(CHEAP)
    hash = await passwords.hash("correct horse battery")
    verified: list[str] = []
    hasher = passwords._hasher

    class Counting:
        def hash(self, text: str) -> str:
            return hasher.hash(text)

        def verify(self, hash: str, text: str) -> bool:
            verified.append(hash)
            return hasher.verify(hash, text)

    passwords._hasher = Counting()  # type: ignore[assignment]
    assert await passwords.verify(hash, "correct horse battery")
    assert not await passwords.verify(hash, "wrong")
    assert not await passwords.verify("", "wrong")
    assert not await passwords.verify("", "nobody's")
    assert not await passwords.verify("broken", "wrong")
    assert len(verified) == 5, "each costs one hash, whatever is wrong"
    costs = {one.rpartition("$")[0].rpartition("$")[0] for one in verified if one.startswith("$")}
    assert costs == {"$argon2id$v=19$m=64,t=1,p=1"}, "with the same parameters"


async def test_the_defaults_are_what_owasp_names() -> None:
    hash = await Passwords(SignIn()).hash("correct horse battery")
    assert hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_a_password_is_the_same_however_it_was_composed() -> None:
    passwords = Passwords(CHEAP)
    assert await passwords.verify(
        await passwords.hash("caf\u00e9 caf\u00e9 caf\u00e9"), "cafe\u0301 cafe\u0301 cafe\u0301"
    )


@pytest.mark.parametrize("text", ["", "x" * (CHARS_MIN - 1), "abababababababab", "x" * 300, "I am ANN of course"])
def test_what_is_guessed_easily_is_not_taken(text: str) -> None:
    with pytest.raises(Invalid):
        check_choice(text, "ann")
    check_choice("correct horse battery", "ann")
