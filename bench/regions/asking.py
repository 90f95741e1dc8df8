"""How is a node asked again and again from its own site, and what is noted of each answer?"""

import http.client
import time
from dataclasses import dataclass

from bench.regions.world import PORT, Host


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` 0: none came, or it broke off; `outcome` is the node's own word for how it came about."""

    status: int
    outcome: str = ""
    first_byte_ms: float = 0.0
    size: int = 0
    retry_after: str = ""


class Asker:
    """One kept connection to a node from within its site."""

    def __init__(self, host: Host, seconds_max: float = 10.0) -> None:
        self._host, self._seconds_max = host, seconds_max
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> Answer:
        begun_s = time.monotonic()
        try:
            connection = self._connected()
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            first_ms = (time.monotonic() - begun_s) * 1e3
            size = len(answer.read())
        except (OSError, http.client.HTTPException):
            self.close()
            return Answer(0, first_byte_ms=(time.monotonic() - begun_s) * 1e3)
        told = answer.headers.get("Retry-After", "")
        return Answer(answer.status, answer.headers.get("Entrepot-Outcome", ""), first_ms, size, told)

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            made = http.client.HTTPConnection("127.0.0.1", PORT, timeout=self._seconds_max)
            with self._host.site.entered():
                made.connect()
            self._connection = made
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
