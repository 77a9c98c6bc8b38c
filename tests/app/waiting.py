"""What the next question is asked about, and the end of the answer before it."""

from __future__ import annotations

import time

from streamlit.testing.v1 import AppTest


def waiting(page: AppTest) -> list[str]:
    """Names of the pictures that the next question is asked about."""
    buttons = [button.key for button in page.button if (button.key or "").startswith("remove-")]
    return [str(key).split("-", 2)[2] for key in buttons]


def finish(page: AppTest) -> AppTest:
    """Run the page until no answer is written any more: a browser does so by itself."""
    while not page.exception and any(button.key == "stop" for button in page.button):
        time.sleep(0.05)
        page.run()
    return page
