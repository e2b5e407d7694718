"""Load on one route from another process: ``wrk``, with random ids or bodies."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.results import Result

CONNECTIONS = 8
_LUA = """
local bodies = {}
if os.getenv("BODIES") then for line in io.lines(os.getenv("BODIES")) do bodies[#bodies + 1] = line end end
math.randomseed(tonumber(os.getenv("SEED")))
local route, first, count = os.getenv("ROUTE"), tonumber(os.getenv("FIRST")), tonumber(os.getenv("COUNT"))
request = function()
  if #bodies > 0 then
    return wrk.format("POST", route, {["Content-Type"] = "application/json"}, bodies[math.random(#bodies)])
  end
  return wrk.format("GET", count and route .. (first + math.random(count) - 1) or route)
end
done = function(summary, latency)
  local errors = summary.errors
  print(string.format('{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "errors": %d}', summary.requests,
    summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
"""


def load(port: int, route: str, seed: int, seconds: float, ids: range | None = None, bodies: Path | None = None) -> Result:
    """Ask one route over some connections as fast as it answers: requests/s, and latencies in ms."""
    if shutil.which("wrk") is None:
        sys.exit("error: wrk is not installed, and makes the load: apt-get install wrk")
    env = {**os.environ, "ROUTE": route, "SEED": str(seed)}
    env |= {"FIRST": str(ids.start), "COUNT": str(len(ids))} if ids else {}
    env |= {"BODIES": str(bodies)} if bodies else {}
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_LUA)
        script.flush()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", script.name, f"http://127.0.0.1:{port}"]
        output = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
    result: Result = json.loads(output.strip().splitlines()[-1])
    if result["errors"]:
        raise RuntimeError(f"{route}: {result['errors']} of {result['requests']} requests failed")
    return {**result, "per_second": result["requests"] / result["seconds"]}
