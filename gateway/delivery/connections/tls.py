"""How do thousands of TLS connections share one pair of buffers without ever seeing each other's bytes?

Every SSLObject of the process points at the same two MemoryBIOs: one send() then carries all the records of what was
written at once, and an idle connection keeps no buffer. The law: both BIOs are empty whenever a connection is left.
`open` and `seal` are the only ways in; each moves what came out to the connection it belongs to before it returns, and
where bytes are left over it empties both and raises, so that the connection is closed.
"""

import hashlib
import ssl
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate

from gateway.delivery.connections.connection import Connection

RECORD_BYTES = 16 << 10
FIRST_RECORD_BYTES = 4 << 10
"""A record is opened whole: one of 16 KB does not fit into what TCP sends at first on a fresh or a rested connection
(ten segments), and the first byte would come a round trip later."""
HEAD_BYTES = 960  # see reactor
ROOM_BYTES = 256 << 10
CROWDED_ROOM_BYTES = 32 << 10


class Seal:
    """The shared BIO pair, and a buffer in which plaintext is gathered before it is sealed."""

    def __init__(self) -> None:
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self.room = memoryview(bytearray(ROOM_BYTES))

    @property
    def is_empty(self) -> bool:
        """The law."""
        return not (self._in.pending or self._out.pending)

    def wrap(self, context: ssl.SSLContext) -> ssl.SSLObject:
        """The server side of a new connection."""
        return context.wrap_bio(self._in, self._out, server_side=True)

    def open(self, c: Connection, data: bytes) -> bytes:
        """The plaintext in `data`, after a handshake step where one is due. What is to be sent goes to `c.pend`.

        ssl.SSLError where the peer breaks TLS; then `c.pend` ends with the alert for it.
        """
        assert c.tls is not None
        tls, parts = c.tls, []
        self._in.write(data)
        try:
            if c.shaking:
                tls.do_handshake()
                c.shaking = False
                if (certificate := tls.getpeercert(binary_form=True)) is not None:
                    c.key = key_hash(load_der_x509_certificate(certificate).public_key())
            asked = HEAD_BYTES
            while part := tls.read(asked):  # at most one record
                parts.append(part)
                if len(part) < asked and not self._in.pending:
                    break
                asked = RECORD_BYTES
            else:
                c.ended = True
        except ssl.SSLWantReadError:
            self._check()
        finally:
            if self._out.pending:
                self._take_out(c)
            if self._in.pending:
                self._in.read()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def open_head(self, c: Connection, data: bytes) -> bytes:
        """As `open`, for a connection that has shaken hands, quicker where `data` is one small record."""
        assert c.tls is not None
        self._in.write(data)
        try:
            part = c.tls.read(HEAD_BYTES)
        except ssl.SSLError:
            return self.open(c, b"")  # asked again, it fails or waits again
        if part and len(part) < HEAD_BYTES and not (self._in.pending or self._out.pending):
            return part
        return part + self.open(c, b"")

    def receive(self, c: Connection, size: int) -> bytes:
        """The next plaintext from the socket, b"" at its end. BlockingIOError where there is none yet, or OSError."""
        while True:
            data = c.recv(size)
            if not data:
                return b""
            plain = self.open(c, data)
            if plain or c.ended:
                return plain

    def seal(self, c: Connection, data: memoryview | bytes) -> None:
        """Appends `data` as records to `c.pend`."""
        assert c.tls is not None
        try:
            if len(data) >= RECORD_BYTES:
                c.tls.write(data[:FIRST_RECORD_BYTES])
                data = data[FIRST_RECORD_BYTES:]
            c.tls.write(data)
        finally:
            self._take_out(c)
        self._check()

    def sealed(self, c: Connection, data: bytes) -> bytes:
        """The records of a small answer, where nothing else waits to be sent."""
        assert c.tls is not None
        c.tls.write(data)
        return self._out.read()

    def goodbye(self, c: Connection) -> None:
        """Appends the close_notify to `c.pend`."""
        assert c.tls is not None
        try:
            c.tls.unwrap()
        except ssl.SSLError:
            pass  # the peer's own goodbye is not waited for
        finally:
            self._take_out(c)
            self._in.read()

    def _take_out(self, c: Connection) -> None:
        if self._out.pending:
            data = self._out.read()
            c.pend = bytes(c.pend) + data if c.pend else data

    def _check(self) -> None:
        """What OpenSSL has not taken belongs to nobody any more: the connection cannot go on."""
        if self._in.pending:
            self._in.read()
            raise ssl.SSLError("bytes were left over in the shared buffers")


class Certificates:
    """Certificates by host name: (name, chain file, key file). "*.example" serves one label more; the first is default.

    `context` is what listeners use; the right certificate is chosen by SNI. `reload` reads all files again and keeps
    what was there where a file is broken. Session tickets are this process's own: a client resumes at the worker that
    gave it the ticket.
    """

    def __init__(self, listed: Sequence[tuple[str, str | Path, str | Path]]) -> None:
        if not listed:
            raise ValueError("TLS needs at least one certificate")
        self._listed = list(listed)
        self._contexts: dict[str, ssl.SSLContext] = {}
        self.context = self._load(*self._listed[0][1:])
        self.context.sni_callback = self._choose
        self._contexts = self._load_all()

    def reload(self, listed: Sequence[tuple[str, str | Path, str | Path]] | None = None) -> None:
        """New files, new connections. ssl.SSLError, which names it, for a broken file; then nothing changes."""
        self._listed = list(listed or self._listed)
        contexts = self._load_all()
        self.context.load_cert_chain(*self._listed[0][1:])
        self._contexts = contexts

    def _load_all(self) -> dict[str, ssl.SSLContext]:
        return {name.lower(): self._load(chain, key) for name, chain, key in self._listed}

    def _load(self, chain: str | Path, key: str | Path) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.set_alpn_protocols(["http/1.1"])
        context.num_tickets = 1
        try:
            context.load_cert_chain(chain, key, password="")  # without one, OpenSSL asks the terminal for it
        except OSError as error:
            raise ssl.SSLError(0, f"{chain} with the key {key}: {error.strerror or error}") from error
        return context

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        """Runs inside a handshake: look-ups only."""
        if not name:
            return
        name = name.lower()
        found = self._contexts.get(name) or self._contexts.get("*." + name.partition(".")[2])
        if found is not None:
            connection.context = found


def key_hash(public: PublicKeyTypes) -> bytes:
    """The sha256 by which a public key is known, whatever certificate shows it."""
    return hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
