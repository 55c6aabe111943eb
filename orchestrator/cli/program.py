"""The command as its user has to type it, for advice that commands print."""

import re
import shlex
import shutil
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

# A command within a sentence, as the API and `matview doctor` write it.
_QUOTED = re.compile("`matview (?=[a-z])")


@cache
def program() -> str:
    """`matview` if the shell finds this installation by that name; otherwise the path that works."""
    script = Path(sys.executable).with_name("matview")
    found = shutil.which("matview")
    with suppress(OSError):
        if found is not None and (not script.exists() or Path(found).samefile(script)):
            return "matview"
    if not script.exists():
        return f"{sys.executable} -m orchestrator"
    with suppress(ValueError):
        return str(script.relative_to(Path.cwd()))
    return str(script)


def advice(*words: object) -> str:
    """A command line that its reader can type, quoted for the shell."""
    return f"{program()} {shlex.join(map(str, words))}"


def typeable(text: str) -> str:
    """A text in which commands in backticks begin as their reader has to type them.

    The API, which does not know how its client was installed, calls the command `matview`.
    """
    return _QUOTED.sub(lambda _: f"`{program()} ", text)
