"""What goes with a refusal whatever the dialect, and how is one said to a client that shows a line?"""

from formats.kit.contract import Reply
from storage.errors import Problem

REALM = "Entrepot"
"""Clients keep credentials by realm, and Ivy is told it by hand: this never changes."""
BASIC = f'Basic realm="{REALM}"'


def signals(problem: Problem, allow: str, challenge: str = BASIC) -> tuple[tuple[str, str], ...]:
    """The headers that programs act on: how to identify oneself, which methods there are, when to come back. No cache
    keeps a refusal: what is not here now may be published in a moment."""
    headers = [("Cache-Control", "no-store")]
    if problem.status == 401:
        headers.append(("WWW-Authenticate", challenge))
    if problem.status == 405:
        headers.append(("Allow", allow))
    if problem.retry_after_s is not None:
        headers.append(("Retry-After", str(problem.retry_after_s)))
    return tuple(headers)


def line(problem: Problem, allow: str, status: int = 0) -> Reply:
    """One line of plain text; `status` is another than the Problem's where these clients would misread that."""
    body = f"{problem.text()}\n".encode("utf-8", "replace")
    return Reply(status or problem.status, body, headers=signals(problem, allow))
