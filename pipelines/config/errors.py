"""The one error type that a person is meant to read."""


class EvergreenError(Exception):
    """What is wrong, where, and what to do next. Never holds a secret or a row of data.

    The CLI, the stages and the flows print its text without a traceback and exit with 1; every other
    exception is a bug of ours and keeps its traceback.
    """


class TransientError(EvergreenError):
    """Something that may be over in a minute, such as a database that restarts: running it again can help."""
