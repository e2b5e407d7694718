"""``python -m service.api``: the API process."""

import argparse
from types import FrameType

import uvicorn

from core.processes import die_with_parent
from core.settings import Settings
from service.app import create_app


class _Server(uvicorn.Server):
    """Tells open event streams to end, for uvicorn waits for them on shutdown."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.config.app.state.context.stopping.set()  # type: ignore[union-attr]
        super().handle_exit(sig, frame)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m service.api")
    parser.add_argument("--parent-pipe", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.parent_pipe is not None:
        die_with_parent(arguments.parent_pipe)
    settings = Settings.load()
    app = create_app(settings)
    config = uvicorn.Config(app, host=settings.host, port=settings.port, timeout_graceful_shutdown=20, server_header=False)
    _Server(config).run()


if __name__ == "__main__":
    main()
