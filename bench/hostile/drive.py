"""What comes of an attack? It is sent as written, and judged by its answer and by what the node holds afterwards."""

import json
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bench.hostile.corpus import Attack, Corpus, Request
from bench.hostile.speaking import Ended, Malformed, Reset, Said, Speaker

COMPLAINTS_MAX = 40


@dataclass(frozen=True, slots=True)
class Target:
    """A node under attack: where it is, who attacks, what it attacks, and where its data lies."""

    url: str
    token: str
    repository: str
    data: Path


@dataclass
class Judged:
    """What came of some attacks. `complaints` say what is wrong with the node; empty is well."""

    sent: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    serials: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    def complain(self, attack: Attack, text: str) -> None:
        if len(self.complaints) < COMPLAINTS_MAX:
            self.complaints.append(f"{attack.name}: {text}")

    def add(self, other: "Judged") -> None:
        self.sent += other.sent
        self.statuses += other.statuses
        self.serials |= other.serials
        self.complaints += other.complaints[: COMPLAINTS_MAX - len(self.complaints)]

    @property
    def failures(self) -> int:
        """Answers that say that the node failed."""
        return sum(count for status, count in self.statuses.items() if status.startswith("5"))

    @property
    def taken(self) -> int:
        return sum(count for status, count in self.statuses.items() if status.startswith("2"))


class Attacker:
    """One client, with one connection at a time."""

    def __init__(self, target: Target, corpus: Corpus) -> None:
        self._target = target
        self._base = corpus.base.replace("{repository}", target.repository)
        self._corpus = corpus
        self._speaker: Speaker | None = None

    def __enter__(self) -> "Attacker":
        return self

    def __exit__(self, *_: object) -> None:
        self._hang_up()

    def prepare(self, attack: Attack) -> str:
        """All requests but the last, which must be taken; the Location that the last of them gave."""
        location = ""
        for request in attack.requests[:-1]:
            said = self.ask(request, location)
            if said is None or not 200 <= said.status < 300:
                raise RuntimeError(f"{attack.name}: what prepares it was answered {said}")
            location = said.headers.get("location", location)
        return location

    def ask(self, request: Request, location: str = "") -> Said | None:
        """The answer; None where the connection ended without one. Raises Malformed, TimeoutError."""
        whole = request.sent < 0 or request.sent >= len(request.body)
        data = self._head(request, location) + request.body[: request.sent if request.sent >= 0 else None]
        fresh = self._speaker is None
        speaker = self._speaker = self._speaker or Speaker(self._target.url)
        try:
            speaker.send(data)
            if request.sent >= 0:
                speaker.half_close()
            said = speaker.hear(head=request.method == "HEAD")
        except (Ended, Reset):
            self._hang_up()
            # a kept connection may just have been closed, which says nothing of this request
            return None if fresh or not whole else self.ask(request, location)
        except BaseException:
            self._hang_up()
            raise
        if said.headers.get("connection", "").lower() == "close" or request.sent >= 0:
            self._hang_up()
        return said

    def attack(self, attack: Attack, judged: Judged, location: str = "") -> Said | None:
        """Send the last request and judge its answer."""
        judged.sent += 1
        try:
            said = self.ask(attack.requests[-1], location)
        except (Malformed, TimeoutError) as error:
            judged.statuses[type(error).__name__] += 1
            judged.complain(attack, f"{type(error).__name__} {error}")
            return None
        judged.statuses[str(said.status) if said else "no answer"] += 1
        if said is None:
            if attack.expected not in ("broken", "anything"):
                judged.complain(attack, "no answer")
        elif said.status >= 500:
            judged.complain(attack, f"answered {said.status} {said.body[:200]!r}")
        elif said.status >= 400:
            self._judge_refusal(attack, said, judged)
        elif said.status < 300:
            judged.serials.add(said.headers.get("entrepot-serial", ""))
            if attack.expected not in ("harmless", "anything"):
                judged.complain(attack, f"taken with {said.status} {said.body[:200]!r}")
        else:
            judged.complain(attack, f"answered {said.status}")
        return said

    def _judge_refusal(self, attack: Attack, said: Said, judged: Judged) -> None:
        if said.headers.get("entrepot-serial"):
            judged.complain(attack, "a refusal with a Serial")
        if self._target.token.encode() in said.body:
            judged.complain(attack, "the credential stands in the answer")
        if said.status in (401, 405) and {401: "www-authenticate", 405: "allow"}[said.status] not in said.headers:
            judged.complain(attack, f"{said.status} without its header")
        if _by_front(said):
            return
        wrong = self._corpus.dialect(said.status, said.headers, said.body)
        if wrong:
            judged.complain(attack, f"{said.status} in another dialect: {wrong} {said.body[:120]!r}")

    def _head(self, request: Request, location: str) -> bytes:
        path = request.path.replace("{location}", urlsplit(location).path)
        path = path if path.startswith("/") else self._base + path
        headers = {"Host": urlsplit(self._target.url).netloc, **request.headers}
        if request.token:
            headers["Authorization"] = f"Bearer {self._target.token}"
        framed = {name.lower() for name in headers} & {"content-length", "transfer-encoding"}
        if not framed and (request.body or request.method in ("PUT", "POST", "PATCH")):
            headers["Content-Length"] = str(len(request.body))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{request.method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")

    def _hang_up(self) -> None:
        if self._speaker is not None:
            self._speaker.close()
            self._speaker = None


def _by_front(said: Said) -> bool:
    """Was it refused by the delivery loop itself, before any format is known: a line of text, and the connection ends?
    What comes from a room tells browsers not to guess its type."""
    closed = said.headers.get("connection", "").lower() == "close"
    return closed and said.status in (400, 413, 414, 417, 431, 501) and "x-content-type-options" not in said.headers


# ---------------------------------------------------------------- what the node holds


def holdings(target: Target) -> tuple[int, int, int]:
    """(the attacked workspace's Serial, bytes in packs, files in staging) of a quiet node."""
    with Speaker(target.url) as speaker:
        head = f"GET /-/api/v1/status HTTP/1.1\r\nHost: {speaker.host}\r\nAuthorization: Bearer {target.token}\r\n\r\n"
        speaker.send(head.encode())
        said = speaker.hear()
    if said.status != 200:
        raise RuntimeError(f"the status is answered {said.status}: {said.body[:200]!r}")
    serial = json.loads(said.body)["serials"].get(target.repository.partition("/")[0], 0)
    packs = sum(path.stat().st_size for path in (target.data / "packs").rglob("*") if path.is_file())
    staging = target.data / "staging"
    staged = sum(1 for path in staging.rglob("*") if path.is_file()) if staging.is_dir() else 0
    return int(serial), packs, staged


def crafted(target: Target, corpus: Corpus, attacks: Iterable[Attack]) -> Judged:
    """One after the other, with a look at what is stored after each. Nobody else may write to the node meanwhile."""
    judged, before = Judged(), holdings(target)
    with Attacker(target, corpus) as attacker:
        for attack in attacks:
            if len(attack.requests) > 1:
                location = attacker.prepare(attack)
                before = holdings(target)
            else:
                location = ""
            said = attacker.attack(attack, judged, location)
            after = holdings(target)
            if after[:2] != before[:2] and (said is None or said.status >= 300):
                judged.complain(attack, f"refused, and stored: {before} became {after}")
            if after[2] > before[2] and attack.expected != "broken":
                judged.complain(attack, f"{after[2] - before[2]} files stay in staging")
            before = after
    return judged


def mutated(target: Target, corpus: Corpus, attacks: Iterator[Attack], threads: int) -> Judged:
    """From several clients at once. What is refused must not move the Serial: it moves by what was taken alone."""
    total, lock = Judged(), threading.Lock()

    def work() -> None:
        judged = Judged()
        try:
            with Attacker(target, corpus) as attacker:
                while True:
                    with lock:
                        attack = next(attacks, None)
                    if attack is None:
                        break
                    attacker.attack(attack, judged)
        except Exception as error:
            judged.complaints.append(f"an attacker failed: {type(error).__name__} {error}")
        with lock:
            total.add(judged)

    before = holdings(target)[0]
    crowd = [threading.Thread(target=work) for _ in range(threads)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    moved = holdings(target)[0] - before
    if moved > len(total.serials):
        total.complaints.append(f"the Serial moved by {moved}, and {len(total.serials)} packages were taken")
    return total
