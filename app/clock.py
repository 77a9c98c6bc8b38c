"""Times on the clock of who looks at the page."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st


def local(time: datetime) -> datetime:
    """A moment where the browser is; as it stands where the browser names no known zone."""
    try:
        return time.astimezone(ZoneInfo(st.context.timezone or "UTC"))
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: "America" is a folder of zones
        return time
