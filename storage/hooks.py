"""Who outside is told of what happens in a Workspace?

The journal goes to every edge, and the address of a receiver is often a credential by itself. So the journal knows a
Webhook by the host that it calls; address, signing secrets and headers are in the origin's own file, under `revision`.
"""

from storage.contents import Informing, Noun


class Webhook(Noun, frozen=True):
    """A receiver that is told of events: those of a Workspace, or of one `repository` of it, that are among `events`
    (names, or "package.*"; none = all) and that `query` finds ("" = whatever package).

    `host` is scheme, host and port of where they go. `template` "" = the event as JSON. It hears what came behind
    `after`, a Serial of its Workspace's journal, and `after_system`, one of SYSTEM's; a new `run` begins there anew.
    `why` tells why it is not `enabled`.
    """

    id: str
    workspace: str
    repository: str
    name: str
    host: str
    revision: str
    after: int
    after_system: int
    events: tuple[str, ...] = ()
    query: str = ""
    template: str = ""
    media: str = "application/json"
    private_network: bool = False
    enabled: bool = True
    why: str = ""
    run: int = 1
    at_ms: int = 0


class PutWebhook(Informing, frozen=True, tag="~wh"):
    webhook: Webhook


class DropWebhook(Informing, frozen=True, tag="~dw"):
    repository: str
    id: str
