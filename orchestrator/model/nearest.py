"""Finds the name that a person probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches

from orchestrator.model.names import fold

# As similar as a word of six letters with one of them changed, added or left out.
_SIMILAR = 0.72
_LONGEST = 128


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The most similar of the known names; None if none is similar enough. The case of letters does not matter.

    A name whose last part is the same counts as similar: `orders` for `sales.orders`, and the other way round. So does
    one in which two neighbours have changed places, however short it is: `csv` for `cvs`.
    """
    if not name or len(name) > _LONGEST:
        return None
    spelled = {fold(one): one for one in known if len(one) <= _LONGEST}
    wanted = fold(name)
    if wanted in spelled:
        return spelled[wanted]
    last = wanted.rpartition(".")[2]
    same = sorted(one for one in spelled if one.rpartition(".")[2] == last)
    exchanged = sorted(_exchanges(wanted) & spelled.keys())
    found = get_close_matches(wanted, spelled, n=1, cutoff=_SIMILAR)
    return next((spelled[one] for one in (*same, *exchanged, *found)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The question for the most similar name, to be appended to a message; empty if there is none."""
    found = nearest(name, known)
    return "" if found is None else f' Did you mean "{found}"?'


def _exchanges(text: str) -> set[str]:
    """All texts in which two neighbouring characters of one have changed places."""
    return {text[:at] + text[at + 1] + text[at] + text[at + 2 :] for at in range(len(text) - 1)}
