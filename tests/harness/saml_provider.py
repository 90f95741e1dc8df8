"""How does a test get a real SAML identity provider? SimpleSAMLphp as Debian has it, configured for the test alone."""

import os
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import httpx2

from bench.ports import free_port
from tests.harness.clients import lacking, program
from tests.harness.running import clean_environment
from tests.harness.saml_answers import Signer
from tests.harness.waiting import until

ROOT = Path("/usr/share/simplesamlphp/www")
PASSWORD = "correct horse"
SESSION_SECONDS = 3600
WORKERS = 4


class SamlProvider:
    """A running identity provider at `url`. `people` are the attributes of each login."""

    def __init__(
        self, folder: Path, people: Mapping[str, Mapping[str, Sequence[str]]], signers: Sequence[Signer]
    ) -> None:
        if not ROOT.exists():
            lacking("simplesamlphp is not installed")
        self.folder, self.people, self.signers = folder, people, signers
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        for name in ("config", "metadata", "cert", "data", "log", "sessions", "tmp"):
            (folder / name).mkdir(parents=True)
        for number, one in enumerate(signers):
            (folder / "cert" / f"{number}.pem").write_text(one.key_pem)
            (folder / "cert" / f"{number}.crt").write_text(one.pem)
        self.client = folder / "metadata" / "client.xml"
        self._write_config()
        self.write_metadata()
        self._log = (folder / "log" / "server").open("wb")
        self._process = subprocess.Popen(
            [program("php"), "-d", "opcache.enable=0", "-S", f"127.0.0.1:{self.port}", "-t", str(ROOT)],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=clean_environment()
            | {"SIMPLESAMLPHP_CONFIG_DIR": str(folder / "config"), "PHP_CLI_SERVER_WORKERS": str(WORKERS)},
            start_new_session=True,
        )
        until(self._answers)

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.folder / "log" / "server").read_text()
        try:
            return httpx2.get(f"{self.url}/saml2/idp/metadata.php?output=xml", trust_env=False).status_code == 200
        except httpx2.TransportError:
            return False

    def metadata(self) -> str:
        """Its own, as it says it."""
        answer = httpx2.get(f"{self.url}/saml2/idp/metadata.php?output=xml", trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.text

    def know(self, description: str) -> None:
        """Its client from now on, by the metadata that this tells of itself."""
        self.client.write_text(description)

    def write_metadata(self, *, signing: int = 0, weak: bool = False, **more: object) -> None:
        """Which of its keys it signs with; the others are told as new ones. `more` is as its manual has it, with `__`
        for a point."""
        hash = "http://www.w3.org/2000/09/xmldsig#rsa-sha1" if weak else (
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256")  # fmt: skip
        told: dict[str, object] = {
            "host": "__DEFAULT__",
            "auth": "people",
            "privatekey": f"{signing}.pem",
            "certificate": f"{signing}.crt",
            "signature.algorithm": hash,
            "NameIDFormat": "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress",
            "simplesaml.nameidattribute": "mail",
        } | {name.replace("__", "."): value for name, value in more.items()}
        if len(self.signers) > 1 and not signing:
            told |= {"new_privatekey": "1.pem", "new_certificate": "1.crt"}
        text = f"<?php\n$metadata['__DYNAMIC:1__'] = {_php(told)};\n"
        (self.folder / "metadata" / "saml20-idp-hosted.php").write_text(text)

    def _write_config(self) -> None:
        folder = self.folder
        config: dict[str, object] = {
            "baseurlpath": f"{self.url}/",
            "certdir": f"{folder}/cert/",
            "loggingdir": f"{folder}/log/",
            "datadir": f"{folder}/data/",
            "tempdir": f"{folder}/tmp",
            "metadatadir": f"{folder}/metadata/",
            "technicalcontact_email": "it@acme.example",
            "secretsalt": secrets.token_hex(16),
            "auth.adminpassword": secrets.token_hex(16),
            "logging.handler": "errorlog",
            "enable.saml20-idp": True,
            "store.type": "phpsession",
            "session.duration": SESSION_SECONDS,
            "session.phpsession.savepath": f"{folder}/sessions",
            "language.default": "en",
            "timezone": "UTC",
        }
        text = f"<?php\n$config = {_php(config)} + ['session.cookie.secure' => false, 'authproc.idp' => [],\n"
        client = _php(self.client)
        known = f"file_exists({client}) ? [['type' => 'xml', 'file' => {client}]] : []"
        text += "'module.enable' => ['exampleauth' => true],\n"
        text += f"'metadata.sources' => array_merge([['type' => 'flatfile']], {known})];\n"
        (folder / "config" / "config.php").write_text(text)
        people = ", ".join(f"{_php(f'{name}:{PASSWORD}')} => {_php(one)}" for name, one in self.people.items())
        sources = f"<?php\n$config = ['people' => ['exampleauth:UserPass', {people}]];\n"
        (folder / "config" / "authsources.php").write_text(sources)

    def __enter__(self) -> "SamlProvider":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.killpg(self._process.pid, 15)  # its own session: the workers too
        self._process.wait(10)
        self._log.close()


def _php(value: object) -> str:
    """As PHP writes it."""
    if isinstance(value, Mapping):
        return "[" + ", ".join(f"{_php(key)} => {_php(one)}" for key, one in value.items()) + "]"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_php, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
