"""``make lock``: writes requirements/*.txt, what the images install, with hashes, in the versions of constraints.txt.

Each list is what an image has beyond the lists before it, so that one image is a few of them (Dockerfile). torch's CPU wheels are
other files under other versions than PyPI's, and have a list of their own, made only where their index can be reached.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "requirements"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_UV = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet", "--generate-hashes", "--universal"]
_UV += ["--python-version", "3.11", "--no-header", "--no-annotate"]
_CONSTRAINED = ["--constraint", "constraints.txt"]
_TORCH = re.compile(r"(torch|torchvision|triton|nvidia-.*|cuda-.*)==")
_EXTRAS = ("server", "heif", "pretrained")


def compiled(source: str, *options: str, given: str | None = None) -> list[str]:
    """The requirements that a source resolves to, each with its hashes."""
    text = subprocess.run([*_UV, source, *options], cwd=ROOT, input=given, capture_output=True, text=True, check=True).stdout
    return [each for each in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE) if "==" in each]


def project(*extras: str) -> list[str]:
    return compiled("pyproject.toml", *_CONSTRAINED, *(f"--extra={each}" for each in (*_EXTRAS, *extras)))


def write(name: str, what: str, requirements: list[str]) -> None:
    FOLDER.joinpath(f"{name}.txt").write_text(f"# Written by `make lock`: {what}.\n" + "".join(requirements))
    print(f"requirements/{name}.txt: {len(requirements)} packages")


def main() -> None:
    common = project()
    write("common", "what both images have", common)
    for kind in ("cpu", "gpu"):
        write(f"faiss-{kind}", f"faiss-{kind} and what it needs", [each for each in project(kind) if each not in common])
    train = [each for each in project("train") if each not in common]
    write("train", "what the worker's image has beside torch", [each for each in train if not _TORCH.match(each)])
    torch = [each for each in train if _TORCH.match(each)]
    write("torch-cuda", "torch from PyPI; on x86-64 with CUDA", torch)
    write("build", "what builds the project itself", compiled("-", *_CONSTRAINED, given="hatchling\n"))
    wanted = re.findall(r"^((?:torch|torchvision)==\S+.*?) \\$", "".join(torch), re.MULTILINE)
    options = ["--extra-index-url", CPU_INDEX, "--index-strategy", "unsafe-best-match", "--emit-index-url"]
    try:
        cpu = [each for each in compiled("-", *options, given="\n".join(wanted)) if _TORCH.match(each)]
    except subprocess.CalledProcessError as error:
        print(f"requirements/torch-cpu.txt was left as it is: {CPU_INDEX}: {error.stderr.strip().splitlines()[-1]}")
        return
    if not any("+cpu" in each for each in cpu):
        print(f"requirements/torch-cpu.txt was left as it is: {CPU_INDEX} has no such wheels")
        return
    write("torch-cpu", "torch's wheels without CUDA", [f"--extra-index-url {CPU_INDEX}\n", *cpu])


if __name__ == "__main__":
    main()
