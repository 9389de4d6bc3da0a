"""The one error a user can mend: its text is the line the command prints."""

from difflib import get_close_matches


class ConfigError(ValueError):
    """A wrong value in a command, a file or a folder.

    The message is one line that names the field, the value and the cure; whoever knows the file
    puts it in front with `within`.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))  # a quoted value may hold line breaks

    def within(self, place: str) -> "ConfigError":
        """The same error, told from the file or flag it was found in."""
        return ConfigError(f"{place}: {self}")


def unknown(what: str, name: object, known: list[str]) -> str:
    """'unknown WHAT NAME', with the nearest known name, or all of them when none is near.

    >>> unknown("method", "mrr", ["mr", "mixup"])
    "unknown method 'mrr' (did you mean mr?)"
    """
    near = get_close_matches(str(name).lower(), known, n=1) or get_close_matches(str(name), known)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    return f"unknown {what} {name!r} ({hint})"
