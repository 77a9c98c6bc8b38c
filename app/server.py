"""The web server of `vqa app`: Streamlit's own, which also tells browsers apart."""

from __future__ import annotations

from pathlib import Path

from starlette.middleware import Middleware
from streamlit import App

from app.browsers import OwnerCookie

app = App(Path(__file__).with_name("page.py"), middleware=[Middleware(OwnerCookie)])
