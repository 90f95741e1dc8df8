"""How does a Repository get its Upstreams, their credentials, and the names that may come from them all the same?

The Upstream goes to the journal and so to every edge; its credential goes to the origin's secrets and nowhere else.
"""

import base64
import urllib.parse
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import msgspec
import trio

from gateway.access.names import slug
from gateway.access.rights.verdicts import Principal, judge, judge_node
from gateway.access.secrets.signing import certificates_in
from gateway.access.secrets.upstreams import Credential, Place
from gateway.console.calls.call import PAGE, Call, Decision, Reply, Routes
from gateway.console.calls.permissions import REPOSITORY_ADMIN, REPOSITORY_READ
from gateway.console.repositories import replies
from gateway.console.repositories.addresses import may_know_addresses
from gateway.console.shapes import shown
from gateway.console.shapes.replies import Page
from gateway.console.shapes.schemas import ALLOWED_MAX, UPSTREAMS_MAX, AllowName, NewCredential, NewUpstream
from storage.commit import Decided
from storage.errors import Absent, Conflict, Full, Invalid, TooLarge, Unavailable
from storage.index.catalog import Reading
from storage.nouns import Draft, PutRepository, Repository, Upstream

ROUTES = Routes("/-/api/v1/repositories/<workspace>/<repository>/upstreams")

RESERVED_NAME = "allow"
"""It stands where an Upstream's name would in an address."""

RESOLVE_SECONDS_MAX = 4.0

Edit = Callable[[tuple[Upstream, ...]], tuple[Upstream, ...]]


@ROUTES.add("GET", "", REPOSITORY_READ, PAGE, gives=Page[replies.Upstream])
async def list_upstreams(call: Call) -> Reply:
    with call.read() as reading:
        repository = judge(reading, call.principal, call.at["workspace"], call.at["repository"], "read")
        show = partial(shown.upstream, addresses=may_know_addresses(call, reading, repository))
    return call.page_in_order(repository.upstreams, lambda one: f"{one.format}/{one.name}", show)


@ROUTES.add("POST", "", REPOSITORY_ADMIN, takes=NewUpstream, gives=replies.Upstream, status=201)
async def add_upstream(call: Call) -> Reply:
    body = await call.body(NewUpstream)
    upstream = _upstream_of(call, body)
    if body.credential is not None and upstream.url.startswith("http:") and not upstream.private_network:
        raise Invalid(
            "A credential for a plain http address would cross the network readable by all.",
            "Use https, or private_network for a registry on your own network.",
        )

    await check_place(call, upstream.url, upstream.private_network)

    def edit(known: tuple[Upstream, ...]) -> tuple[Upstream, ...]:
        if any((one.format, one.name) == (upstream.format, upstream.name) for one in known):
            raise Conflict(
                "This repository has an upstream of this format and name already.", "Remove it, or use another name."
            )
        if len(known) >= UPSTREAMS_MAX:
            raise TooLarge(f"A repository has at most {UPSTREAMS_MAX} upstreams.")
        return (*known, upstream)

    answer = Reply(201, shown.upstream(upstream))
    decide = _deciding(call, "upstream.add", edit, node_admin=upstream.private_network)
    if body.credential is None:
        return await call.conclude(call.at["workspace"], decide, lambda _: answer)
    # the answer to a key is kept last: it says that the credential is there, too
    _, headers = await call.change(call.at["workspace"], decide)
    await _keep(call, upstream, body.credential)
    return replace(answer, headers=headers)


@ROUTES.show("/<format>/<name>", REPOSITORY_READ, gives=replies.Upstream)
def show_upstream(call: Call, reading: Reading) -> shown.Shown:
    repository = judge(reading, call.principal, call.at["workspace"], call.at["repository"], "read")
    for one in repository.upstreams:
        if (one.format, one.name) == (call.at["format"], call.at["name"]):
            return shown.upstream(one, addresses=may_know_addresses(call, reading, repository))
    raise no_upstream()


@ROUTES.add("DELETE", "/<format>/<name>", REPOSITORY_ADMIN, gives=None)
async def remove_upstream(call: Call) -> Reply:
    format, name = call.at["format"], call.at["name"]

    def edit(known: tuple[Upstream, ...]) -> tuple[Upstream, ...]:
        left = tuple(one for one in known if (one.format, one.name) != (format, name))
        if left == known:
            raise no_upstream()
        return left

    with trio.CancelScope(shield=True):  # its credential goes with it, also where nobody waits for the answer
        reply = await _change(call, "upstream.remove", edit, Reply(204))
        if call.services.secrets is not None:
            await trio.to_thread.run_sync(call.services.secrets.remove, _place(call, format, name))
    return reply


@ROUTES.add("POST", "/<format>/allow", REPOSITORY_ADMIN, takes=AllowName, gives=replies.Allowed)
async def allow_name(call: Call) -> Reply:
    body = await call.body(AllowName)
    package = call.services.normalise(call.at["format"], body.name)

    def grown(allow: tuple[str, ...]) -> tuple[str, ...]:
        if package in allow:
            return allow
        if len(allow) >= ALLOWED_MAX:
            raise TooLarge(f"An upstream allows at most {ALLOWED_MAX} names.")
        return (*allow, package)

    answer = Reply(200, {"name": package, "allowed": True})
    return await _change(call, "upstream.allow", _allowing(call.at["format"], body.upstream, grown), answer)


@ROUTES.add("DELETE", "/<format>/allow/<path:package>", REPOSITORY_ADMIN, ("upstream",), gives=None)
async def disallow_name(call: Call) -> Reply:
    package = call.services.normalise(call.at["format"], call.at["package"])
    edit = _allowing(
        call.at["format"], call.argument("upstream"), lambda allow: tuple(one for one in allow if one != package)
    )
    return await _change(call, "upstream.disallow", edit, Reply(204))


async def check_place(call: Call, url: str, private_network: bool) -> None:
    """What could never be asked is refused when it is added, not each time it is wanted."""
    if private_network:
        return
    inside = ""
    with trio.move_on_after(RESOLVE_SECONDS_MAX):  # a name that is not resolved in time is no reason to say no
        inside = await trio.to_thread.run_sync(call.services.inside_only, url, abandon_on_cancel=True)
    if inside:
        raise Invalid(
            f"{inside} is not on the public Internet.",
            "If it is meant, add it with --private-network (private_network in the API); it takes admin on everything.",
        )


def no_upstream() -> Absent:
    return Absent("This repository has no such upstream.")


async def _change(call: Call, action: str, edit: Edit, answer: Reply) -> Reply:
    return await call.conclude(call.at["workspace"], _deciding(call, action, edit), lambda _: answer)


def _deciding(call: Call, action: str, edit: Edit, *, node_admin: bool = False) -> Decision:
    workspace, name = call.at["workspace"], call.at["repository"]

    def decide(reading: Reading, principal: Principal) -> Decided:
        if node_admin:
            # what only this machine's neighbours can reach is not for a tenant to point at
            judge_node(principal, "admin")
        before = judge(reading, principal, workspace, name, "admin")
        after: Repository = msgspec.structs.replace(before, upstreams=edit(before.upstreams))
        if after == before:
            return Decided(None, None)
        return Decided(Draft(workspace, name, principal.id, action, (PutRepository(after),)), None)

    return decide


def _allowing(format: str, name: str, change: Callable[[tuple[str, ...]], tuple[str, ...]]) -> Edit:
    """Change what the upstreams of `format` allow: the one called `name`, or all of them for ""."""

    def edit(known: tuple[Upstream, ...]) -> tuple[Upstream, ...]:
        if not any(one.format == format and name in ("", one.name) for one in known):
            raise no_upstream()
        return tuple(
            msgspec.structs.replace(one, allow=change(one.allow))
            if one.format == format and name in ("", one.name)
            else one
            for one in known
        )

    return edit


def _upstream_of(call: Call, body: NewUpstream) -> Upstream:
    if body.format not in call.services.drawing:
        offered = ", ".join(call.services.drawing) or "none"
        raise Invalid("This format draws from no upstream.", f"Those that do: {offered}.")
    name = slug(body.name, "An upstream")
    if name == RESERVED_NAME:
        raise Invalid(f'An upstream cannot be called "{RESERVED_NAME}": the name is reserved.', "Choose another name.")
    return Upstream(
        format=body.format,
        url=_address(body.url),
        name=name,
        fresh_s=body.fresh_s,
        negative_s=body.negative_s,
        allow=tuple(dict.fromkeys(call.services.normalise(body.format, one) for one in body.allow)),
        private_network=body.private_network,
        signed_by=_certificates_of(call, body),
    )


def _certificates_of(call: Call, body: NewUpstream) -> tuple[bytes, ...]:
    """The certificates that its manifests are verified with before they are signed anew. Raises Invalid."""
    if not body.signed_by:
        return ()
    if body.format not in call.services.resigning:
        offered = ", ".join(call.services.resigning) or "none"
        raise Invalid("What this format's upstreams sign is not signed anew.", f"Formats where it is: {offered}.")
    try:
        keyring = base64.b64decode(body.signed_by, validate=True)
    except ValueError:
        raise Invalid("The keyring in signed_by is no base64.", "Encode the whole file.") from None
    return certificates_in(keyring)


def _address(url: str) -> str:
    """`url` as an Upstream holds it, with a slash at the end. Raises Invalid; never repeats what may be a secret."""
    if not (url.isascii() and url.isprintable()) or " " in url or "\\" in url:
        raise Invalid("The url of the upstream holds characters that no address has.", "Percent-encode them.")
    try:
        parts = urllib.parse.urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise Invalid("The url of the upstream is no http or https address.", "Use https://HOST/PATH/.")
    if parts.username is not None or parts.password is not None:
        raise Invalid(
            "The url of the upstream holds a credential, which every edge would see.", "Give it as `credential`."
        )
    if "?" in url or "#" in url:
        raise Invalid("The url of the upstream has a query or a fragment.", "Leave them out.")
    return url if url.endswith("/") else url + "/"


async def _keep(call: Call, upstream: Upstream, given: NewCredential) -> None:
    if call.services.secrets is None:
        raise Unavailable("This node keeps no credentials.", "Send this to the origin.")
    credential = Credential(upstream.url, given.password, given.username)
    try:
        await trio.to_thread.run_sync(
            call.services.secrets.set, _place(call, upstream.format, upstream.name), credential
        )
    except Full as problem:
        raise Full(
            problem.message, "The upstream is there without its credential: remove it and add it again."
        ) from None


def _place(call: Call, format: str, name: str) -> Place:
    return Place(call.at["workspace"], call.at["repository"], format, name)
