"""The failures a user may see: one line that says what, where and what to do."""


class VQAError(Exception):
    """A failed run; the command line prints the message in one line and exits with `exit_code`."""

    exit_code = 1


class InputError(VQAError):
    """What the user gave is wrong: a file, an option, a config key, a model directory."""

    exit_code = 2
