"""Does a node serve TLS on a port of its own, with the certificate that it was given?"""

import datetime
import ipaddress
import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.harness.running import ENTREPOT, clean_environment

pytestmark = pytest.mark.native

START_SECONDS_MAX = 30


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for this machine, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    alternatives = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, secret = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, secret


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def health(url: str, context: ssl.SSLContext) -> bytes:
    """The body of a healthy answer, once there is one."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            with urllib.request.urlopen(url, context=context, timeout=5) as answer:
                return bytes(answer.read())
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionError) or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_a_node_speaks_tls_beside_its_plain_port(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path)
    port, tls_port = free_port(), free_port()
    command = [*ENTREPOT, "serve", "--data", str(tmp_path / "data"), "--port", str(port)]
    command += ["--tls-port", str(tls_port), "--tls-cert", str(chain), "--tls-key", str(key)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=clean_environment(), start_new_session=True)
    try:
        trusting = ssl.create_default_context(cafile=str(chain))
        assert b'"ok"' in health(f"https://127.0.0.1:{tls_port}/-/health", trusting)
        with pytest.raises(urllib.error.URLError):
            health(f"https://127.0.0.1:{tls_port}/-/health", ssl.create_default_context())
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
