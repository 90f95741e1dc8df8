"""What does a read of a package get: a file's bytes, a document, or word of what must be fetched first?

`resolve` is synchronous and answers from what this node knows; where something is missing it says what (`Need`), and
the request task gets it and asks again. So the hot path and the slow path share every decision.
"""

import os
import time
from typing import Protocol

import msgspec

from cache.asking.kept import only_kept
from cache.foreign.files import Record, Usable, Where
from cache.foreign.heads import Wanted
from cache.keeping.renders import Form, Rendered, Renders
from cache.keeping.shelf import Shelf
from cache.outcome import Outcome
from formats.kit.contract import Ask, Foreign, Learn, Pull, Room, Serve, Show
from gateway.delivery.messages.answers import Answer, date_seconds
from gateway.front.leave import Leave, Subject, quarantine_of
from gateway.front.reads import ready
from gateway.front.reads.fields import cache_control, etag_of, file_headers, safely
from gateway.front.reads.marks import PULLED, PURGED, document_key, known_digest, pulled_key
from gateway.front.reads.needs import (
    Need,
    NeedBytes,
    NeedFile,
    NeedForeign,
    NeedRender,
    Scope,
    by_version,
    need_file,
    upstreams_of,
)
from gateway.front.reads.overlay import Overlay
from storage.blobs.shelf import BlobShelf, Located
from storage.errors import Absent, Forbidden, NotKept
from storage.index import keys
from storage.index.catalog import Reading
from storage.nouns import File, Upstream, View

SMALL_BYTES_MAX = 16 << 10
PULLED_SECONDS_MAX = 30.0


class Known(Protocol):
    """Foreign knowledge as held here: `version` changes with its content, `fresh_until_s` is monotonic."""

    @property
    def version(self) -> int: ...
    @property
    def fresh_until_s(self) -> float: ...
    @property
    def told_by(self) -> tuple[str, ...]:
        """The names of the Upstreams of which one has said it."""
        ...

    def foreign(self) -> Foreign | None: ...


class Knowledge(Protocol):
    """Foreign knowledge by place: None where nothing is held or it must be asked again."""

    def peek(
        self,
        workspace: str,
        repository: str,
        format: str,
        package: str,
        upstreams: tuple[Upstream, ...],
        since: int,
        *,
        only_kept: bool = False,
    ) -> Known | None: ...
    def withheld(
        self, workspace: str, repository: str, format: str, package: str, upstreams: tuple[Upstream, ...], since: int
    ) -> str: ...


class Eviction(Protocol):
    """Who forgets cached blobs when there is no room: cache.keeping.eviction.Evictor."""

    def touch(self, sha256: bytes) -> None: ...
    def urge(self) -> None: ...


class Files(Protocol):
    """Foreign files by path: None where somebody must be asked. Raises Absent."""

    def peek(self, where: Where, wanted: Wanted) -> Usable | None: ...


class Reads:
    """Reads of packages from local knowledge."""

    def __init__(
        self,
        hosted: BlobShelf | None,
        cached: BlobShelf,
        shelf: Shelf,
        renders: Renders,
        knowledge: Knowledge,
        files: Files,
        eviction: Eviction,
    ) -> None:
        self._eviction = eviction
        self._files = files
        self._hosted = hosted
        self._cached = cached
        self._shelf = shelf
        self._renders = renders
        self._knowledge = knowledge

    def resolve(self, reading: Reading, scope: Scope, ask: Ask, room: Room, plan: Serve | Show) -> Answer | Need:
        """The answer, or what is needed for it. Raises Absent, Damaged."""
        view = reading.view(ask.workspace, ask.repository, room.name)
        if isinstance(plan, Serve):
            return self._serve(reading, view, scope, ask, room, plan)
        return self._show(reading, view, scope, ask, room, plan)

    # ------------------------------------------------------------ files

    def _serve(self, reading: Reading, view: View, scope: Scope, ask: Ask, room: Room, plan: Serve) -> Answer | Need:
        asked, made = plan, ready.recalled(reading, ask, room.name, plan)
        if made is not None:
            if made.is_cached:
                self._eviction.touch(made.file.sha256)
            return _file_answer(scope, ask, room.name, plan, made)
        package = view.package(plan.package)
        give_out(room.withheld(package) if package is not None else "")
        release(reading, scope.subject(room.name, plan.package))
        plan = by_version(view, plan)
        file = view.file(plan.package, plan.file)
        if file is not None:
            release(reading, scope.subject(room.name, plan.package, file.version))
            located, is_cached = self._hosted.find(file.sha256) if self._hosted is not None else None, False
            if located is None:
                self._obey_purge(reading.purged(ask.workspace, ask.repository, room.name, plan.package), file)
                located, is_cached = self._find_cached(file.sha256), True
            if located is None:
                return NeedBytes(file, plan, b"")
            made = _made_ready(reading, ask, room.name, plan, file, located, is_cached=is_cached)
            return _file_answer(scope, ask, room.name, plan, ready.remember(reading, ask, room.name, asked, made))
        upstreams = upstreams_of(scope.repository, view, room, plan.package)
        fetch = room.upstream(ask, plan) if upstreams else None
        since = reading.purged(ask.workspace, ask.repository, room.name, plan.package) if upstreams else 0
        if isinstance(fetch, Pull):
            return self.foreign_file(reading, scope, need_file(ask, room, plan, fetch, upstreams, since))
        if fetch is None:
            raise Absent(f"There is no file {plan.file} here." if not plan.tag else f"There is no tag {plan.tag} here.")
        at = (ask.workspace, ask.repository, room.name, plan.package)
        give_out(self._knowledge.withheld(*at, upstreams, since))
        pulled = pulled_key(ask, room, plan, since)
        raw = self._shelf.get(PULLED, pulled)
        if raw is not None:
            file = msgspec.msgpack.decode(raw, type=File)
            release(reading, scope.subject(room.name, plan.package, file.version))
            if (located := self._find_cached(file.sha256)) is not None:
                made = _made_ready(reading, ask, room.name, plan, file, located, is_cached=True)
                return _file_answer(_doubtful(scope), ask, room.name, plan, made)
        known = self._knowledge.peek(*at, upstreams, since, only_kept=only_kept(ask.headers))
        if known is None:
            return NeedForeign(plan.package, upstreams, since)
        foreign = known.foreign()
        file = Overlay(view, foreign).file(plan.package, plan.file) if foreign is not None else None
        if file is None:
            return NeedForeign(plan.package, upstreams, since, refresh=True)
        release(reading, scope.subject(room.name, plan.package, file.version))
        told_by = tuple(one for one in upstreams if one.name in known.told_by)
        return NeedBytes(file, plan, pulled, since, told_by)

    def foreign_file(self, reading: Reading, scope: Scope, need: NeedFile) -> Answer | NeedFile:
        """A file by its path at the upstreams, where it is here and fresh. Raises Absent, Forbidden."""
        subject = scope.subject(need.where.format, need.serve.package)
        release(reading, subject)
        path, algorithm = need.pull.digest_of
        if path:
            beside = self._peeked(need.where, msgspec.structs.replace(need.pull, path=path))
            text = known_digest(beside.record, algorithm) if beside is not None else ""
            if beside is not None and text:
                return self._digest_answer(reading, scope, need, beside, text)
        usable = self._files.peek(need.where, need.pull)
        located = self._find_cached(usable.record.sha256) if usable is not None else None
        if usable is None or located is None:
            return need
        answer = self.arriving_answer(scope, need, usable.record)
        answer.size = located.size
        answer.body = small_body(located)
        answer.extents = located.extents
        answer.lease = Leave(subject, located)
        answer.outcome = (Outcome.STALE if usable.stale else Outcome.HIT).value
        answer.depends = self._depends(reading, scope, need)
        answer.until_s = min(scope.until_s, usable.until_s)
        answer.forgettable = (usable.record.sha256,)
        return answer

    def _peeked(self, where: Where, pull: Pull) -> Usable | None:
        try:
            return self._files.peek(where, pull)
        except (Absent, NotKept):
            return None

    @staticmethod
    def _depends(reading: Reading, scope: Scope, need: NeedFile) -> tuple[tuple[bytes, int], ...]:
        """A name that is published here from now on takes the foreign file away."""
        where = need.where
        label = keys.label_package(where.workspace, where.repository, where.format, need.serve.package)
        return (*scope.depends, (label, reading.label(label)))

    def _digest_answer(self, reading: Reading, scope: Scope, need: NeedFile, beside: Usable, text: str) -> Answer:
        return Answer(
            status=200,
            media=need.pull.media or "text/plain",
            etag=f'"{text}"',
            body=text.encode(),
            headers=safely(need.serve.headers),
            outcome=(Outcome.STALE if beside.stale else Outcome.HIT).value,
            depends=self._depends(reading, scope, need),
            until_s=min(scope.until_s, beside.until_s),
            repository=f"{need.where.workspace}/{need.where.repository}",
            private=not scope.repository.public,
        )

    def arriving_answer(self, scope: Scope, need: NeedFile, record: Record) -> Answer:
        """What is known of a foreign file by its record; size and bytes are for the caller to add."""
        digests = need.pull.digests | record.digests
        file = File(need.serve.file, "", record.sha256, record.size, digests=digests)
        return Answer(
            status=200,
            media=need.pull.media or record.media,
            etag=record.etag,
            modified_s=date_seconds(record.held.modified) or 0,
            size=max(record.size, 0),
            headers=(*file_headers(file, msgspec.structs.replace(need.serve, name_header="")), *record.headers),
            outcome=Outcome.FILL.value,
            until_s=0.0,
            repository=f"{need.where.workspace}/{need.where.repository}",
            private=not scope.repository.public,
        )

    def in_use(self, answer: Answer) -> None:
        """An answer from the cache goes on being asked for."""
        for sha256 in answer.forgettable:
            self._eviction.touch(sha256)

    def make_room(self) -> None:
        """A disk was found full: what can be forgotten goes first."""
        self._eviction.urge()

    def cut(self, held: object) -> Located | None:
        """The bytes that a Leave holds, with their recipe; None where there is none. What others made ready was found
        before it was cut, perhaps, and goes on being given to them: so it is looked for anew."""
        located = held.located if isinstance(held, ready.Ready) else held
        if not isinstance(located, Located):
            return None
        if located.recipe is None:
            hosted = self._hosted.find(located.sha256) if self._hosted is not None else None
            located = hosted if hosted is not None else self._cached.find(located.sha256)
        return located if located is not None and located.recipe is not None else None

    def _find_cached(self, sha256: bytes) -> Located | None:
        located = self._cached.find(sha256)
        if located is not None:
            self._eviction.touch(sha256)
        return located

    def _obey_purge(self, since: int, file: File) -> None:
        """Published bytes are found by their identity: after a purge those that were here are forgotten, once."""
        key = since.to_bytes(8) + file.sha256
        if since and self._shelf.get(PURGED, key) is None:
            self._shelf.put(PURGED, key, b"done")
            self._cached.forget(file.sha256)

    def pending_answer(self, scope: Scope, ask: Ask, need: NeedBytes) -> Answer:
        """What is known of a file before its bytes are here; size and extents are the fill's to tell."""
        file = need.file
        return Answer(
            status=200,
            media=file.media,
            etag=etag_of(file),
            modified_s=file.at_ms // 1000,
            size=max(file.size, 0),
            headers=file_headers(file, need.serve),
            outcome=Outcome.FILL.value,
            until_s=0.0,
            repository=f"{ask.workspace}/{ask.repository}",
            private=not scope.repository.public,
            version=file.version,
        )

    # ------------------------------------------------------------ documents

    def _show(self, reading: Reading, view: View, scope: Scope, ask: Ask, room: Room, plan: Show) -> Answer | Need:
        foreign, version, fresh_until_s = None, 0, scope.until_s
        claim = plan.claim or plan.package
        upstreams = upstreams_of(scope.repository, view, room, claim) if plan.foreign else ()
        fetch = room.upstream(ask, plan) if upstreams else None
        otherwise = None
        since = reading.purged(ask.workspace, ask.repository, room.name, claim) if upstreams else 0
        if isinstance(fetch, Pull):
            # plan.headers are of a document of our own: what the upstream's is like, only its own headers tell
            serve = Serve(claim, fetch.path.rpartition("/")[2])
            otherwise = need_file(ask, room, serve, fetch, upstreams, since)
            if not view.claimed(claim):
                return self.foreign_file(reading, scope, otherwise)
        if not isinstance(fetch, Learn):
            upstreams = ()
        if upstreams:
            at = (ask.workspace, ask.repository, room.name, plan.package)
            known = self._knowledge.peek(*at, upstreams, since, only_kept=only_kept(ask.headers))
            if known is None:
                return NeedForeign(plan.package, upstreams, since)
            version, fresh_until_s = known.version, min(scope.until_s, known.fresh_until_s)
        key = document_key(ask, room, plan)
        if plan.keep:
            rendered = self._renders.find(key)
            if rendered is not None and rendered.foreign == version and holds(reading, rendered.depends):
                answer = self.document_answer(scope, ask, plan, rendered, fresh_until_s, Outcome.HIT)
                if answer is not None:
                    return answer
        if upstreams and known is not None:
            foreign = known.foreign()
        return NeedRender(plan, key, foreign, version, otherwise)

    def document_answer(
        self, scope: Scope, ask: Ask, plan: Show, rendered: Rendered, until_s: float, outcome: Outcome
    ) -> Answer | None:
        """A kept document as an answer with its encodings; None when a form's bytes were evicted."""
        forms: dict[str, Answer] = {}
        for encoding, form in rendered.forms.items():
            one = self._form_answer(scope, ask, plan, rendered, form, encoding, until_s, outcome)
            if one is None:
                return None
            forms[encoding] = one
        answer = forms.pop("")
        answer.variants = forms
        answer.forgettable = tuple(form.sha256 for form in rendered.forms.values() if form.sha256)
        self.in_use(answer)
        return answer

    def _form_answer(
        self,
        scope: Scope,
        ask: Ask,
        plan: Show,
        rendered: Rendered,
        form: Form,
        encoding: str,
        until_s: float,
        outcome: Outcome,
    ) -> Answer | None:
        located = None if form.data or not form.size else self._renders.located(form)
        if located is None and form.size and not form.data:
            return None
        etag = rendered.etag if not encoding else f'{rendered.etag[:-1]}-{encoding}"'
        vary = (("Vary", "Accept"),) if plan.vary else ()
        return Answer(
            status=200,
            media=rendered.media,
            etag=etag,
            modified_s=0,
            size=form.size,
            body=form.data if located is None else None,
            extents=located.extents if located is not None else (),
            lease=Leave(scope.subject(), located) if located is not None else None,
            headers=(*safely(rendered.headers), *vary, cache_control(scope.repository)),
            outcome=outcome.value,
            depends=(*scope.depends, *rendered.depends),
            until_s=until_s if plan.keep else 0.0,
            repository=f"{ask.workspace}/{ask.repository}",
            private=not scope.repository.public,
        )


# ---------------------------------------------------------------- pure helpers of both ways


def give_out(withheld: str) -> None:
    """Raises Forbidden where a package's files are withheld: quarantine goes before every copy that is here (F14)."""
    if withheld:
        raise Forbidden(withheld, "Ask the repository's administrators.")


def release(reading: Reading, subject: Subject) -> None:
    """Raises Forbidden for what an administrator has put into quarantine."""
    held = quarantine_of(reading, subject)
    if held is not None:
        what = f"version {held.version} of {held.package}" if held.version else f"{held.package}"
        raise Forbidden(
            f"{what} is quarantined{': ' if held.reason else ''}{held.reason}".rstrip(".") + ".",
            "Ask the repository's administrators.",
        )


def _doubtful(scope: Scope) -> Scope:
    """A pulled file is the same for ever, but its registry may withdraw it: no answer is remembered for long."""
    return msgspec.structs.replace(scope, until_s=min(scope.until_s, time.monotonic() + PULLED_SECONDS_MAX))


def holds(reading: Reading, depends: tuple[tuple[bytes, int], ...]) -> bool:
    """Are all labels what they were?"""
    return all(reading.label(label) == value for label, value in depends)


def _made_ready(
    reading: Reading, ask: Ask, room: str, plan: Serve, file: File, located: Located, *, is_cached: bool
) -> ready.Ready:
    label = keys.label_package(ask.workspace, ask.repository, room, plan.package)
    depends = (label, reading.label(label))
    headers, body = file_headers(file, plan), small_body(located)
    return ready.Ready(file, located, headers, etag_of(file), body, depends, is_cached=is_cached)


def _file_answer(scope: Scope, ask: Ask, room: str, plan: Serve, made: ready.Ready) -> Answer:
    file = made.file
    return Answer(
        status=200,
        media=file.media,
        etag=made.etag,
        modified_s=file.at_ms // 1000,
        size=made.located.size,
        body=made.body,
        extents=made.extents,
        lease=Leave(scope.subject(room, plan.package, file.version), made),
        headers=made.headers,
        outcome=Outcome.HIT.value,
        depends=(*scope.depends, made.depends),
        until_s=scope.until_s,
        repository=f"{ask.workspace}/{ask.repository}",
        private=not scope.repository.public,
        forgettable=(file.sha256,) if made.is_cached else (),
        version=file.version,
    )


def small_body(located: Located) -> bytes | None:
    """Small bytes are kept in RAM with the answer: one send instead of two calls. Raises nothing a read can't."""
    if located.size > SMALL_BYTES_MAX:
        return None
    return b"".join(os.pread(fd, length, offset) for fd, offset, length in located.extents)
