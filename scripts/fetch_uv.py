"""Put the uv that uv.lock names into a folder, without pip: `fetch_uv.py FOLDER`, or `fetch_uv.py --version`.

Debian's python3 comes without pip and venv. uv is one static program inside a wheel, and uv.lock holds the wheel's
address and digest, so Python's standard library is enough.
"""

from __future__ import annotations

import hashlib
import io
import platform
import sys
import tomllib
import urllib.request
import zipfile
from pathlib import Path

LOCK = Path(__file__).parent.parent / "uv.lock"
TIMEOUT_SECONDS = 120


def fetch(folder: Path) -> None:
    """Download the wheel for this machine, compare its digest and unpack the program."""
    uv = locked()
    libc = "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"
    fitting = [wheel for wheel in uv["wheels"] if libc in wheel["url"] and platform.machine() in wheel["url"]]
    if not fitting:
        sys.exit(f"uv.lock names no wheel of uv {uv['version']} for {libc} on {platform.machine()}")
    try:
        with urllib.request.urlopen(fitting[0]["url"], timeout=TIMEOUT_SECONDS) as answer:
            wheel = answer.read()
    except OSError as fault:
        sys.exit(f"cannot fetch {fitting[0]['url']}: {fault}")
    digest = f"sha256:{hashlib.sha256(wheel).hexdigest()}"
    if digest != fitting[0]["hash"]:
        sys.exit(f"{fitting[0]['url']} has the digest {digest}, but uv.lock says {fitting[0]['hash']}")
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        program = archive.read(f"uv-{uv['version']}.data/scripts/uv")
    (folder / "uv").write_bytes(program)
    (folder / "uv").chmod(0o755)


def locked() -> dict:
    """Return what uv.lock says about uv itself."""
    with LOCK.open("rb") as file:
        return next(package for package in tomllib.load(file)["package"] if package["name"] == "uv")


if __name__ == "__main__":
    if sys.argv[1] == "--version":
        print(locked()["version"])
    else:
        fetch(Path(sys.argv[1]))
