"""What hostile requests and files cost a server: memory, silence, and what it answers.

``make bench-hostile`` starts a real server with a small model and attacks it, while another process asks ``healthz`` every 20 ms
and looks at the memory of the API (of the workers where archives attack). ``--server`` and ``--pid`` attack one that runs
already, such as one of another version: a dataset is uploaded there, and what is in it is not kept. Then come mutated requests
and files, the same for the same seed. The last line is one JSON object.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from benchmarks.hostile import broken, mutations
from benchmarks.hostile.archives import ARCHIVES, PICTURES
from benchmarks.hostile.attacks import WITH_KEY, WITHOUT_KEY, Attack
from benchmarks.hostile.probe import Probe, resident
from benchmarks.hostile.target import Target, started
from benchmarks.results import Result

_MOST = 2048  # MiB by which memory may grow before an endless attack stops by itself
_SEED = 18


def main(argv: Sequence[str] | None = None) -> None:
    """Attack and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile", description=__doc__)
    parser.add_argument("--server", help="URL of a server that runs already")
    parser.add_argument("--pid", type=int, action="append", help="its API process (several: again)")
    parser.add_argument("--worker-pid", type=int, action="append", default=[], help="a worker of it that validates archives")
    parser.add_argument("--key", help="an API key of it with the scope write")
    parser.add_argument("--port", type=int, default=8150, help="of the server that is started")
    parser.add_argument("--only", action="append", help="the attack of a name, or `mutations` (several: again)")
    parser.add_argument("--tiny", action="store_true", help="only whether it runs: little of everything")
    arguments = parser.parse_args(argv)
    if arguments.server and not arguments.pid:
        sys.exit("error: --server needs --pid, the process whose memory is looked at")
    with tempfile.TemporaryDirectory(prefix="anchorhood-hostile-") as folder:
        server: AbstractContextManager[Target] = started(Path(folder), arguments.port)
        if arguments.server:
            server = nullcontext(Target(arguments.server, arguments.pid, arguments.worker_pid, arguments.key))
        with server as target:
            print(json.dumps(attacked(target, arguments.tiny, arguments.only)))


def attacked(target: Target, tiny: bool, only: Sequence[str] | None = None) -> Result:
    """Every attack and every mutation, or those of some names."""
    if tiny:
        target.volume = 2 << 20
    target.prepare(40 if tiny else 6010)
    attacks: dict[str, Result] = {}
    for attack in (*WITHOUT_KEY, *WITH_KEY, *PICTURES, *ARCHIVES):
        if only is None or attack.__name__ in only:
            attacks[attack.__name__] = _measured(target, attack)
            print(f"{attack.__name__:16} {json.dumps(attacks[attack.__name__])}", flush=True)
    result: Result = {
        "attacks": attacks,
        "most_mib": max((one["mib"] for one in attacks.values()), default=0),
        "longest_stall_ms": max((one["stall_ms"] for one in attacks.values()), default=0),
    }
    return result | (_mutated(target, tiny) if only is None or "mutations" in only else {})


def _measured(target: Target, attack: Attack) -> Result:
    with Probe(target.url, target.workers if attack in ARCHIVES else target.api, _MOST) as probe:
        try:
            answer = attack(target, probe)
        except Exception as error:  # what became of the server is what is measured
            answer = f"{type(error).__name__}: {error}"[:200]
    return {"mib": probe.cost.mib, "stall_ms": probe.cost.stall_ms, "answer": answer}


def _mutated(target: Target, tiny: bool) -> Result:
    """Mutated requests and files; a crash is a process of the server that ended, or a decoder that a file ended."""
    shares = (40, 20, 20, 20) if tiny else (4000, 1500, 1500, 1000)
    asked, filed = mutations.Answers(), mutations.Answers()
    with Probe(target.url, target.api, _MOST) as by_requests:
        mutations.requests(target, shares[0], _SEED, asked)
        broken.raw_requests(target, shares[1], _SEED, asked)
    with Probe(target.url, target.api, _MOST) as by_files:
        broken.pictures(target, shares[2], _SEED, filed)
        ends = broken.archived(target, shares[3], _SEED, filed)
    rejected = target.get(f"/datasets/{target.dataset}/rejections?limit=1000")["data"]
    crashes = sum(each["code"] == "decoder_crashed" for each in rejected) + ends["internal_error"]
    crashes += sum(resident(process) == 0 for process in (*target.api, *target.workers))
    for request in (*asked.broken, *filed.broken):
        print(request)
    print(f"requests: {dict(asked.statuses)}; {by_requests.cost}")
    print(f"files: {dict(filed.statuses)}; their jobs: {dict(ends)}; {by_files.cost}")
    return {
        "mutated_requests": asked.sent,
        "mutated_files": shares[2] + shares[3] + shares[3] // 20,
        "answers_5xx": len(asked.broken) + len(filed.broken),
        "crashes": crashes,
    }


if __name__ == "__main__":
    main()
