"""A test's recordings: a name, and the file that it stands for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from consumers.testing.expectation import ExpectationFiles
from fleet.errors import RecordingError
from fleet.recording.reader import Recording

_SUFFIX: Final = ".recording"


def open_recording(folder: Path, name: str | Path, files: ExpectationFiles) -> Recording:
    """``name`` in ``folder``, with or without its ``.recording``; a path may be absolute.

    A run that updates files records it again first, where brokers are configured. Raises
    RecordingError where there is none, or it is damaged in its header.
    """
    exact = folder / name
    for path in (exact, exact.with_name(exact.name + _SUFFIX)):
        if path.is_file():
            return _updated(path, files) if files.update else Recording(path)
    present = sorted(each.name for each in folder.glob(f"*{_SUFFIX}"))
    there = f"there are {', '.join(present)}" if present else "there is none"
    raise RecordingError(
        f"no recording {str(name)!r} in {folder}: {there}. Make one with: consumer record"
    )


def _updated(path: Path, files: ExpectationFiles) -> Recording:
    from consumers.testing.record_again import (  # noqa: PLC0415 - for runs that update alone
        configured_kafka,
        record_again,
    )

    recording = Recording(path)
    kafka = configured_kafka(os.environ)
    if kafka is None or path in files.recorded:
        return recording
    record_again(recording, kafka)
    files.recorded.add(path)
    files.written.append(path)
    return Recording(path)
