"""A real Sentry-compatible server for tests: Bugsink on loopback, with one project."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import ManagedProcess, free_ports, wait_until
from tests.support.requirements import MissingPart

START_TIMEOUT_S = 60

# Appended to the configuration that Bugsink's own command writes: nothing is reported home, and
# no test reaches a quota (Bugsink accepts an event over quota, then drops it silently).
_OVERRIDES = """
BUGSINK["BASE_URL"] = "http://127.0.0.1:{port}"
BUGSINK["PHONEHOME"] = False
for _name in ("", "_PER_PROJECT"):
    for _period in ("5_MINUTES", "HOUR", "MONTH"):
        BUGSINK[f"MAX_EVENTS{{_name}}_PER_{{_period}}"] = 100_000_000
ALLOWED_HOSTS = ["127.0.0.1"]
SNAPPEA["NUM_WORKERS"] = 2
SECURE_PROXY_SSL_HEADER = None
"""

# One process for everything: each start of Django costs a second.
_PREPARE = """
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("migrate", verbosity=0, database="snappea")
from projects.models import Project
from teams.models import Team
team = Team.objects.create(name="tests")
for name in ("tests", "quiet"):
    project = Project.objects.create(
        name=name, slug=name, team=team,
        alert_on_new_issue=False, alert_on_regression=False, alert_on_unmute=False,
    )
    print("DSN", project.sentry_key.hex, project.id)
"""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event as Bugsink shows it. ``data`` is the stored payload."""

    event_id: str
    project: int
    title_type: str
    title_value: str
    level: str
    platform: str
    data: dict[str, Any]


class Bugsink:
    """A server with two empty projects: ``start`` it, and ``close`` it at the end."""

    def __init__(self, folder: Path | None = None) -> None:
        """``folder`` is empty and belongs to the server. Raises MissingPart without Bugsink."""
        if importlib.util.find_spec("bugsink") is None:
            raise MissingPart("the package bugsink is not installed (make setup installs it)")
        self.folder = folder or Path(tempfile.mkdtemp(prefix="bugsink-"))
        (self.port,) = free_ports(1)
        self.dsn = self.quiet_dsn = ""
        self._processes: list[ManagedProcess] = []
        self._env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "bugsink_conf",
            "PYTHONPATH": str(self.folder),
            "PYTHONUNBUFFERED": "1",
        }

    def start(self) -> None:
        """Create the databases and the project, start web server and task runner, and wait."""
        self._configure()
        output = self._run("bugsink-manage", "shell", "-v", "0", "-c", _PREPARE)
        self.dsn, self.quiet_dsn = (
            f"http://{key}@127.0.0.1:{self.port}/{project}"
            for key, project in re.findall(r"DSN (\w+) (\d+)", output)
        )
        self._start("bugsink-runsnappea")
        web = self._start(
            "gunicorn",
            f"--bind=127.0.0.1:{self.port}",
            "--workers=1",
            "--threads=4",
            # Its default is in the home folder.
            "--no-control-socket",
            "bugsink.wsgi",
        )
        web.wait_ready(self._answers, timeout_s=START_TIMEOUT_S)

    def close(self) -> None:
        """Kill the server and delete its folder."""
        for process in self._processes:
            process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_tail(self, lines: int = 60) -> str:
        """Return the last lines that the web server and the task runner printed."""
        return "\n".join(
            "\n".join([f"[{log.stem}]", *log.read_text(errors="replace").splitlines()[-lines:]])
            for log in sorted(self.folder.glob("*.log"))
        )

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_processes": []}

    def events(self) -> list[StoredEvent]:
        """Return all digested events, oldest first."""
        query = (
            "SELECT event_id, project_id, calculated_type, calculated_value, level, platform, data"
            " FROM events_event ORDER BY digest_order, id"
        )
        return [
            StoredEvent(
                event_id, project, title_type, title_value, level, platform, json.loads(data)
            )
            for event_id, project, title_type, title_value, level, platform, data in self._ask(
                query
            )
        ]

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        database = f"file:{self.folder}/db.sqlite3?mode=ro"
        with contextlib.closing(sqlite3.connect(database, uri=True, timeout=10)) as connection:
            return connection.execute(query).fetchall()

    def wait_for_ids(
        self, event_ids: Collection[str], *, timeout_s: float = 90
    ) -> dict[str, StoredEvent]:
        """Block until Bugsink holds all of these events; returns them by id."""
        wanted = set(event_ids)
        wait_until(
            lambda: wanted <= {each for (each,) in self._ask("SELECT event_id FROM events_event")},
            timeout_s=timeout_s,
            what=f"{len(wanted)} particular events in Bugsink",
            interval_s=0.2,
        )
        return {event.event_id: event for event in self.events() if event.event_id in wanted}

    @staticmethod
    def event_schema() -> dict[str, Any]:
        """Return Sentry's published JSON schema of events, from Bugsink's copy."""
        spec = importlib.util.find_spec("bugsink")
        assert spec is not None
        assert spec.origin is not None
        path = Path(spec.origin).parents[1] / "api" / "event.schema.json"
        schema: dict[str, Any] = json.loads(path.read_bytes())
        return schema

    def _configure(self) -> None:
        config = self.folder / "bugsink_conf.py"
        self._run(
            "bugsink-create-conf",
            "--template=singleserver",
            "--host=127.0.0.1",
            f"--base-dir={self.folder}",
            f"--output-file={config}",
        )
        with config.open("a") as file:
            file.write(_OVERRIDES.format(port=self.port))

    def _start(self, program: str, *arguments: str) -> ManagedProcess:
        process = ManagedProcess(
            program,
            [_program(program), *arguments],
            log=self.folder / f"{program}.log",
            env=self._env,
            cwd=self.folder,
        )
        self._processes.append(process)
        return process

    def _run(self, program: str, *arguments: str) -> str:
        run = subprocess.run(
            [_program(program), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=self._env,
            cwd=self.folder,
        )
        if run.returncode:
            raise RuntimeError(f"{program} {arguments[0]} failed:\n{run.stdout}{run.stderr}")
        return run.stdout

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()


def _program(name: str) -> str:
    """Return a command of the environment that runs the tests."""
    return str(Path(sys.executable).with_name(name))
