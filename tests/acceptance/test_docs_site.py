"""The documentation builds as a website that loads nothing from another server."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MKDOCS = str(Path(sys.executable).with_name("mkdocs"))


_LOADED_BY = {"script": "src", "img": "src", "source": "srcset", "iframe": "src"}


class _Resources(HTMLParser):
    """Collects the addresses that a browser loads to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        loads_link = tag == "link" and attributes.get("rel") != "canonical"
        name = "href" if loads_link else _LOADED_BY.get(tag)
        if name is not None and (address := attributes.get(name)):
            self.addresses.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [MKDOCS, "build", "--strict", "--quiet", f"--site-dir={folder}"],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_page_of_docs_is_built(site: Path) -> None:
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if not (site / page.with_suffix(".html")).is_file()] == []


def test_no_page_loads_anything_from_another_server(site: Path) -> None:
    loaded = set()
    for page in site.rglob("*.html"):
        resources = _Resources()
        resources.feed(page.read_text())
        loaded |= set(resources.addresses)
    assert any(address.endswith(".css") for address in loaded)
    assert {address for address in loaded if address.startswith(("http:", "https:", "//"))} == set()


def test_the_chart_s_values_are_on_the_kubernetes_page(site: Path) -> None:
    page = (site / "kubernetes.html").read_text()
    assert "<code>kafka.bootstrapServers</code>" in page
    assert "8&lt;" not in page
