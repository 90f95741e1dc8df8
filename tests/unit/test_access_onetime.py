"""Are one-time codes those of RFC 6238, and each good once?"""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyotp import TOTP

from gateway.access.signin.onetime import (
    RECOVERY_CODES,
    STEP_S,
    address,
    new_secret,
    recovery_codes,
    recovery_hash,
    step_of,
)

RFC_SECRET = base64.b32encode(b"12345678901234567890").decode()
VECTORS = [  # RFC 6238 appendix B, SHA1, of eight digits the last six
    (59, "94287082"),
    (1111111109, "07081804"),
    (1111111111, "14050471"),
    (1234567890, "89005924"),
    (2000000000, "69279037"),
    (20000000000, "65353130"),
]


@pytest.mark.parametrize(("at_s", "code"), VECTORS)
def test_the_vectors_of_rfc_6238(at_s: int, code: str) -> None:
    assert step_of(RFC_SECRET, code[2:], at_s, 0) == at_s // STEP_S


@pytest.mark.parametrize("aside", [-3, -2, -1, 0, 1, 2, 3])
def test_a_code_is_taken_one_step_early_or_late_and_no_more(aside: int) -> None:
    now = 1_700_000_000
    code = TOTP(RFC_SECRET).generate_otp(now // STEP_S + aside)
    found = step_of(RFC_SECRET, code, now, 0)
    assert (found is not None) == (abs(aside) <= 1)


def test_c13_a_code_is_good_once_and_so_is_none_before_it() -> None:
    now = 1_700_000_000
    step = now // STEP_S
    totp = TOTP(RFC_SECRET)
    assert step_of(RFC_SECRET, totp.generate_otp(step), now, 0) == step
    assert step_of(RFC_SECRET, totp.generate_otp(step), now, step) is None
    assert step_of(RFC_SECRET, totp.generate_otp(step - 1), now, step) is None
    assert step_of(RFC_SECRET, totp.generate_otp(step + 1), now, step) == step + 1


@given(st.text(max_size=12))
def test_whatever_is_typed_is_a_code_or_none(text: str) -> None:
    found = step_of(RFC_SECRET, text, 59, 0)
    assert found is None or text.replace(" ", "") in {TOTP(RFC_SECRET).generate_otp(step) for step in (0, 1, 2)}


def test_secrets_and_recovery_codes_are_new_each_time() -> None:
    assert len({new_secret() for _ in range(50)}) == 50
    codes = recovery_codes()
    assert len(set(codes)) == RECOVERY_CODES
    for code in codes:
        hash = recovery_hash(code)
        assert hash is not None
        assert hash == recovery_hash(code.lower().replace("-", " "))
    assert recovery_hash("123456") is None


def test_an_authenticator_app_reads_the_address() -> None:
    assert address("ABC", "pkgs example", "ann") == (
        "otpauth://totp/pkgs%20example:ann?secret=ABC&issuer=pkgs%20example&algorithm=SHA1&digits=6&period=30"
    )
