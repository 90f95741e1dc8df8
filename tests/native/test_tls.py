"""Does a node serve TLS on a port of its own, with the certificate that it was given?"""

import datetime
import http.client
import ipaddress
import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.ports import free_port
from tests.harness.running import ENTREPOT, clean_environment
from tests.harness.waiting import until

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


@contextmanager
def serving(folder: Path, chain: Path, key: Path, workers: int = 1) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """An origin with TLS: its supervisor, and the port for https."""
    port, tls_port = free_port(), free_port()
    command = [*ENTREPOT, "serve", "--data", str(folder / "data"), "--port", str(port), "--workers", str(workers)]
    command += ["--tls-port", str(tls_port), "--tls-cert", str(chain), "--tls-key", str(key)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=clean_environment(), start_new_session=True)
    try:
        yield process, tls_port
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_node_speaks_tls_beside_its_plain_port(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path)
    with serving(tmp_path, chain, key) as (process, tls_port):
        trusting = ssl.create_default_context(cafile=str(chain))
        assert b'"ok"' in health(f"https://127.0.0.1:{tls_port}/-/health", trusting)
        with pytest.raises(urllib.error.URLError):
            health(f"https://127.0.0.1:{tls_port}/-/health", ssl.create_default_context())
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def shown(port: int) -> bytes:
    """The certificate that a new connection is shown."""
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 10) as plain, anyone.wrap_socket(plain) as sealed:
        return sealed.getpeercert(binary_form=True) or b""


def test_a_hangup_reads_the_certificates_again_and_drops_nobody(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path)
    with serving(tmp_path, chain, key, workers=2) as (process, port):
        trusting = ssl.create_default_context(cafile=str(chain))
        health(f"https://127.0.0.1:{port}/-/health", trusting)
        kept = [http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=trusting) for _ in range(8)]
        for one in kept:
            one.request("GET", "/-/health")
            assert one.getresponse().read()
        first = shown(port)
        certificate(tmp_path)
        until(lambda: shown(port) == first)
        process.send_signal(signal.SIGHUP)
        until(lambda: all(shown(port) != first for _ in range(12)))  # by either worker
        sockets = [one.sock for one in kept]
        for one in kept:
            one.request("GET", "/-/health")
            assert one.getresponse().read()
        assert sockets == [one.sock for one in kept], "nobody had to connect anew"
        second = shown(port)
        chain.write_text("this is no certificate")
        process.send_signal(signal.SIGHUP)
        until(lambda: (tmp_path / "log").read_text().count("the certificates stay as they were") == 2)
        assert {shown(port) for _ in range(12)} == {second}
        for one in kept:
            one.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
