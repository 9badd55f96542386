import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PREPARED_PIP = ROOT / ".venv-tools" / "bin" / "python"
FOLDERS = sorted(path.name for path in (ROOT / "netledger").iterdir() if path.is_symlink())

pytestmark = pytest.mark.timeout(600)  # the first install downloads


def attempt(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command away from the checkout and from this environment."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    words = [str(part) for part in command]
    return subprocess.run(words, cwd=cwd, env=environment, check=False, capture_output=True, text=True)


def run(*command: object, cwd: Path) -> str:
    """Run a command that has to succeed, and return what it printed."""
    result = attempt(*command, cwd=cwd)
    assert result.returncode == 0, f"{command} failed:\n{result.stdout}\n{result.stderr}"
    return result.stdout


def build(source: Path, target: str, into: Path) -> Path:
    """Build one distribution with the backend that pyproject.toml names, and return its path."""
    run(sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", into, cwd=source)
    (built,) = into.iterdir()
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist from the checkout."""
    return build(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from the sdist."""
    unpacked = tmp_path_factory.mktemp("unpacked sdist")
    run("tar", "-xf", sdist, cwd=unpacked)
    (source,) = unpacked.iterdir()
    return build(source, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def clean_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an environment that holds the wheel and what it asks for, and nothing else; return its bin."""
    place = tmp_path_factory.mktemp("clean environment")
    python = place / "venv" / "bin" / "python"
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    run(uv, "venv", "--no-project", "--python", sys.executable, place / "venv", cwd=place)
    installed = attempt(uv, "pip", "install", "--python", python, wheel, cwd=place)
    if installed.returncode != 0:  # pip may be told of an index that uv does not know: see scripts/prepare.sh
        assert PREPARED_PIP.exists(), installed.stderr
        run(PREPARED_PIP, "-m", "pip", "--python", python, "install", wheel, cwd=place)
    return python.parent


def names(archive: Path) -> set[str]:
    """Return the files of a wheel, without its metadata."""
    with zipfile.ZipFile(archive) as content:
        return {name for name in content.namelist() if ".dist-info/" not in name}


def test_every_folder_is_linked():
    """netledger/ reaches each folder by a relative link, so that a moved checkout still works."""
    assert {"domain", "projections", "ledger", "engine", "dataplanes", "replay", "interfaces"} <= set(FOLDERS)
    for folder in FOLDERS:
        assert (ROOT / "netledger" / folder).readlink() == Path("..") / folder


def test_the_wheel_holds_one_import_package(wheel: Path):
    """The wheel ships netledger and nothing named domain or replay of its own."""
    assert {name.partition("/")[0] for name in names(wheel)} == {"netledger"}


def test_the_wheel_holds_every_module(wheel: Path):
    """What the checkout can import and load, the wheel can: nothing is lost between checkout, sdist and wheel."""
    here = {path.relative_to(ROOT).as_posix() for path in (ROOT / "netledger").glob("*.py")}
    for folder in FOLDERS:
        for kind in ("*.py", "*.nft"):
            here |= {f"netledger/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / folder).rglob(kind)}
    assert names(wheel) == here | {"netledger/py.typed"}


def test_the_checkout_builds_the_same_wheel(wheel: Path, tmp_path: Path):
    """`pip install .` in a checkout installs what the released sdist installs."""
    assert names(build(ROOT, "wheel", tmp_path)) == names(wheel)


def test_the_wheel_imports_with_what_it_asks_for(clean_environment: Path, tmp_path: Path):
    """In a clean environment the package imports from there and knows its version."""
    script = "import netledger; print(netledger.__version__, netledger.__file__)"
    version, file = run(clean_environment / "python", "-c", script, cwd=tmp_path).split(maxsplit=1)
    assert version == "0.1.0"
    assert Path(file.strip()).is_relative_to(clean_environment.parent)


def test_the_command_is_installed(clean_environment: Path, tmp_path: Path):
    """The console script finds its function: `netledger` starts there."""
    script = "from importlib.metadata import entry_points as e; e(group='console_scripts')['netledger'].load()"
    run(clean_environment / "python", "-c", script, cwd=tmp_path)
    assert (clean_environment / "netledger").is_file()
