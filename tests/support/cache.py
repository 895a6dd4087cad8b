"""What tests fetch from registries, kept in the checkout's cache."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

# Several work trees may share one by a link.
_CACHE = (Path(__file__).resolve().parents[2] / ".cache").resolve()


def fetched(kind: str, pins: Path, fetch: Callable[[Path], None]) -> Path:
    """The folder that ``fetch`` fills the first time for this content of the file ``pins``."""
    folder = _CACHE / kind / hashlib.sha256(pins.read_bytes()).hexdigest()[:16]
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        target = Path(scratch, "fetched")
        fetch(target)
        # The rename publishes the folder whole; if another process was first, its folder stays.
        try:
            target.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    return folder
