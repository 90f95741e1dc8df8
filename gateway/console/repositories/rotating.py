"""How does an Upstream get another credential without ever being without one that is good?

The new one is shown to the registry first, in a live call; the old one stays until that has answered (THREATS F8).
"""

import trio

from gateway.access.rights.verdicts import Principal, judge
from gateway.access.secrets.upstreams import Credential, Place
from gateway.console.calls.call import Call, Reply, Routes
from gateway.console.calls.permissions import REPOSITORY_ADMIN
from gateway.console.repositories import replies
from gateway.console.repositories.upstreams import no_upstream
from gateway.console.shapes import shown
from gateway.console.shapes.schemas import RotatedCredential
from storage.commit import Decided
from storage.errors import Invalid, Problem, Unavailable
from storage.index.catalog import Reading
from storage.nouns import Draft, PutRepository, Repository, Upstream

ROUTES = Routes("/-/api/v1/repositories/<workspace>/<repository>/upstreams/<format>/<name>")

STAYS = "The old credential stays."
REMEDY = "Check it; `unchecked` (--unchecked) takes it unseen."


@ROUTES.add("PUT", "/credential", REPOSITORY_ADMIN, takes=RotatedCredential, gives=replies.Upstream)
async def rotate_credential(call: Call) -> Reply:
    """Give an upstream another credential. The old one is dropped once the registry has taken the new one."""
    body = await call.body(RotatedCredential)
    workspace, name = call.at["workspace"], call.at["repository"]
    with call.read() as reading:
        upstream = _upstream(judge(reading, call.principal, workspace, name, "admin"), call)
    if call.services.secrets is None:
        raise Unavailable("This node keeps no credentials.", "Send this to the origin.")
    if upstream.url.startswith("http:") and not upstream.private_network:
        raise Invalid("A credential for a plain http address would cross the network readable by all.", "Use https.")
    credential = Credential(upstream.url, body.password, body.username)
    if not body.unchecked:
        await _prove(call, upstream, credential)

    def decide(reading: Reading, principal: Principal) -> Decided:
        repository = judge(reading, principal, workspace, name, "admin")
        if _upstream(repository, call).url != upstream.url:
            raise no_upstream()
        # nothing of it is journaled but that it was done; what was remembered of the repository is asked anew
        return Decided(Draft(workspace, name, principal.id, "upstream.credential", (PutRepository(repository),)), None)

    place = Place(workspace, name, upstream.format, upstream.name)
    with trio.CancelScope(shield=True):  # what the audit says is done, also where nobody waits for the answer
        _, headers = await call.change(workspace, decide)
        await trio.to_thread.run_sync(call.services.secrets.set, place, credential)
    return Reply(200, shown.upstream(upstream), headers)


def _upstream(repository: Repository, call: Call) -> Upstream:
    for one in repository.upstreams:
        if (one.format, one.name) == (call.at["format"], call.at["name"]):
            return one
    raise no_upstream()


async def _prove(call: Call, upstream: Upstream, credential: Credential) -> None:
    """Raises Invalid where the registry says no, Unavailable where it says nothing that could be believed."""
    try:
        status = await call.services.try_credential(upstream, credential.authorization())
    except Problem as problem:
        raise Unavailable(f"{problem.message} {STAYS}", f"Try again. {REMEDY}", retry_after_s=5) from None
    if status >= 400:
        raise Invalid(f"The registry answers {status} to this credential. {STAYS}", REMEDY)
