"""Rooms that misbehave on purpose, for the sandbox to survive."""

import os
import socket
from pathlib import Path
from typing import Any

from formats.kit.contract import Finds, Received
from storage.errors import Conflict


class Misbehaving:
    """`unpack` does what the upload's file name says."""

    name = "bad"

    def unpack(self, ask: Any, received: Received) -> Finds:
        deed = received.filename
        if deed == "read":
            with open(received.descriptor, "rb", closefd=False) as file:
                file.seek(received.start)
                return Finds(facts=file.read())
        if deed == "loop":
            while True:
                pass
        if deed == "memory":
            return Finds(facts=bytes(4 << 30))
        if deed == "exit":
            os._exit(3)
        if deed == "problem":
            raise Conflict("It is taken.", "Take another.")
        if deed == "write":
            Path(received.directory, "x").write_bytes(b"x" * (2 << 20))
        if deed == "socket":
            socket.create_connection(("127.0.0.1", 9), 1)
        raise KeyError("secret detail")


ROOMS = {"bad": Misbehaving()}
