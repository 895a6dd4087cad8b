"""Files of published Go modules, read from Go's own cache; not part of this project."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from tests.support.requirements import MissingPart


def module_folder(module: str) -> Path:
    """Return the folder of ``PATH@VERSION``; Go fetches it once. Raises MissingPart."""
    go = shutil.which("go")
    if go is None:
        raise MissingPart(f"no go on the PATH: it fetches {module}")
    run = subprocess.run(
        [go, "mod", "download", "-json", module],
        cwd="/",  # no module file of this project applies
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise MissingPart(f"go could not fetch {module}: {run.stderr or run.stdout}")
    return Path(json.loads(run.stdout)["Dir"])
