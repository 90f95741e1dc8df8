"""Does what the README tells a receiver to do take what is sent to it, and nothing else?"""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.webhooks.signatures import new_secret, signed

README = Path(__file__).resolve().parents[2] / "README.md"
BODY = b'{"type":"package.published","data":{"package":"na\xc3\xafve"}}'

IsOurs = Callable[[str, dict[str, str], bytes], bool]


@pytest.fixture(scope="module")
def is_ours() -> IsOurs:
    [recipe] = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.M | re.S)
    found: dict[str, IsOurs] = {}
    exec(recipe, found)
    return found["is_ours"]


def test_a_receiver_takes_what_is_signed_with_its_secret_and_new(is_ours: IsOurs) -> None:
    secret, other, at_s = new_secret(), new_secret(), int(time.time())
    sent = signed((secret,), "msg_1", at_s, BODY)
    assert is_ours(secret, sent, BODY)
    assert is_ours(secret, signed((other, secret), "msg_1", at_s, BODY), BODY), "while the secret is rotated"
    assert not is_ours(other, sent, BODY)
    assert not is_ours(secret, sent, BODY + b" ")
    assert not is_ours(secret, sent | {"webhook-id": "msg_2"}, BODY)
    assert not is_ours(secret, sent | {"webhook-timestamp": str(at_s + 1)}, BODY)
    assert not is_ours(secret, signed((secret,), "msg_1", at_s - 3600, BODY), BODY), "replayed"
