"""A web server of this process that serves a folder, as an object store does."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple


class Served(NamedTuple):
    """A folder that is served.

    `asked` are the paths of all requests so far; a path with an entry in `statuses` in it is
    answered by that status instead of its file.
    """

    url: str
    asked: list[str]
    statuses: dict[str, int]


@contextmanager
def serve(folder: Path, *, lists: bool = True) -> Iterator[Served]:
    """Serve a folder at a URL; folders are listed as links, or answered by 404."""
    asked: list[str] = []
    statuses: dict[str, int] = {}

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status = next((status for part, status in statuses.items() if part in self.path), None)
            if status is not None:
                self.send_error(status)
            elif self.path.endswith("/") and not lists:
                self.send_error(404)
            else:
                super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield Served(f"http://127.0.0.1:{server.server_port}", asked, statuses)
        finally:
            server.shutdown()
            thread.join()
