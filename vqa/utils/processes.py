"""Other processes: whether one still lives, and that of the page, which runs this module."""

from __future__ import annotations

from vqa.utils.stopping import SIGNALS

_CLOCK = 2.0  # seconds by which the beginning of a process moves as clocks are set


def lives_since(process: int, moment: float) -> bool:
    """Return whether a process lives and did at that time (seconds since 1970).

    After its end, or a reboot, its number may be that of a later process.
    """
    import psutil

    try:
        return psutil.Process(process).create_time() < moment + _CLOCK
    except psutil.Error:
        return False


def main() -> None:
    """Run Streamlit's own command line, whose page a signal ends in one line while it is loaded.

    Streamlit takes Ctrl-C and SIGTERM itself once it serves.
    """
    SIGNALS.install()
    SIGNALS.idle()
    from streamlit.web.cli import main as streamlit

    streamlit(prog_name="streamlit")


if __name__ == "__main__":
    main()
