"""Build what is published, and prove that it is whole and needs no extra: `scripts/package [FOLDER]`.

The wheel is built from the source distribution, and installed into an empty environment. That sees the
distributions which the wheel requires, and what those require, through links; a copy of torch would take
minutes and gigabytes. There labels are made and a student is trained on them.
"""

import importlib.metadata
import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from email.parser import Parser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
DATA = (
    "py.typed",
    "figures.mplstyle",
    "showing/show.html",
    "originals/probe.jpg",
    "originals/probes/*",
    "recipes/shipped/*.toml",
)
PROJECT = ("CITATION.cff", "Dockerfile", "LICENSE", "README.md", "setup.cfg", "tests/conftest.py")

SMOKE = """
import sys
from pathlib import Path
from PIL import Image
import fkd
from fkd import CheckConfig, LabelConfig, TeacherChoice, TrainConfig
assert Path(fkd.__file__).is_relative_to(sys.prefix), fkd.__file__
for number in range(8):
    path = Path(f"images/class{number % 2}/{number}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((40, 40), 10 * number + 1).save(path)
teacher = TeacherChoice("resnet18", "none", size=32)
store = fkd.label_images(LabelConfig("images", teacher, num_crops=2, device="cpu", scheme="full"))
assert fkd.check_store(CheckConfig(store.path)).ok
run = fkd.train_student(TrainConfig(
    student="fkd.models:thin_resnet", scheme="full", epochs=4, batch_size=8, crops_per_image=2,
    device="cpu", val="none",
))
assert {"last.pt", "best.pt", "metrics.jsonl"} <= {path.name for path in run.iterdir()}
"""


def main() -> None:
    """Build, look, install and run."""
    with tempfile.TemporaryDirectory() as temporary:
        aside = Path(temporary)
        out = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else aside / "dist"
        build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
        done = subprocess.run(build, cwd=aside, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        (source,), (wheel,) = out.glob("fkd-*.tar.gz"), out.glob("fkd-*.whl")
        look_at_source(source)
        requirements = look_at_wheel(wheel)
        needed = all_needed(requirements)
        python = environment(aside, wheel, needed)
        run_without_extras(python, aside, needed)
        print(f"{source.name} and {wheel.name} are whole, and run with {len(needed)} distributions")


def look_at_source(archive: Path) -> None:
    """Ask for what the project is made of: it can be tested and built from the source distribution."""
    with tarfile.open(archive) as tar:
        top = archive.name.removesuffix(".tar.gz") + "/"
        names = {member.name.removeprefix(top) for member in tar.getmembers()}
    require(archive, {*PROJECT, *package_files()}, names)


def look_at_wheel(wheel: Path) -> list[Requirement]:
    """Ask for every module and data file, and nothing else; return what it requires without extras."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (about,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(about).decode())
    info = about.removesuffix("METADATA")
    require(wheel, {*package_files(), f"{info}licenses/LICENSE"}, names)
    foreign = {name for name in names if not name.startswith(("fkd/", info))}
    if foreign:
        sys.exit(f"{wheel.name} has what is not of the package: {', '.join(sorted(foreign))}")
    return applicable(metadata.get_all("Requires-Dist", []), frozenset())


def package_files() -> set[str]:
    """Return the modules and data files of the package, as the project has them."""
    package = ROOT / "fkd"
    data = [path for pattern in DATA for path in package.glob(pattern)]
    return {str(path.relative_to(ROOT)) for path in [*package.rglob("*.py"), *data]}


def require(archive: Path, wanted: set[str], names: set[str]) -> None:
    """End with a line that names what is missing, if anything is."""
    if wanted - names:
        sys.exit(f"{archive.name} lacks {', '.join(sorted(wanted - names))}")


def applicable(requirements: Iterable[str], extras: frozenset[str]) -> list[Requirement]:
    """Return the requirements that apply here with these extras."""
    parsed = [Requirement(text) for text in requirements]
    return [
        each
        for each in parsed
        if each.marker is None or any(each.marker.evaluate({"extra": e}) for e in {"", *extras})
    ]


def all_needed(requirements: list[Requirement]) -> dict[str, importlib.metadata.Distribution]:
    """Return, by name, the distributions of this environment that requirements need in turn."""
    found: dict[str, importlib.metadata.Distribution] = {}
    asked: set[str] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        key = f"{canonicalize_name(requirement.name)}{sorted(requirement.extras)}"
        if key in asked:
            continue
        asked.add(key)
        distribution = importlib.metadata.distribution(requirement.name)
        found[canonicalize_name(requirement.name)] = distribution
        waiting += applicable(distribution.requires or [], frozenset(requirement.extras))
    return found


def environment(
    aside: Path, wheel: Path, needed: dict[str, importlib.metadata.Distribution]
) -> Path:
    """Make an environment of the wheel and links to what it needs; return its interpreter."""
    linked, place = aside / "needed", aside / "environment"
    link(linked, needed)
    venv.create(place, symlinks=True)
    python = place / "bin" / "python"
    install = ["--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", *install]
    subprocess.run(pip, env=surroundings(), check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "needed.pth").write_text(f"{linked}\n")
    return python


def surroundings() -> dict[str, str]:
    """Return this process's environment without what shows Python another fkd."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}


def link(folder: Path, needed: dict[str, importlib.metadata.Distribution]) -> None:
    """Fill a folder with links to distributions; a folder that others share is linked in parts."""
    owners: dict[Path, set[bool]] = defaultdict(set)
    roots: dict[Path, Path] = {}
    for distribution in importlib.metadata.distributions():
        own = canonicalize_name(distribution.metadata["Name"]) in needed
        for file in distribution.files or ():
            if ".." in file.parts or file.is_absolute():
                continue
            for path in (Path(*file.parts[: n + 1]) for n in range(len(file.parts))):
                owners[path].add(own)
                if own:
                    roots[path] = Path(str(distribution.locate_file(path)))
    for path in sorted(roots):
        if owners[path] == {True} and not (folder / path).exists():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).symlink_to(roots[path])


def run_without_extras(
    python: Path, aside: Path, needed: dict[str, importlib.metadata.Distribution]
) -> None:
    """Run the command and the package, where nothing but what is needed can be seen."""
    env = surroundings() | {"FKD_CACHE": str(aside / "cache"), "CUDA_VISIBLE_DEVICES": ""}

    def answer(*command: str) -> str:
        done = subprocess.run(
            [str(python.parent / command[0]), *command[1:]],
            cwd=aside, env=env, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    listed = "from importlib.metadata import *\nfor d in distributions(): print(d.metadata['Name'])"
    seen = {canonicalize_name(name) for name in answer("python", "-c", listed).split()}
    if seen != {*needed, "fkd"}:
        sys.exit(f"the environment differs from what is needed by {seen ^ {*needed, 'fkd'}}")
    if not answer("fkd", "--version").startswith("fkd, version "):
        sys.exit("`fkd --version` does not say which version it is")
    if "label" not in answer("fkd", "--help"):
        sys.exit("`fkd --help` does not list the commands")
    answer("python", "-c", SMOKE)


if __name__ == "__main__":
    main()
