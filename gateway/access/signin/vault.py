"""Where does an origin keep what people sign in with? In a folder of its own that no edge ever sees.

The journal goes to every edge and is never erased, so hashes of passwords, secrets of devices and logins that wait are
no part of it. They lie in `signin/` (0700) in the origin's data directory, which a backup takes along by itself.

What counts is what the journal says: an Account tells when its password, its device and its recovery codes were set,
and only the row that was made for that moment is looked at. So a change is written here first, and is true with the
entry; what was left by one that broke off means nothing, and goes with the next (no half state).

    passwords  account id, NUL, set (u64 ms, big-endian)  -> hash
    devices    account id, NUL, set (u64 ms, big-endian)  -> Device
    recovery   account id, NUL, set (u64 ms, big-endian)  -> sha256 of each recovery code that is left
    logins     sha256 of the code (32 bytes)              -> logins.Login
    by_user    user code                                  -> sha256 of the device code
    answered   its end (u64 ms), challenge of a passkey   -> nothing
    seals      what it seals                              -> key (32 bytes)

Beside them lie those who were vouched for and are not in yet (`arrivals.py`), and by what their providers know those
who are (`leaving.py`).
"""

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import msgspec

from gateway.access.signin.arrivals import Arrivals
from gateway.access.signin.leaving import Subjects
from gateway.access.signin.logins import Login
from gateway.access.signin.onetime import recovery_hash, step_of
from storage.errors import Damaged, Unavailable

FOLDER = "signin"
MAP_BYTES = 4 << 30
LOGINS_MAX = 10_000
SEAL_BYTES = 32
CHALLENGES = b"challenges"
_LOGIN = msgspec.msgpack.Decoder(Login)
Table = lmdb._Database
type Txn = lmdb.Transaction[bytes]


class Device(msgspec.Struct, frozen=True, array_like=True):
    """What shows one-time codes: its secret (base32), the last step that was taken."""

    secret: str
    spent: int = 0

    def __repr__(self) -> str:
        return "Device(hidden)"


_DEVICE = msgspec.msgpack.Decoder(Device)
_HASHES = msgspec.msgpack.Decoder(tuple[bytes, ...])


class Vault:
    """One origin's. Synchronous; what writes waits for the disk: call it in a thread."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.chmod(path, 0o700)
        self._env = lmdb.open(str(path), map_size=MAP_BYTES, max_dbs=16, max_readers=256, readahead=False, mode=0o600)
        with self._env.begin(write=True) as txn:
            self._passwords = self._env.open_db(b"passwords", txn=txn)
            self._devices = self._env.open_db(b"devices", txn=txn)
            self._recovery = self._env.open_db(b"recovery", txn=txn)
            self._logins = self._env.open_db(b"logins", txn=txn)
            self._by_user = self._env.open_db(b"by_user", txn=txn)
            self._answered = self._env.open_db(b"answered", txn=txn)
            seals = self._env.open_db(b"seals", txn=txn)
            if txn.get(CHALLENGES, db=seals) is None:
                txn.put(CHALLENGES, secrets.token_bytes(SEAL_BYTES), db=seals)
            self.seal = bytes(txn.get(CHALLENGES, db=seals) or b"")
            """Seals the challenges of passkeys, and what providers are asked."""
            self.arrivals = Arrivals(self._env, txn)
            self.subjects = Subjects(self._env, txn)

    def __repr__(self) -> str:
        return "<Vault>"

    def close(self) -> None:
        self._env.close()

    # ------------------------------------------------------------ passwords

    def password(self, account: str, set_ms: int) -> str:
        """The hash of the password that was set at this moment; "" for none."""
        with self._env.begin() as txn:
            found = txn.get(_key(account, set_ms), db=self._passwords) if set_ms else None
        return "" if found is None else bytes(found).decode()

    def put_password(self, account: str, set_ms: int, hash: str) -> None:
        """Keep a hash for the moment at which it will count, or in the place of the one that does."""
        self._put(self._passwords, _key(account, set_ms), hash.encode())

    # ------------------------------------------------------------ devices

    def device(self, account: str, set_ms: int) -> Device | None:
        with self._env.begin() as txn:
            found = txn.get(_key(account, set_ms), db=self._devices) if set_ms else None
        return None if found is None else _decoded(_DEVICE, found)

    def put_device(self, account: str, set_ms: int, device: Device) -> None:
        """Keep a device for the moment at which it will count."""
        self._put(self._devices, _key(account, set_ms), msgspec.msgpack.encode(device))

    def spend(self, account: str, set_ms: int, code: str, now_s: float) -> bool:
        """Take a one-time code; False for what is none, or was taken before."""
        key = _key(account, set_ms)
        with self._env.begin(write=True) as txn:
            found = txn.get(key, db=self._devices) if set_ms else None
            if found is None:
                return False
            device = _decoded(_DEVICE, found)
            step = step_of(device.secret, code, now_s, device.spent)
            if step is not None:
                txn.put(key, msgspec.msgpack.encode(msgspec.structs.replace(device, spent=step)), db=self._devices)
            return step is not None

    # ------------------------------------------------------------ recovery codes

    def put_recovery(self, account: str, set_ms: int, hashes: tuple[bytes, ...]) -> None:
        """Keep codes for the moment at which they will count."""
        self._put(self._recovery, _key(account, set_ms), msgspec.msgpack.encode(hashes))

    def recovery_left(self, account: str, set_ms: int) -> int:
        """How many codes there are to use."""
        with self._env.begin() as txn:
            found = txn.get(_key(account, set_ms), db=self._recovery) if set_ms else None
        return 0 if found is None else len(_decoded(_HASHES, found))

    def spend_recovery(self, account: str, set_ms: int, code: str) -> bool:
        """Take a recovery code, which is good for nothing from then on; False for what is none (any more)."""
        key, hash = _key(account, set_ms), recovery_hash(code)
        with self._env.begin(write=True) as txn:
            found = txn.get(key, db=self._recovery) if set_ms else None
            left = () if found is None else _decoded(_HASHES, found)
            if hash is None or hash not in left:
                return False
            txn.put(key, msgspec.msgpack.encode(tuple(one for one in left if one != hash)), db=self._recovery)
            return True

    def forget_before(self, account: str, password_ms: int, device_ms: int, recovery_ms: int) -> None:
        """What counted before these, or never did, goes; 0 = it all goes."""
        told = ((self._passwords, password_ms), (self._devices, device_ms), (self._recovery, recovery_ms))
        with self._env.begin(write=True) as txn:
            for table, set_ms in told:
                for key in list(_keys(txn, table, account.encode() + b"\0")):
                    if not set_ms or key < _key(account, set_ms):
                        txn.delete(key, db=table)

    # ------------------------------------------------------------ challenges of passkeys

    def spend_challenge(self, challenge: bytes, ends_ms: int, now_ms: int) -> bool:
        """Take the answer to a challenge that is good until `ends_ms`; False for one that was answered before."""
        key = ends_ms.to_bytes(8) + challenge
        with self._env.begin(write=True) as txn:
            for old in list(_keys(txn, self._answered, b"")):
                if int.from_bytes(old[:8]) >= now_ms:
                    break
                txn.delete(old, db=self._answered)
            return txn.put(key, b"", overwrite=False, db=self._answered)

    # ------------------------------------------------------------ logins of programs

    def add_login(self, code: bytes, login: Login, now_ms: int) -> None:
        """Raises Unavailable where too many wait."""
        with self._env.begin(write=True) as txn:
            if txn.stat(self._logins)["entries"] >= LOGINS_MAX:
                self._purge(txn, now_ms)
            if txn.stat(self._logins)["entries"] >= LOGINS_MAX:
                raise Unavailable("Too many programs wait for a login.", "Try again later.", retry_after_s=60)
            txn.put(code, msgspec.msgpack.encode(login), db=self._logins)
            if login.user_code:
                txn.put(login.user_code.encode(), code, db=self._by_user)

    def login_of(self, user_code: str) -> tuple[bytes, Login] | None:
        """The login that shows this code to its user."""
        with self._env.begin() as txn:
            code = txn.get(user_code.encode("utf-8", "replace")[:64], db=self._by_user) if user_code else None
            found = None if code is None else txn.get(code, db=self._logins)
            return None if code is None or found is None else (bytes(code), _decoded(_LOGIN, found))

    def change_login[T](self, code: bytes, edit: Callable[[Login | None], tuple[Login | None, T]]) -> T:
        """Replace a login by what `edit` makes of it, None = drop it, and give back what that says beside. Alone."""
        with self._env.begin(write=True) as txn:
            found = txn.get(code, db=self._logins)
            before = None if found is None else _decoded(_LOGIN, found)
            after, told = edit(before)
            if after is not None and after != before:
                txn.put(code, msgspec.msgpack.encode(after), db=self._logins)
            elif after is None and before is not None:
                self._drop(txn, code, before)
            return told

    # ------------------------------------------------------------ steps

    def _put(self, table: Table, key: bytes, value: bytes) -> None:
        with self._env.begin(write=True) as txn:
            txn.put(key, value, db=table)

    def _purge(self, txn: Txn, now_ms: int) -> None:
        """All whose time has passed."""
        over = []
        with txn.cursor(db=self._logins) as cursor:
            for code, value in cursor:
                login = _decoded(_LOGIN, value)
                if login.ends_ms <= now_ms:
                    over.append((bytes(code), login))
        for code, login in over:
            self._drop(txn, code, login)

    def _drop(self, txn: Txn, code: bytes, login: Login) -> None:
        txn.delete(code, db=self._logins)
        if login.user_code:
            txn.delete(login.user_code.encode(), db=self._by_user)


def _keys(txn: Txn, table: Table, prefix: bytes) -> Iterator[bytes]:
    with txn.cursor(db=table) as cursor:
        if cursor.set_range(prefix):
            for key in cursor.iternext(values=False):
                if not bytes(key).startswith(prefix):
                    return
                yield bytes(key)


def _key(account: str, set_ms: int) -> bytes:
    return account.encode() + b"\0" + set_ms.to_bytes(8)


def _decoded[T](decoder: msgspec.msgpack.Decoder[T], value: bytes) -> T:
    try:
        return decoder.decode(value)
    except msgspec.MsgspecError:
        raise Damaged("What people sign in with cannot be read.", "Restore the folder signin from a copy.") from None
