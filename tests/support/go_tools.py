"""Programs that Go builds from the modules in deploy/tools, cached outside the checkout.

``python -m tests.support.go_tools helm kubeconform`` builds the missing ones. With ``--built``
first it builds nothing, and exits with 1 if one is missing.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.requirements import MissingPart

_MODULES = Path(__file__).resolve().parents[2] / "deploy/tools"
OLDEST_GO = (1, 26)
KUBERNETES = "1.36.3"
_MAJOR, _MINOR, _ = KUBERNETES.split(".")

# Without these, Helm renders for the Kubernetes of its own first release.
_HELM_FLAGS = " ".join(
    f"-X helm.sh/helm/v3/pkg/{package}.k8sVersion{part}={value}"
    for package in ("chartutil", "lint/rules")
    for part, value in (("Major", _MAJOR), ("Minor", _MINOR))
)
_KUBERNETES_FLAGS = " ".join(
    f"-X k8s.io/component-base/version.git{part}={value}"
    for part, value in (("Version", f"v{KUBERNETES}"), ("Major", _MAJOR), ("Minor", _MINOR))
)


@dataclass(frozen=True)
class _Module:
    """A folder of deploy/tools, and the main packages that are built from it."""

    folder: str
    packages: tuple[str, ...]
    linker_flags: str = ""

    @property
    def programs(self) -> tuple[str, ...]:
        return tuple(package.rsplit("/", 1)[1] for package in self.packages)


_ALL = (
    _Module("helm", ("helm.sh/helm/v3/cmd/helm",), _HELM_FLAGS),
    _Module("kubeconform", ("github.com/yannh/kubeconform/cmd/kubeconform",)),
    _Module("toxiproxy", ("github.com/Shopify/toxiproxy/v2/cmd/server",)),
    _Module("helm-docs", ("github.com/norwoodj/helm-docs/cmd/helm-docs",)),
    _Module("helm-unittest", ("github.com/helm-unittest/helm-unittest/cmd/helm-unittest",)),
    _Module(
        "kubernetes",
        tuple(
            f"k8s.io/kubernetes/cmd/{name}"
            for name in (
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kubectl",
                "kubelet",
            )
        ),
        _KUBERNETES_FLAGS,
    ),
)
_BY_PROGRAM = {program: module for module in _ALL for program in module.programs}


def go_tool(program: str) -> Path:
    """Return the program's path, and build it first if it is missing (minutes for Kubernetes).

    Raises MissingPart without a Go that is new enough.
    """
    module = _BY_PROGRAM[program]
    folder = _folder_of(module)
    if not (folder / program).exists():
        _build(module, folder)
    return folder / program


def is_built(program: str) -> bool:
    """Whether the program exists already."""
    return (_folder_of(_BY_PROGRAM[program]) / program).exists()


def _folder_of(module: _Module) -> Path:
    """Return the folder of this state of the module: a changed pin is built again."""
    state = hashlib.sha256(module.linker_flags.encode())
    for name in ("go.mod", "go.sum"):
        state.update((_MODULES / module.folder / name).read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "consumer-fleet" / f"{module.folder}-{state.hexdigest()[:16]}"


def _build(module: _Module, folder: Path) -> None:
    go = _find_go()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as build:
        subprocess.run(
            [
                *(go, "build", "-trimpath", "-mod=readonly"),
                *("-ldflags", f"-s -w {module.linker_flags}"),
                *("-o", f"{build}/", *module.packages),
            ],
            cwd=_MODULES / module.folder,
            check=True,
        )
        folder.mkdir(exist_ok=True)
        # Renamed one by one: another run that builds the same never sees half a file.
        for program in module.programs:
            Path(build, program).replace(folder / program)


def _find_go() -> str:
    go = shutil.which("go")
    if go is None:
        raise MissingPart(f"no go {_dotted(OLDEST_GO)} or newer on the PATH")
    printed = subprocess.run([go, "version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"go(\d+)\.(\d+)", printed)
    if version is None or (int(version[1]), int(version[2])) < OLDEST_GO:
        raise MissingPart(f"{printed.strip()} is older than {_dotted(OLDEST_GO)}")
    return go


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def main(programs: list[str]) -> int:
    if programs[:1] == ["--built"]:
        return 0 if all(map(is_built, programs[1:])) else 1
    for program in programs:
        try:
            print(go_tool(program))  # noqa: T201 -- the command's output
        except MissingPart as error:
            print(f"{program} is not built: {error}", file=sys.stderr)  # noqa: T201 -- as above
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
