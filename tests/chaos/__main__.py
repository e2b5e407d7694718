"""``python -m tests.chaos --minutes 10``: prints one JSON line, and exits with 1 where a promise was broken."""

import argparse
import json
import logging
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.chaos.client import Client
from tests.chaos.harm import Harm
from tests.chaos.verdict import judge
from tests.live import Running
from tests.servers import Embedded, Postgres, Production, Redis, Service

log = logging.getLogger("chaos")
SYSTEMS = ("production", "embedded")
# A worker is lost after 8 s and not 4, since a busy machine must not do harm that is not counted. Every step is a checkpoint,
# so that tiny training makes progress between two kills.
SETTINGS: dict[str, object] = {"heartbeat_seconds": 1, "lost_after_seconds": 8, "checkpoint_seconds": 0, "device": "cpu"}
GAPS = (3.0, 9.0)  # seconds from one kill to the next
DRAIN_SECONDS = 420.0  # for the jobs that are left after the last kill


@contextmanager
def production(folder: Path) -> Iterator[tuple[Running, list[Service], dict[str, Service]]]:
    """Two workers for each queue and two API processes, on a PostgreSQL and a Redis of their own."""
    with ExitStack() as stack:
        postgres, redis = Postgres(), Redis()
        stack.callback(postgres.close)
        stack.callback(redis.close)
        system = Production(folder / "data", postgres.start().url, redis.start().url, workers=2, **SETTINGS)
        system.migrate()
        stack.callback(system.close)
        system.start()
        yield system, [*system.services, postgres.service, redis.service], {"postgres": postgres.service, "redis": redis.service}


@contextmanager
def embedded(folder: Path) -> Iterator[tuple[Running, list[Service], dict[str, Service]]]:
    """``anchorhood serve``, with SQLite and Valkey."""
    system = Embedded(folder / "data", api_processes=2, **SETTINGS)
    try:
        yield system.start(), system.services, {}
    finally:
        system.close()


def run(name: str, minutes: float, seed: int) -> dict[str, Any]:
    """Chaos for a time, then calm until the queue is empty, then the verdict."""
    start = {"production": production, "embedded": embedded}[name]
    with tempfile.TemporaryDirectory(prefix="anchorhood-chaos-") as folder, start(Path(folder)) as (system, services, servers):
        client, harm = Client(system, Path(folder)), Harm(system, servers, seed)
        sender = threading.Thread(target=client.run, args=(60 * minutes,))
        sender.start()
        end, due = time.monotonic() + 60 * minutes, time.monotonic() + harm.gap(*GAPS)
        while time.monotonic() < end or sender.is_alive():
            for service in services:
                service.look()
            up = harm.kills[-1:] != ["serve"] or system.alive()  # else it would be killed for ever before it has started
            if due < time.monotonic() < end and up:
                harm.kill()
                due = time.monotonic() + harm.gap(*GAPS)
            time.sleep(0.2)
        log.info("%s: calm; %d jobs were accepted, %d processes killed", name, len(client.sent), len(harm.kills))
        calm = time.monotonic()
        while time.monotonic() - calm < DRAIN_SECONDS and not client.drained():
            for service in services:
                service.look()
            time.sleep(1)
        log.info("%s: drained after %.0f s", name, time.monotonic() - calm)
        result, broken = judge(system, client)
        for promise in broken:
            log.error("%s: BROKEN: %s", name, promise)
        if broken:
            keep = Path(tempfile.mkdtemp(prefix=f"anchorhood-chaos-{name}-logs-"))
            for path in [*system.data_dir.glob("logs/*.log"), *(service.log for service in services)]:
                if path.exists():
                    (keep / path.name).write_bytes(path.read_bytes())
            log.error("%s: the logs are in %s", name, keep)
    return {**result, "kills": len(harm.kills), "killed": harm.counts(), "broken": len(broken)}


def main() -> int:
    """Run each system for its share of the time."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of chaos, shared by the systems")
    parser.add_argument("--system", choices=SYSTEMS, help="only this one; default: one after the other")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of victims and moments")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    names = [arguments.system] if arguments.system else list(SYSTEMS)
    results = {name: run(name, arguments.minutes / len(names), arguments.seed) for name in names}
    summed = ("jobs", "succeeded", "lost", "doubled", "kills", "torn_models", "datasets", "datasets_whole", "broken")
    total: dict[str, Any] = {key: sum(result[key] for result in results.values()) for key in summed}
    print(json.dumps({**total, "systems": results}))
    return 1 if total["broken"] or not total["jobs"] else 0


if __name__ == "__main__":
    sys.exit(main())
