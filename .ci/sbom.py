"""``make sbom``: build/sbom-IMAGE.json (CycloneDX) and build/licences-IMAGE.txt for the Python packages of each image.

They are described from the environment of the checkout, which must have the very versions of requirements/*.txt.
What Debian and CPython bring with the base image is not in them, nor is what only developers have (npm's packages among it).
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from locked import IMAGES, versions
from packaging.utils import canonicalize_name

BUILD = Path(__file__).parent.parent / "build"


def main() -> None:
    BUILD.mkdir(exist_ok=True)
    tool = [str(Path(sys.executable).with_name("cyclonedx-py")), "environment", "--output-reproducible", "--no-validate"]
    everything = subprocess.run([*tool, "--pyproject", "pyproject.toml", sys.executable], capture_output=True, check=True).stdout
    for image, lists in IMAGES.items():
        found = only(json.loads(everything), versions(lists))
        (BUILD / f"sbom-{image}.json").write_text(json.dumps(found, indent=1) + "\n")
        lines = sorted((f"{each['name']} {each['version']}: {licences(each)}" for each in found["components"]), key=str.lower)
        (BUILD / f"licences-{image}.txt").write_text("\n".join(lines) + "\n")
        unknown = [line for line in lines if line.endswith(": unknown")]
        print(f"build/sbom-{image}.json, build/licences-{image}.txt: {len(lines)} packages, {len(unknown)} without a licence")
        print(*unknown, sep="\n")


def only(document: dict[str, Any], wanted: dict[str, str]) -> dict[str, Any]:
    """A bill of materials without the packages that an image does not have.

    Raises:
        SystemExit: a package is not here in the image's version, so that its licence would be a guess.
    """
    have = {canonicalize_name(each["name"]): each for each in document["components"]}
    other = [f"{name} {version}" for name, version in wanted.items() if name not in have or have[name]["version"] != version]
    if other:
        sys.exit(f"not installed here as in the image (make setup): {', '.join(other)}")
    kept = [have[name] for name in sorted(wanted)]
    known = {each["bom-ref"] for each in kept} | {document["metadata"]["component"]["bom-ref"]}
    dependencies = [
        {**each, "dependsOn": [ref for ref in each.get("dependsOn", ()) if ref in known]}
        for each in document["dependencies"]
        if each["ref"] in known
    ]
    return {**document, "components": kept, "dependencies": dependencies}


def licences(component: dict[str, Any]) -> str:
    """Those that a package names, in SPDX's words where it has them."""
    named = [
        each.get("expression") or each["license"].get("id") or each["license"].get("name")
        for each in component.get("licenses", ())
    ]
    return "; ".join(dict.fromkeys(named)) or "unknown"


if __name__ == "__main__":
    main()
