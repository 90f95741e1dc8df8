"""How does a test get an OpenID provider? A real one on loopback: real keys, discovery, JWKS, and tokens as it or a
forger would make them. Tokens are put together by hand here, so that they may be as wrong as a test wants."""

import base64
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
Signer = Callable[[bytes], bytes]


def text_of(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def number(value: int, size: int = 0) -> str:
    return text_of(value.to_bytes(size or (value.bit_length() + 7) // 8))


def compact(header: Any, claims: Any, sign: Signer) -> str:
    """A JWS of these; texts and bytes go in as they are."""
    parts = (one if isinstance(one, bytes) else json.dumps(one).encode() for one in (header, claims))
    signed = ".".join(text_of(one) for one in parts)
    return f"{signed}.{text_of(sign(signed.encode()))}"


def rsa_signer(key: rsa.RSAPrivateKey, algorithm: str = "RS256") -> Signer:
    hashed = HASHES[algorithm[2:]]
    fill: Any = padding.PKCS1v15()
    if algorithm.startswith("PS"):
        fill = padding.PSS(padding.MGF1(hashed), hashed.digest_size)
    return lambda data: key.sign(data, fill, hashed)


def ec_signer(key: ec.EllipticCurvePrivateKey, algorithm: str = "ES256") -> Signer:
    size = (key.curve.key_size + 7) // 8

    def sign(data: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(HASHES[algorithm[2:]])))
        return r.to_bytes(size) + s.to_bytes(size)

    return sign


def rsa_jwk(key: rsa.RSAPrivateKey, kid: str, **more: Any) -> dict[str, Any]:
    public = key.public_key().public_numbers()
    return {"kty": "RSA", "kid": kid, "n": number(public.n), "e": number(public.e)} | more


def ec_jwk(key: ec.EllipticCurvePrivateKey, kid: str, curve: str, **more: Any) -> dict[str, Any]:
    public, size = key.public_key().public_numbers(), (key.curve.key_size + 7) // 8
    return {"kty": "EC", "kid": kid, "crv": curve, "x": number(public.x, size), "y": number(public.y, size)} | more


class Issuer:
    """An OpenID provider at `url`; its documents may be changed, `asked` holds the paths that
    were, and `sent` the last form."""

    rsa_key = rsa.generate_private_key(65537, 2048)
    ec_key = ec.generate_private_key(ec.SECP256R1())

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.sent = ""
        self.documents: dict[str, Any] = {}
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                found = issuer.documents.get(self.path)
                status = 404 if found is None else 302 if isinstance(found, str) else 200
                body = found if isinstance(found, bytes) else json.dumps(found).encode()
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", found)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                issuer.sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self.do_GET()

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        discovery = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        self.documents["/.well-known/openid-configuration"] = discovery
        self.publish(rsa_jwk(self.rsa_key, "rsa", use="sig"), ec_jwk(self.ec_key, "ec", "P-256"))

    def publish(self, *keys: dict[str, Any]) -> None:
        self.documents["/keys"] = {"keys": list(keys)}

    def token(self, claims: dict[str, Any], header: dict[str, Any] | None = None) -> str:
        """Signed with the RSA key."""
        return compact({"alg": "RS256", "kid": "rsa", "typ": "JWT"} | (header or {}), claims, rsa_signer(self.rsa_key))

    def __enter__(self) -> "Issuer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
