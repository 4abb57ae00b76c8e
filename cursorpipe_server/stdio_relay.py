"""The program that an agent starts to reach its caller's tools: passes lines on to the server and back.

It is run by its path, with nothing but the standard library, in whatever environment an agent gives it.
"""

import os
import socket
import sys
import threading
from contextlib import suppress

_PIECE = 65536


def main() -> None:
    """Pass everything on until one side ends."""
    server = socket.create_connection(("127.0.0.1", int(os.environ["PIPE_PORT"])))
    # Whoever hangs up ends it, in whatever way: an agent would show a user what is said of that.
    with suppress(OSError):
        server.sendall(os.environ["PIPE_TOKEN"].encode() + b"\n")
        threading.Thread(target=_pass_on_input, args=(server,), daemon=True).start()
        while data := server.recv(_PIECE):
            _write_all(sys.stdout.fileno(), data)


def _pass_on_input(server: socket.socket) -> None:
    with suppress(OSError):
        while data := os.read(sys.stdin.fileno(), _PIECE):
            server.sendall(data)
        server.shutdown(socket.SHUT_RDWR)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


if __name__ == "__main__":
    main()
