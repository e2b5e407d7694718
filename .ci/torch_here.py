"""A part of ``make setup``: torch without CUDA where there is no NVIDIA GPU.

PyPI's torch for x86-64 Linux brings CUDA's libraries, most of what an installation takes. torch's own index has wheels without
them; where that cannot be reached, nothing is done here, and PyPI's is installed with everything else.
"""

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CONSTRAINTS = Path(__file__).parent.parent / "constraints.txt"
_SECONDS = 10  # to wait for the index
_PINNED = re.compile(r"^((?:torch|torchvision)==\S+)(?: ; (.+))?$", re.MULTILINE)


def has_gpu() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def pinned(constraints: str, machine: str) -> list[str]:
    """torch and torchvision in the versions for a kind of machine."""
    found = _PINNED.findall(constraints)
    here = f'platform_machine == "{machine}"'
    return [version for version, marker in found if not marker or marker == here]


def install(index: str) -> str:
    """What was done, in words."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "torch: PyPI's, which has no CUDA on this kind of machine"
    if has_gpu():
        return "torch: PyPI's, with CUDA"
    instead = "so PyPI's is installed, with CUDA: 6.6 GB in all"
    try:
        with urlopen(f"{index}/torch/", timeout=_SECONDS):  # noqa: S310 -- a constant of this file
            pass
    except (URLError, OSError) as error:
        return f"torch: without a GPU that of {index} would do, but it does not answer ({error}), {instead}"
    wanted = pinned(CONSTRAINTS.read_text(), platform.machine())
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--index-url", index, *wanted]
    done = subprocess.run(pip, check=False, capture_output=True, text=True)
    if done.returncode:
        return f"torch: {index} has no {' and '.join(wanted)} ({(done.stderr.strip().splitlines() or ['?'])[-1]}), {instead}"
    return f"torch: that of {index}, without CUDA"


if __name__ == "__main__":
    print(install(CPU_INDEX))
