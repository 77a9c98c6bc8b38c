"""The web server of `vqa app`: Streamlit's own, for the page's own browsers alone."""

from __future__ import annotations

from pathlib import Path

from starlette.middleware import Middleware
from streamlit import App

from app import owner_media
from app.browsers import OwnerCookie
from app.gate import Gate
from app.upload_limit import UploadLimit
from vqa.chat.page_options import page_options
from vqa.utils.allowed_hosts import AllowedHosts

_options = page_options()
_names = AllowedHosts(_options.host, _options.allowed_hosts, _options.local)
# Streamlit reads this file for a call of `App`, by that name, before it runs it
app = App(
    Path(__file__).with_name("streamlit_page.py"),
    middleware=[
        Middleware(Gate, names=_names),
        Middleware(OwnerCookie),
        Middleware(UploadLimit),
    ],
)
owner_media.install(app)
