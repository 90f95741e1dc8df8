"""Where do the webhooks of a Workspace lie? Part of the fold: what it does follows from the entry alone.

Under the Repository that one is of, so that it goes with it, and another of that name does not inherit it.
"""

import msgspec

from storage.hooks import DropWebhook, Webhook
from storage.index.keys import join, seal
from storage.index.tables import Tables, Txn

_encode = msgspec.msgpack.Encoder().encode


def put(txn: Txn, tables: Tables, workspace: str, made: Webhook) -> None:
    txn.put(join(workspace, made.repository, made.id), seal(_encode(made)), db=tables.webhooks)


def drop(txn: Txn, tables: Tables, workspace: str, gone: DropWebhook) -> None:
    txn.delete(join(workspace, gone.repository, gone.id), db=tables.webhooks)
