"""Commands of ``anchorhood`` run in this process, and what they said."""

import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple

from anchorhood.commands import main


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The only line of an error."""
        assert self.err.count("\n") == 1 and not self.out, self
        return self.err.strip()


class _Kept(io.BytesIO):
    """What was written stays when the text stream around it goes."""

    def close(self) -> None:
        pass


def run(arguments: Sequence[object], encoding: str = "utf-8") -> Said:
    """One command, as its process would run it on a console of an encoding."""
    kept = sys.argv, sys.stdout, sys.stderr
    out, err = _Kept(), _Kept()
    sys.argv = ["anchorhood", *map(str, arguments)]
    sys.stdout = io.TextIOWrapper(out, encoding, write_through=True)
    sys.stderr = io.TextIOWrapper(err, encoding, "backslashreplace", write_through=True)
    try:
        main.main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv, sys.stdout, sys.stderr = kept
    return Said(code, out.getvalue().decode(encoding), err.getvalue().decode(encoding))


@contextmanager
def answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A web server on a free port; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Quiet(BaseHTTPRequestHandler):
    """Answers and says nothing about it."""

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def read_json(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))
