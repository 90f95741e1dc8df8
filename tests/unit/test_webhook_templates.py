"""Can a template do nothing but fill its places, and can no value break out of one (D14)?"""

import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.webhooks.catalogue import kinds_of
from gateway.webhooks.signatures import key_of, new_secret, signed
from gateway.webhooks.templates import BODY_BYTES_MAX, FORM, JSON, TEXT, check_template, renderer
from storage.errors import Invalid

PACKAGES = kinds_of(("package.*",), of_repository=False)
HOSTILE = 'x","admin":true,"y":"\r\nInjected: {{data.reason}} &a=b%00\u2028'


def document(package: object) -> dict[str, object]:
    return {
        "type": "package.published",
        "timestamp": "t",
        "data": {"package": package, "tags": ["a", "b"], "serial": 7},
    }


@given(st.text() | st.just(HOSTILE))
def test_in_json_a_value_stays_in_its_place(package: str) -> None:
    template = (
        '{"text": "new: {{data.package}}!", "{{type}}": [1, {"tags": "{{ data.tags }}", "n": "{{data.serial}}"}]}'
    )
    body = json.loads(renderer(template, JSON)(document(package)))
    assert body == {"text": f"new: {package}!", "package.published": [1, {"tags": ["a", "b"], "n": 7}]}


@given(st.text() | st.just(HOSTILE))
def test_in_a_form_a_value_is_one_value(package: str) -> None:
    body = renderer("p={{data.package}}&t={{data.tags}}", FORM)(document(package))
    assert urllib.parse.parse_qs(body.decode(), keep_blank_values=True, encoding="utf-8") == {
        "p": [package],
        "t": ['["a","b"]'],
    }


@given(st.text() | st.just(HOSTILE))
def test_in_a_text_a_value_stays_on_its_line(package: str) -> None:
    body = renderer("{{type}} {{data.package}}\nend", TEXT)(document(package)).decode()
    assert body.count("\n") == 1
    assert body.endswith("\nend")


def test_what_an_event_does_not_have_is_null_or_nothing() -> None:
    assert renderer('{"a": "{{data.tag}}", "b": "x{{data.tag}}"}', JSON)(document("p")) == b'{"a":null,"b":"x"}'


@pytest.mark.parametrize(
    ("template", "media"),
    [
        ("{", JSON),
        ('"{{type}}"', JSON),
        ('{"a": NaN}', JSON),
        ('{"a": "\\ud800"}', JSON),
        ("[" * 5000 + "]" * 5000, JSON),
        ("[" * 30 + "]" * 30, JSON),
        ('{"a": "{{data.nothing}}"}', JSON),
        ('{"a": "{{data.member}}"}', JSON),
        ('{"a": "{{ 7*7 }}"}', JSON),
        ('{"a": "{{data.package.__class__}}"}', JSON),
        ("{% for x in y %}{{type}}{% endfor %}{{", TEXT),
        ("", TEXT),
        ("{{type}}", "text/html"),
        ("x" * 20_000, TEXT),
    ],
)
def test_what_is_no_template_is_refused(template: str, media: str) -> None:
    with pytest.raises(Invalid):
        check_template(template, media, PACKAGES)


def test_a_body_has_a_bound() -> None:
    with pytest.raises(Invalid):
        renderer("", JSON)(document("x" * BODY_BYTES_MAX))
    with pytest.raises(Invalid):
        renderer("{{data.package}}" * 1000, TEXT)(document("x" * 1000))


def test_a_signature_is_that_of_the_specifications_example() -> None:
    """Standard Webhooks' own test vector: id, timestamp, body and secret of its reference libraries."""
    secret = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    headers = signed((secret,), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-timestamp"] == "1614265330"


def test_two_secrets_make_two_signatures_and_every_secret_is_another() -> None:
    one, two = new_secret(), new_secret()
    assert one != two
    assert len(key_of(one)) == 32
    assert len(signed((one, two), "msg_1", 1, b"")["webhook-signature"].split(" ")) == 2
    with pytest.raises(Invalid):
        key_of("whsec_short")
