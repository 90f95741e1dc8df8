"""Which foreign registry do the regions draw from? A simple index of one package a file, on a host outside."""

import hashlib
import sys
from contextlib import ExitStack
from pathlib import Path

from bench.namespaces import Site
from bench.servers import READ_BYTES, Filler, Running

PORT = 8000
NAME = "cold-1.0-py3-none-any.whl"


class Outside:
    """One package of one file, which compresses badly. Its server writes down each request."""

    def __init__(self, home: Path, site: Site, size: int, stack: ExitStack) -> None:
        self.url = f"http://{site.address}:{PORT}/simple/"
        self._log = home / "outside.log"
        root = home / "outside"
        (root / "simple" / "cold").mkdir(parents=True)
        (root / "files").mkdir()
        made = hashlib.sha256()
        with Filler("cold", size) as content, (root / "files" / NAME).open("wb") as file:
            while piece := content.read(READ_BYTES):
                made.update(piece)
                file.write(piece)
        self.sha256, self.size = made.hexdigest(), size
        anchor = f'<a href="../../files/{NAME}#sha256={self.sha256}">{NAME}</a>'
        (root / "simple" / "cold" / "index.html").write_text(f"<!DOCTYPE html><html><body>{anchor}</body></html>")
        command = [
            sys.executable,
            "-u",
            "-m",
            "http.server",
            str(PORT),
            "--bind",
            site.address,
            "--directory",
            str(root),
        ]
        stack.enter_context(Running(site.entering(*command), self._log, None, speaks=True)).line()

    def fetches(self) -> int:
        """How often the file was asked for."""
        return self._log.read_text().count(f'"GET /files/{NAME}')
