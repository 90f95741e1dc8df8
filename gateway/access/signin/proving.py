"""Is somebody who says a name and a password that person? Asked at the origin alone.

The same is done for every name, known or not, and takes the same time; there is one refusal for all that can be wrong,
the code of a second factor among it, so that nobody learns from it what was right. Tries are counted before they are
looked at: by address, by name and address, and by name, whether there is such a name or not.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from math import ceil
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
import trio

from gateway.access.limits.rates import Bucket, Table, network_of
from gateway.access.names import is_slug
from gateway.access.signin.passwords import Passwords
from gateway.access.signin.vault import Vault
from gateway.config import SignIn as Limits
from storage.errors import TooMany, Unauthenticated
from storage.nouns import Account

TRIES_FILE = "signin-tries"
_log = logging.getLogger("entrepot.signin")


class Names(Protocol):
    """What of a Reading is needed."""

    def account_named(self, kind: str, workspace: str, name: str) -> Account | None: ...


class Readable(Protocol):
    def read(self) -> AbstractContextManager[Names]: ...


class Proof(NamedTuple):
    """Who it is, and by what that was shown."""

    account: Account
    method: str


class Tries:
    """How many more tries there are in a window; of all workers of a node together (rates.Table)."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._table = Table(path, limits.tries_seconds)
        self._limits = limits

    def spend(self, peer: str, name: str) -> None:
        """Count one. Raises TooMany where one of the limits is reached; then it counts for none."""
        limits, network = self._limits, network_of(peer)
        self._take(
            [
                Bucket("address", network, limits.address_tries_max),
                Bucket("name at address", f"{network} {name}", limits.name_tries_max),
                Bucket("name", name, limits.name_tries_everywhere_max),
            ]
        )

    def spend_code(self, account: str) -> None:
        """Count a guess at another program's code."""
        self._take([Bucket("code", account, self._limits.name_tries_max)])

    def spend_login(self, peer: str) -> None:
        """Count a program that asks to be let in."""
        self._take([Bucket("login", network_of(peer), self._limits.address_tries_max)])

    def _take(self, buckets: list[Bucket]) -> None:
        wait_s = max(self._table.take(one, spend=False).wait_s for one in buckets)
        if wait_s:
            raise TooMany("Too many tries.", "Wait a while.", retry_after_s=max(1, ceil(wait_s)))
        for one in buckets:
            self._table.take(one)


class SigningIn:
    """For one worker of an origin."""

    def __init__(
        self,
        vault: Vault,
        passwords: Passwords,
        tries: Tries,
        catalog: Readable,
        limits: Limits,
        now_ms: Callable[[], int],
    ) -> None:
        self.vault, self.passwords, self.tries, self.limits = vault, passwords, tries, limits
        self._catalog, self._now_ms = catalog, now_ms

    async def prove(self, name: str, password: str, code: str, peer: str) -> Proof:
        """Raises Unauthenticated, TooMany, Unavailable."""
        name = name.strip().lower()
        self.tries.spend(peer, name[:200])
        account = self._account(name)
        proof = await self._shown(account, password, code)
        if proof is None:
            _log.warning("a sign-in was refused, for the name %.80r from %s", name, peer or "somewhere")
            raise refused()
        return proof

    async def prove_beside(self, name: str, password: str, holder: str, peer: str) -> Proof:
        """Beside a password a passkey was shown, of the Account `holder`; "" = none that is any good. Raises as
        `prove` does."""
        name = name.strip().lower()
        self.tries.spend(peer, name[:200])
        account = self._account(name)
        if not await self._is_password(account, password) or account is None or account.id != holder:
            _log.warning("a sign-in was refused, for the name %.80r from %s", name, peer or "somewhere")
            raise refused()
        return Proof(account, "password and passkey")

    async def check_password(self, account: Account, password: str, peer: str) -> None:
        """Somebody who is signed in shows the password again. Raises Unauthenticated, TooMany, Unavailable."""
        self.tries.spend(peer, account.name)
        if not await self._is_password(account, password):
            raise Unauthenticated("This is not your password.", "Type it again.")

    async def _shown(self, account: Account | None, password: str, code: str) -> Proof | None:
        if not await self._is_password(account, password):
            return None
        assert account is not None
        if not needs_more(account):
            return Proof(account, "password")
        second = await trio.to_thread.run_sync(self._second, account, code)
        return Proof(account, f"password and {second}") if second else None

    def _second(self, account: Account, code: str) -> str:
        """What was shown beside the password, and is spent now; "" for nothing that is any good."""
        if self.vault.spend(account.id, account.device_ms, code, self._now_ms() / 1000):
            return "totp"
        return "recovery" if self.vault.spend_recovery(account.id, account.recovery_ms, code) else ""

    async def _is_password(self, account: Account | None, password: str) -> bool:
        hash = self.vault.password(account.id, account.password_ms) if account is not None else ""
        right = await self.passwords.verify(hash, password)
        if right and account is not None and self.passwords.outdated(hash):
            fresh = await self.passwords.hash(password)
            await trio.to_thread.run_sync(self.vault.put_password, account.id, account.password_ms, fresh)
        return right

    def _account(self, name: str) -> Account | None:
        with self._catalog.read() as reading:
            return reading.account_named("user", "", name) if is_slug(name) else None


def needs_more(account: Account) -> bool:
    """Is the password alone not enough? A recovery code stands in for a passkey, as for a one-time code."""
    return bool(account.device_ms or account.passkeys)


def settled(account: Account) -> Account:
    """The Account without recovery codes, where there is nothing that they could stand in for."""
    return account if needs_more(account) else msgspec.structs.replace(account, recovery_ms=0)


def refused() -> Unauthenticated:
    """The one refusal."""
    return Unauthenticated(
        "This is not right.",
        "Check the name, the password and, if you have set one up, the one-time code, recovery code or passkey.",
    )
