"""What does the API answer of webhooks?"""

from typing import Literal

from gateway.console.shapes.replies import Texts, Told


class WebhookEvent(Told, frozen=True):
    """`data` are the members that its data has besides. `of_repository`: a repository's webhooks hear it."""

    name: str
    told: str
    data: Texts
    of_repository: bool


class WebhookEvents(Told, frozen=True):
    """`data` are the members that the data of every event has."""

    data: Texts
    events: tuple[WebhookEvent, ...]


class WebhookQueue(Told, frozen=True):
    """Up to which Serials of the workspace's journal and of SYSTEM's everything is settled; what waits; since when
    there are only failures, and until when nothing is sent (0 = not so); what was delivered, refused and given up."""

    serial: int
    system_serial: int
    lag_entries: int
    waiting: int
    failures: int
    failing_ms: int
    paused_ms: int
    delivered: int
    refused: int
    given_up: int
    sent_ms: int


class Webhook(Told, frozen=True, kw_only=True):
    """`host` is where it leads, without the path. `headers` are the names of those that it sends. `why` it is not
    enabled. `revision` is another whenever its url, secret or headers are; `headers` and `queue` stand where one is
    asked for."""

    id: str
    name: str
    workspace: str
    repository: str
    host: str
    events: Texts
    query: str
    template: str
    media: str
    private_network: bool
    enabled: bool
    why: str
    revision: str
    created_ms: int
    headers: Texts = ()
    queue: WebhookQueue | None = None


class MintedWebhook(Webhook, frozen=True, kw_only=True):
    """`secret` is what its signatures are made with. It is told once."""

    secret: str


class DeliveryHead(Told, frozen=True):
    """Without signatures and whatever is secret, and of an answer only what says something."""

    headers: dict[str, str]
    bytes: int


class Delivery(Told, frozen=True):
    """One attempt. `status` 0 = there was no answer, and `problem` says why. `serial` 0 = it is of no entry."""

    number: int
    message: str
    event: str
    journal: str
    serial: int
    attempt: int
    cause: Literal["event", "redelivery", "ping"]
    at_ms: int
    took_ms: int
    delivered: bool
    status: int
    problem: str
    request: DeliveryHead
    response: DeliveryHead
