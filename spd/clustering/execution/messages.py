"""Log messages as people read them, wherever they are shown."""

import logging


def plain_message(record: logging.LogRecord) -> str:
    """Its text; of a warning only what it says, not the line of code that gave it."""
    message = record.getMessage()
    if record.name == "py.warnings":  # "file:line: Category: text\n  source line"
        message = message.splitlines()[0].split(": ", 1)[-1]
    return message
