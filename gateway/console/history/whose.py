"""Who is meant by whoever asks what somebody did? All the ids under which the client log may have it.

The client log knows a request by the id of the token or session that it came with, and people know each other by names.
So a name stands for the account's tokens and sessions that there are; one that is gone is found by its own id alone.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

from gateway.console.calls.call import Call
from gateway.console.calls.giving import account_of
from storage.errors import Invalid
from storage.index.catalog import Reading
from storage.nouns import Account

IDS_MAX = 1_000
KINDS = ("user", "service", "managed")


def whose(call: Call, workspace: str, said: str) -> tuple[str, ...]:
    """The ids that `said` stands for: itself, and those of the account of this name, or KIND:NAME. Of a Workspace
    those accounts are meant that belong to it, so that nothing is learnt of others. Raises Invalid for too many."""
    if not said:
        return ()
    with call.read() as reading:
        accounts = list(_accounts(reading, workspace, said))
        owned = chain.from_iterable(chain((one.id,), _ids(reading, one.id)) for one in accounts)
        found = tuple(islice(dict.fromkeys(chain((said,), owned)), IDS_MAX + 1))
    if len(found) > IDS_MAX:
        raise Invalid(f"This one has more than {IDS_MAX} tokens.", "Ask by the id of one: entrepot token list.")
    return found


def _ids(reading: Reading, account: str) -> Iterator[str]:
    for one in chain(reading.tokens_of(account), reading.sign_ins(account)):
        yield one.id


def _accounts(reading: Reading, workspace: str, said: str) -> Iterator[Account]:
    kind, colon, _ = said.partition(":")
    for asked in (said,) if colon and kind in KINDS else (f"{one}:{said}" for one in KINDS):
        found = account_of(reading, workspace, asked)
        if found is not None and (not workspace or reading.membership(workspace, found.id) is not None):
            yield found


def with_names(call: Call, workspace: str, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rows, each that has a `principal` with what that is called now, "" where nothing is known of it."""
    ids = {one["principal"] for one in items if one.get("principal")}
    with call.read() as reading:
        names = {id: _called(reading, workspace, id) for id in ids}
    return [one | {"principal_name": names.get(one["principal"], "")} if "principal" in one else one for one in items]


def _called(reading: Reading, workspace: str, id: str) -> str:
    """Of a Workspace only those are named that have to do with it: a stranger may read what is public in it (B9)."""
    token = reading.token_by_id(id) if id.isascii() and id.isprintable() and len(id) < 100 else None
    if token is None:
        return ""
    account = reading.account(token.owner) if token.owner else None
    near = any(one.scope.partition("/")[0] == workspace for one in token.grants) or (
        account is not None and reading.membership(workspace, account.id) is not None
    )
    if workspace and not near:
        return ""
    return token.name if account is None else f"{account.kind}:{account.name} ({token.name})"
