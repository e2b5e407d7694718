"""What the containers may use, and what somebody gets who has taken one part over."""

import json
from pathlib import Path

from tests.compose.deployment import Deployment
from tests.core.untrusted import hostile_decoder

_ANCHORHOODS = ("api", "worker-tasks", "worker-training")
# Of cgroups version 2, then 1.
_MEMORY = ("memory.max", "memory/memory.limit_in_bytes")
_PROCESSES = ("pids.max", "pids/pids.max")
_TAKE_OVER = """
import json, os, sys
from pathlib import Path
from core.settings import Settings
from core.untrusted import decoding
program = Path("/tmp/hostile_decoder.py")
program.write_text(sys.argv[1])
decoding._COMMAND = [sys.executable, str(program)]
picture = {"secret": "/secrets/admin-key", "parent": os.getpid(), "only": [""]}
with decoding.Decoders(Settings.load()) as decoders:
    (answer,) = decoders.check([json.dumps(picture).encode()], 1)
program.unlink()
print(answer)
"""


def limited(system: Deployment, services: tuple[str, ...]) -> None:
    """Every container has its limits, as the kernel sees them."""
    for service in services:
        host = system.state(service)["HostConfig"]
        for said, files in ((host["Memory"], _MEMORY), (host["PidsLimit"], _PROCESSES)):
            found = system.inside(service, " || ".join(f"cat /sys/fs/cgroup/{file} 2>/dev/null" for file in files))
            assert int(found) == said > 0, f"{service}: {files[0]} is {found}, and was to be {said}"
        assert host["NanoCpus"] > 0 or (service == "worker-training" and host["CpuShares"] < 1024), (
            f"{service} may use all processors"
        )
    for service in _ANCHORHOODS:
        kilobytes = int(system.inside(service, "df -k /tmp | tail -n 1").split()[1])
        assert kilobytes <= 64 << 10, f"{service}: /tmp has {kilobytes:,} kB"
        system.inside(service, "! head -c 80000000 /dev/zero > /tmp/full 2> /dev/null; rm /tmp/full")
    print("limits: memory, processes, processors and /tmp of every container are what they were to be")


def refused(system: Deployment) -> None:
    """Redis wants its password, and a decoder in a container gets at nothing, least of all at a secret that its user may read."""
    assert "NOAUTH" in system.inside("redis", "redis-cli keys '*' 2>&1")
    assert (
        system.inside("redis", "cat /secrets/admin-key /secrets/database-password 2>&1 || true").count("Permission denied") == 2
    )
    source = Path(hostile_decoder.__file__).read_text()
    for service in ("api", "worker-tasks"):
        assert system.inside(service, "cat /secrets/admin-key").startswith("ah_")
        found = json.loads(system.compose("exec", "--no-TTY", service, "python", "-c", _TAKE_OVER, source))
        worked = {name: how for name, how in found["got"].items() if how.startswith("worked")}
        assert len(found["got"]) > 20 and not worked, f"{service}: {worked}"
        findings = json.loads(system.inside(service, "anchorhood doctor --json || true"))["checks"]
        assert [each["state"] for each in findings if each["check"] == "decoders"] == ["ok"], findings
    print(f"refused: Redis without its password, and {len(found['got'])} things that a decoder tries which was taken over")
