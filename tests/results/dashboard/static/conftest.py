"""The page in a real browser, from a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from results.dashboard.app import create_app
from results.dashboard.files import Services
from results.dashboard.security import Settings
from results.store.store import Store
from tests.results.dashboard.served import served

Open = Callable[..., Page]


@pytest.fixture
def show(browser: Browser) -> Iterator[Open]:
    """``show(file, "#/s/NAME/front", width=400)`` opens a store's page.

    The test fails if the browser's console has an error by its end, of which a violated policy is one.
    """
    said: list[str] = []
    with ExitStack() as stack:

        def show(
            file: Path,
            address: str = "#/",
            *,
            width: int = 1400,
            dark: bool = False,
            services: Services | None = None,
        ) -> Page:
            store = stack.enter_context(Store.open(file, create=False, read_only=True))
            client = stack.enter_context(
                served(
                    lambda port: create_app(
                        store, runs=file.parent, services=services, settings=Settings(port=port)
                    )
                )
            )
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
            )
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(20_000)
            page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: said.append(str(error)))
            page.goto(f"{client.base_url}/{address}")
            return page

        yield show
    assert said == []
