"""Does the registry pass the conformance suite of the OCI distribution specification, at the origin and at an edge?"""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.harness.clients import program, run
from tests.harness.running import Up, clean_environment

pytestmark = pytest.mark.native


@pytest.mark.parametrize("door", ["origin", "edge"])
def test_the_conformance_suite_finds_nothing(node: Up, tmp_path: Path, door: str) -> None:
    """Everything that it can test is switched on but sparse images: a manifest whose parts are missing is refused."""
    environment = clean_environment() | {
        "OCI_REGISTRY": getattr(node, door).partition("://")[2],
        "OCI_TLS": "disabled",
        "OCI_USERNAME": "any",
        "OCI_PASSWORD": node.token,
        "OCI_REPO1": f"{node.private}/conformance-{door}/one",
        "OCI_REPO2": f"{node.private}/conformance-{door}/two",
        "OCI_VERSION": "1.1",
        "OCI_RESULTS_DIR": str(tmp_path),
        "OCI_API_BLOBS_UPLOAD_CANCEL": "true",
        "OCI_API_BLOBS_DIGEST_HEADER": "true",
        "OCI_API_MANIFESTS_DIGEST_HEADER": "true",
        "OCI_API_MANIFESTS_TAG_PARAM": "true",
    }
    output = run([program("conformance")], cwd=tmp_path, env=environment)
    suites = ET.parse(tmp_path / "junit.xml").getroot()
    cases = list(suites.iter("testcase"))
    assert len(cases) > 400
    broken = [case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None]
    assert broken == []
    assert "Result: Pass" in output
