"""Pictures and downloads of the page, each for the browser that it was made for.

Streamlit serves them at addresses made of their content, to whoever knows the address. Here the
address also holds a mark of the browser's cookie, and a picture is given only to who brings it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

import streamlit as st
from streamlit import App
from streamlit.runtime import Runtime
from streamlit.runtime.media_file_storage import MediaFileStorageError
from streamlit.runtime.memory_media_file_storage import (
    MemoryFile,
    MemoryMediaFileStorage,
    get_extension_for_mimetype,
)

from app.browsers import ASKING, browser_of

ENDPOINT = "/media"


class OwnerMediaStorage(MemoryMediaFileStorage):
    """Streamlit's files in memory, at addresses that one browser alone can use."""

    def __init__(self) -> None:
        super().__init__(ENDPOINT)
        self._key = secrets.token_bytes(32)

    def get_url(self, file_id: str) -> str:
        """Return the address of a file for the browser that the page is drawn for."""
        extension = get_extension_for_mimetype(super().get_file(file_id).mimetype)
        return f"{ENDPOINT}/{self._mark(file_id, _shown_to())}/{file_id}{extension}"

    def get_file(self, filename: str) -> MemoryFile:
        """Return the file at `mark/id.extension`, for the browser that asks.

        Raises MediaFileStorageError where the address was made for another one, or none keeps it.
        """
        mark, _, name = filename.partition("/")
        browser = ASKING.get()
        expected = self._mark(name.partition(".")[0], browser)
        if not browser or not hmac.compare_digest(mark.encode(), expected.encode()):
            raise MediaFileStorageError("This file is of another browser, or not there any more.")
        return super().get_file(name)

    def _mark(self, file_id: str, browser: str) -> str:
        return hmac.new(self._key, f"{browser} {file_id}".encode(), hashlib.sha256).hexdigest()


def install(app: App) -> None:
    """Make a server keep its pictures so.

    Streamlit has no option for its store: `App._create_runtime` and `MediaFileManager._storage`
    are names of its own. Where an update renames them the page does not start.
    """
    create = app._create_runtime

    def with_owners() -> Runtime:
        runtime = create()
        assert isinstance(runtime.media_file_mgr._storage, MemoryMediaFileStorage)
        runtime.media_file_mgr._storage = OwnerMediaStorage()
        return runtime

    app._create_runtime = with_owners  # type: ignore[method-assign]


def _shown_to() -> str:
    """Return the browser of the page that is drawn, or of the download that is prepared."""
    return browser_of(st.context.cookies) or ASKING.get()
