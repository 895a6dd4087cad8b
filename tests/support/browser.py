"""A real Chromium on the inspector's page, and checks for what must never happen there.

``python -m tests.support.browser docs/screenshots`` takes the documentation's screenshots.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Locator,
    Page,
    Request,
    expect,
    sync_playwright,
)

from consumer_fleet.inspector.fleet import FleetBoard
from consumer_fleet.inspector.fleet_server import FleetServer
from tests.support.fleet_scene import troubled_hour
from tests.support.inspector_process import InspectorProcess
from tests.support.requirements import MissingPart

Theme: TypeAlias = Literal["light", "dark"]

WIDTHS: Final = (1280, 390)
THEMES: Final[tuple[Theme, ...]] = ("light", "dark")
_SHOT_HEIGHT: Final = 1120
# Beside what Playwright passes itself. Nothing here calls home, and root may start it.
_FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_WAIT_MS: Final = 20_000.0


@contextmanager
def chromium() -> Iterator[Browser]:
    """Running, with an empty profile of its own. Raises MissingPart where none is installed.

    While it runs, this thread has a running asyncio loop: ``asyncio.run`` would be refused.
    """
    path = shutil.which("chromium")
    if path is None:
        raise MissingPart("no chromium on the PATH (Debian: apt-get install chromium)")
    expect.set_options(timeout=_WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Look(NamedTuple):
    """The viewport and theme of a page."""

    width: int = 1280
    height: int = 900
    theme: Theme = "light"

    def open_in(self, browser: Browser) -> BrowserContext:
        """A separate context with access to the clipboard."""
        context = browser.new_context(
            viewport={"width": self.width, "height": self.height},
            color_scheme=self.theme,
            reduced_motion="reduce",
        )
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        context.set_default_timeout(_WAIT_MS)
        return context


#: Those of the documentation's pictures.
LOOKS: Final = tuple(Look(width, _SHOT_HEIGHT, theme) for theme in THEMES for width in WIDTHS)


class Watch:
    """Records what no page of the inspector may ever do, whatever an event contains."""

    def __init__(self, page: Page) -> None:
        self.requests: list[str] = []
        self._complaints: list[str] = []
        self._page = page
        page.on("request", self._note_request)
        page.on("console", self._note_console)
        page.on("dialog", self._note_dialog)
        page.on("pageerror", lambda error: self._complaints.append(f"script error: {error}"))
        page.on("popup", lambda popup: self._complaints.append(f"a window of {popup.url}"))

    def complaints(self) -> list[str]:
        """Dialogs, errors (a violation of the page's policy is one), requests to other origins."""
        own = "/".join(self._page.url.split("/")[:3]) + "/"
        foreign = [url for url in self.requests if not url.startswith((own, "data:", "blob:"))]
        return [*self._complaints, *(f"a request to {url}" for url in foreign)]

    def paths(self, prefix: str) -> list[str]:
        """The requests below a path, with queries, in order."""
        paths = ["/" + "/".join(url.split("/")[3:]) for url in self.requests]
        return [path for path in paths if path.startswith(prefix)]

    def _note_request(self, request: Request) -> None:
        self.requests.append(request.url)

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._complaints.append(f"console: {message.text}")

    def _note_dialog(self, dialog: Dialog) -> None:
        self._complaints.append(f"a dialog: {dialog.message}")
        dialog.dismiss()


class Visit(NamedTuple):
    """An open page."""

    page: Page
    watch: Watch

    @classmethod
    def to(cls, url: str, browser: Browser, look: Look) -> Visit:
        """In a context of its own."""
        return cls.within(look.open_in(browser), url)

    @classmethod
    def within(cls, context: BrowserContext, url: str) -> Visit:
        page = context.new_page()
        watch = Watch(page)
        page.goto(url)
        return cls(page, watch)

    def end(self) -> None:
        self.page.context.close()

    def leave(self) -> None:
        """Close the page and delete what it has stored; the context stays open."""
        self.page.evaluate("localStorage.clear()")
        self.page.context.clear_cookies()
        self.page.close()

    def save_artifacts(self, folder: Path) -> None:
        """Artifacts for debugging a failure: a screenshot, the document, and the requests."""
        folder.mkdir()
        self.page.screenshot(path=folder / "page.png")
        (folder / "page.html").write_text(self.page.content())
        (folder / "requests.txt").write_text("\n".join(self.watch.requests))


#: The fixture ``visit``: gives a page of an inspector.
OpenPage: TypeAlias = Callable[..., Visit]


def event_list(page: Page) -> Locator:
    return page.get_by_role("listbox", name="Events")


def rows(page: Page) -> Locator:
    """The drawn entries of the list, newest first."""
    return event_list(page).get_by_role("option")


def open_row(page: Page, title: str) -> None:
    """Select the newest entry with that text and wait for its event."""
    rows(page).filter(has_text=title).first.click()
    page.get_by_role("tablist", name="Parts of the entry").wait_for()


def copy(page: Page, press: Callable[[], object]) -> str:
    """Press a button that copies; return what is in the clipboard then."""
    page.evaluate("navigator.clipboard.writeText('')")
    press()
    return str(page.wait_for_function("navigator.clipboard.readText()").json_value())


def frame(page: Page, function: str) -> Locator:
    """The first frame of that function, in the order of the page."""
    return page.get_by_test_id("frame").filter(has=page.get_by_text(function, exact=True)).first


def head(frame_row: Locator) -> Locator:
    """The button that unfolds a frame."""
    return frame_row.locator(".frame-head")


def take_screenshots(folder: Path, browser: Browser, looks: Sequence[Look] = LOOKS) -> list[Path]:
    """The demonstration's pages and the fleet view, in these looks, as PNG files in ``folder``."""
    board = FleetBoard()
    troubled_hour(board)
    with (
        tempfile.TemporaryDirectory() as scratch,
        InspectorProcess(Path(scratch), "--demo") as inspector,
        FleetServer(board, "127.0.0.1:0") as fleet,
    ):
        urls = dict.fromkeys(SHOTS, inspector.url) | {"fleet": fleet.url}
        return [
            _take_screenshot(folder, browser, urls[name], look, name)
            for name in SHOTS
            for look in looks
        ]


def _take_screenshot(folder: Path, browser: Browser, url: str, look: Look, name: str) -> Path:
    visit = Visit.to(url, browser, look)
    SHOTS[name](visit.page)
    path = folder / f"{name}-{look.theme}-{look.width}.png"
    visit.page.screenshot(path=path)
    visit.end()
    return path


def _show_error(page: Page) -> None:
    open_row(page, "RateMissing")
    page.locator('[data-coverage="covered"]').first.wait_for()


def _show_trace(page: Page) -> None:
    titled = page.locator(".event-title", has_text="/checkout")
    rows(page).filter(has=titled).first.click()
    spans = page.get_by_role("tree", name="Spans").get_by_role("treeitem")
    spans.filter(has_text="GET rates.example.com").click()
    page.get_by_label("Selected span").wait_for()


def _show_profile(page: Page) -> None:
    titled = page.locator(".event-title", has_text="/checkout")
    rows(page).filter(has=titled).first.click()
    page.get_by_role("tab", name="Profile").click()
    page.get_by_role("img", name="Flame graph").wait_for()


def _show_attachments(page: Page) -> None:
    open_row(page, "RateMissing: no rate for NOK")
    page.get_by_role("list", name="Attachments").scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.attached-image')?.naturalWidth > 0")


def _show_logs(page: Page) -> None:
    open_row(page, "rate for NOK is stale")
    page.get_by_role("table").get_by_role("button").first.click()


def _show_issues(page: Page) -> None:
    page.get_by_role("button", name="Group issues").click()
    newest = rows(page).filter(has_text="2 events").first
    newest.wait_for()
    if page.evaluate("innerWidth") > min(WIDTHS):  # else the event would hide the list
        newest.click()
        page.get_by_role("link", name="2 events of the same issue").wait_for()


def _show_group(page: Page) -> None:
    open_row(page, "2 refunds failed")
    page.get_by_text("no report contains shop/refunds.py").first.wait_for()


def _show_fleet(page: Page) -> None:
    page.get_by_role("button", name="2 partitions").last.click()
    page.get_by_role("region", name="Partitions of ingest-transactions").wait_for()


#: The documentation's pictures, by the beginning of their names.
SHOTS: Final[dict[str, Callable[[Page], None]]] = {
    "inspector": _show_error,
    "inspector-trace": _show_trace,
    "inspector-profile": _show_profile,
    "inspector-attachments": _show_attachments,
    "inspector-logs": _show_logs,
    "inspector-issues": _show_issues,
    "inspector-group": _show_group,
    "fleet": _show_fleet,
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        for path in take_screenshots(folder, browser):
            sys.stdout.write(f"{path} {path.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
