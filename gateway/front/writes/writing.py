"""How does a package come in? Receive into a stage, take it apart in the sandbox, decide under the lock, commit, tell.

Whatever fails on the way leaves nothing behind: a stage that is not committed is discarded when its block is left.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

import msgspec
import trio

from formats.kit.contract import (
    Accept,
    Amend,
    Ask,
    Blob,
    Borrow,
    Decision,
    Finds,
    Progress,
    Reply,
    Resumable,
    Resume,
    Room,
)
from formats.kit.multipart import Form, boundary_of
from formats.kit.multipart import Limits as FormLimits
from gateway.access.binning import with_bin
from gateway.access.rights.permits import Permit
from gateway.config import Intake as Limits
from gateway.delivery.requests.request import Request
from gateway.front.complaints import finds_of
from gateway.front.writes.reserving import growing, of_new_session, reserved
from gateway.insight.reasons import REASON, reason_in
from gateway.sandbox.pool import Sandbox
from storage.blobs.intake import Intake, Staged
from storage.blobs.sessions import Session, Sessions
from storage.commit import Committed, Committer, Decided
from storage.errors import Absent, Forbidden, Invalid, Problem, RangeRefused, TooLarge, Unauthenticated
from storage.index.catalog import Reading
from storage.nouns import AnyChange, Draft, DropFile, DropPackage, DropVersion, File, PutFile
from storage.quotas import Quotas, Reservation

COPY_BYTES = 1 << 20


class Done(msgspec.Struct, frozen=True):
    """A finished write: what to say, which Serial makes it visible, and for the client log which package, version and
    file it was about; () = none, or what was there already."""

    reply: Reply
    headers: tuple[tuple[str, str], ...] = ()
    about: tuple[str, ...] = ()


class Incoming:
    """An upload while it arrives: fields and the staged file."""

    def __init__(self, staged: Staged) -> None:
        self.staged = staged
        self.fields: dict[str, list[str]] = {}
        self.filename = ""

    def blob(self) -> Blob:
        return Blob(sha256=self.staged.sha256, size=self.staged.size, digests=self.staged.digests)


class Writes:
    """Writes at an origin."""

    def __init__(
        self,
        intake: Intake,
        sessions: Sessions,
        committer: Committer,
        quotas: Quotas,
        sandbox: Sandbox,
        limits: Limits,
    ) -> None:
        self._intake = intake
        self._sessions = sessions
        self._committer = committer
        self._quotas = quotas
        self._sandbox = sandbox
        self._limits = limits

    async def perform(
        self,
        request: Request,
        ask: Ask,
        room: Room,
        actor: str,
        plan: Accept | Amend | Resume | Borrow,
        still_allowed: Callable[[Reading], Permit],
        may_borrow: Callable[[Reading, Borrow], None],
    ) -> Done:
        """Carry out the plan; `still_allowed` is asked again under the write lock. Raises Problem."""
        if isinstance(plan, Borrow):
            borrowed = await self._borrow(ask, room, actor, plan, still_allowed, may_borrow)
            if borrowed is not None:
                return borrowed
            plan = plan.otherwise
        if isinstance(plan, Resume):
            return await self._resume(request, ask, room, actor, plan, still_allowed)
        with ExitStack() as stack:
            if isinstance(plan, Amend):
                finds = finds_of(await request.body.whole(plan.bytes_max), plan)
                return await self.settle(ask, room, actor, finds, [], still_allowed)
            announced = request.body.length
            kept = reserved(stack, self._quotas, ask.workspace, ask.repository, plan.body, announced)
            finds, staged = await self._take(stack, request, ask, room, plan, kept)
            return await self.settle(ask, room, actor, finds, staged, still_allowed, kept)

    async def settle(
        self,
        ask: Ask,
        room: Room,
        actor: str,
        finds: Finds,
        staged: list[Staged],
        still_allowed: Callable[[Reading], Permit],
        kept: Reservation | None = None,
    ) -> Done:
        """Decide and commit what was found; `kept` is the room that was reserved for it."""

        def decide(reading: Reading) -> Decided:
            permit = still_allowed(reading)
            decision = permit.decide(ask, finds, reading.view(ask.workspace, ask.repository, room.name))
            return Decided(draft_of(reading, room, ask, actor, decision), decision.reply, ask.workspace)

        committed = await self._committer.commit(decide, staged, kept)
        return done_of(ask, committed)

    async def _borrow(
        self,
        ask: Ask,
        room: Room,
        actor: str,
        plan: Borrow,
        still_allowed: Callable[[Reading], Permit],
        may_borrow: Callable[[Reading, Borrow], None],
    ) -> Done | None:
        """Link what another package has; None where it has it not, or this principal may not know. The source is
        looked at under the write lock: a link is made only to what is linked there at that very moment."""

        def decide(reading: Reading) -> Decided:
            permit = still_allowed(reading)
            try:
                may_borrow(reading, plan)
            except (Absent, Forbidden, Unauthenticated):
                return Decided(None, None, ask.workspace)
            file = reading.view(plan.workspace, plan.repository, room.name).file(plan.package, plan.file)
            if file is None or not file.sha256:
                return Decided(None, None, ask.workspace)
            blob = Blob(sha256=file.sha256, size=file.size, digests=file.digests)
            finds = Finds(blobs={"file": blob}, context=plan.context)
            decision = permit.decide(ask, finds, reading.view(ask.workspace, ask.repository, room.name))
            return Decided(draft_of(reading, room, ask, actor, decision), decision.reply, ask.workspace)

        committed = await self._committer.commit(decide)
        return None if committed.value is None else done_of(ask, committed)

    # ------------------------------------------------------------ uploads in parts

    async def _resume(
        self,
        request: Request,
        ask: Ask,
        room: Room,
        actor: str,
        plan: Resume,
        still_allowed: Callable[[Reading], Permit],
    ) -> Done:
        """One step of a resumable upload. A session is only known to who began it, in the same repository."""
        session = self._session(ask, actor, plan)
        refused = False
        if plan.step == "cancel":
            self._sessions.remove(session)
        elif plan.step in ("start", "append"):
            refused = not await self._append(request, session, plan)
        if plan.finish and not refused:
            return await self._finish(ask, room, actor, session, plan.digests, still_allowed)
        offset = 0 if plan.step == "cancel" else self._sessions.offset(session, plan.part)
        at = Progress(
            session.id,
            offset,
            session.length,
            refused,
            self._limits.body_bytes_max,
            self._sessions.seconds_left(session),
            session.parts,
        )
        return Done(cast("Resumable", room).progress(ask, plan, at))

    def _session(self, ask: Ask, actor: str, plan: Resume) -> Session:
        if plan.step == "start":
            if plan.length > self._limits.body_bytes_max:
                raise TooLarge(f"An upload may have at most {self._limits.body_bytes_max} bytes.")
            at = ask.workspace, ask.repository
            session = self._sessions.start(actor, *at, plan.length, plan.digests, plan.context, plan.parts)
            try:
                of_new_session(self._quotas, session)
            except Problem:
                self._sessions.remove(session)
                raise
            return session
        session = self._sessions.get(plan.session)
        if (session.owner, session.workspace, session.repository) != (actor, ask.workspace, ask.repository):
            raise Absent("There is no such upload.", "Start it again.")
        if plan.context is not None and plan.context != session.context:
            raise Absent("There is no such upload here.", "Use the address that the answer to its start gave.")
        return session

    async def _append(self, request: Request, session: Session, plan: Resume) -> bool:
        """Take the body; False where the client's offset is not ours."""
        kept = self._quotas.of_session(session.workspace, session.repository, session.id)
        try:
            with ExitStack() as stack:
                appending = stack.enter_context(self._sessions.append(session, plan.offset, plan.part))
                sink = growing(appending.write, kept, "raw", appending.offset)
                try:
                    if kept is not None:
                        kept.resize(max(kept.size, appending.offset + max(request.body.length, 0)))
                    await request.body.fill(sink, self._limits.body_bytes_max - appending.offset)
                finally:
                    # leaving syncs what arrived, which may take a while: off the loop, and also for who broke off
                    with trio.CancelScope(shield=True):
                        await trio.to_thread.run_sync(stack.close)
        except RangeRefused:
            return False
        return True

    async def _finish(
        self,
        ask: Ask,
        room: Room,
        actor: str,
        session: Session,
        digests: tuple[str, ...],
        still_allowed: Callable[[Reading], Permit],
    ) -> Done:
        """The upload is whole: it goes the way of any other."""
        if session.length >= 0 and self._sessions.offset(session) != session.length:
            raise Invalid("The upload is not as long as was announced.", "Append the rest, or start again.")
        with await trio.to_thread.run_sync(self._sessions.finish, session, digests) as staged:
            blob = Blob(sha256=staged.sha256, size=staged.size, digests=staged.digests)
            finds = Finds(blobs={"file": blob}, context=session.context)
            kept = self._quotas.of_session(session.workspace, session.repository, session.id)
            done = await self.settle(ask, room, actor, finds, [staged], still_allowed, kept)
        self._sessions.remove(session)
        return done

    # ------------------------------------------------------------ receiving

    async def _take(
        self, stack: ExitStack, request: Request, ask: Ask, room: Room, plan: Accept, kept: Reservation | None
    ) -> tuple[Finds, list[Staged]]:
        staged = stack.enter_context(self._intake.stage(plan.digests, hashed=plan.body != "spool"))
        incoming = Incoming(staged)
        limit = min(plan.bytes_max, self._limits.body_bytes_max)
        if plan.body == "multipart":
            await self._receive_form(request, plan, incoming, limit, kept)
        else:
            await request.body.fill(growing(staged.write, kept, plan.body), limit)
        staged.seal()
        if not plan.unpack:
            return Finds(blobs={"file": incoming.blob()}, context=plan.context), [staged]
        return await self.take_apart(stack, ask, room, plan, incoming)

    async def _receive_form(
        self, request: Request, plan: Accept, incoming: Incoming, limit: int, kept: Reservation | None
    ) -> None:
        bounds = FormLimits(field_bytes_max=self._limits.field_bytes_max, parts_max=self._limits.fields_max)
        boundary = boundary_of(request.head.headers.get("content-type", ""))
        form = Form(boundary, plan.part, growing(incoming.staged.write, kept, "raw"), bounds)
        await request.body.fill(form.feed, limit)
        form.finish()
        incoming.fields, incoming.filename = form.fields, form.filename

    # ------------------------------------------------------------ taking apart

    async def take_apart(
        self, stack: ExitStack, ask: Ask, room: Room, plan: Accept, incoming: Incoming
    ) -> tuple[Finds, list[Staged]]:
        """Unpack in the sandbox, and stage what was derived."""
        staged = incoming.staged
        is_file = plan.body != "spool"
        blob = incoming.blob() if is_file else Blob(size=staged.size)
        finds, workdir = await self._sandbox.unpack(
            room.name,
            ask,
            incoming.fields,
            incoming.filename,
            staged.descriptor(),
            staged.start,
            blob,
            plan.context,
        )
        with workdir:
            stages = [staged] if is_file else []
            blobs = {"file": blob} if is_file else {}
            for name, derived in finds.blobs.items():
                one = stack.enter_context(self._intake.stage(derived.digests_wanted))
                await trio.to_thread.run_sync(copy_in, derived, workdir.path, one)
                stages.append(one)
                blobs[name] = Blob(sha256=one.sha256, size=one.size, digests=one.digests)
        return msgspec.structs.replace(finds, blobs=blobs, context=plan.context), stages


def copy_in(derived: Blob, directory: Path, staged: Staged) -> None:
    """Stage derived bytes. A path may only name a plain file in the sandbox's own directory."""
    if not derived.path:
        staged.write(derived.data)
    else:
        with open_derived(directory, derived.path) as chunks:
            for chunk in chunks:
                staged.write(chunk)
    staged.seal()


@contextmanager
def open_derived(directory: Path, name: str) -> Iterator[Iterator[bytes]]:
    """The bytes of a derived file, in chunks. Raises Invalid for a path outside `directory` or a link."""
    path = directory / Path(name).name
    if path.is_symlink() or not path.is_file():
        raise Invalid("Taking the package apart gave no file.", "Report this package to the operator.")
    with path.open("rb") as file:
        yield iter(lambda: file.read(COPY_BYTES), b"")


def done_of(ask: Ask, committed: Committed) -> Done:
    """The decision's reply, with the Serial that shows it."""
    changes = committed.entry.changes if committed.entry is not None else ()
    return Done(committed.value, (("Entrepot-Serial", f"{ask.workspace}={committed.serial}"),), about_of(changes))


def about_of(changes: Sequence[AnyChange]) -> tuple[str, ...]:
    """Package, version and file that a write was about: of the first file that it put, else took away."""
    for change in sorted(changes, key=lambda one: not isinstance(one, PutFile)):
        match change:
            case PutFile(_, package, File(name, version)):
                return package, version, name
            case DropFile(_, package, name):
                return package, "", name
            case DropVersion(_, package, version):
                return package, version, ""
            case DropPackage(_, package):
                return package, "", ""
    return ()


def draft_of(reading: Reading, room: Room, ask: Ask, actor: str, decision: Decision) -> Draft | None:
    """What the journal gets; None where nothing changes. Raises Conflict for a name that is taken by the bin."""
    if not decision.changes:
        return None
    reason = reason_in(ask.headers.get(REASON, ""))
    draft = Draft(ask.workspace, ask.repository, actor, decision.action, decision.changes, reason)
    return with_bin(reading, room, draft, ask.at_ms)
