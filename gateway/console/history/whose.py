"""Who is meant by whoever asks what somebody did? All the ids under which the client log may have it.

The client log knows a request by the id of the token or session that it came with, and people know each other by names.
So a name stands for the account's tokens and sessions that there are; one that is gone is found by its own id alone.
"""

from collections.abc import Iterator
from itertools import chain, islice

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
