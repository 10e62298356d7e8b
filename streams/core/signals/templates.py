"""Log lines to templates: what varies from line to line becomes `<*>`.

Owns the masking of tokens. Invariants: a template is a function of its line alone, so it is the
same in every partition and after every restart; a template's template is itself; its length is
bounded.

Source: the first step of Drain (P. He et al., "Drain: An Online Log Parsing Approach with Fixed
Depth Tree", ICWS 2017): tokens with digits are parameters. Its later steps, which learn from the
lines that came before, would make a template depend on their order.
"""

import re
from typing import Final

from streams.core.signals.series import TEXT_MAX

ANY: Final = "<*>"
LINE_MAX: Final = 2_000
"""Characters of a line that are looked at."""
TOKENS_MAX: Final = 32
"""Words of a template; what follows them is dropped."""

_QUOTED: Final = re.compile(r"\"[^\"]*\"|(?<![A-Za-z0-9])'[^']*'(?![A-Za-z0-9])")
_BREAKS: Final = re.compile(r"([=:,;()\[\]{}|])")
_HEX: Final = re.compile(r"(?:0x)?[0-9a-fA-F]{16,}")
_REPEATED: Final = re.compile(r"<\*>(?:[ ,;:]*<\*>)+")


def template_of(line: str) -> str:
    """Return the template of a log line: "took 12 ms at db-3" gives "took <*> ms at <*>".

    Only the first line counts: what follows it is a stack trace. A word, or a part of one between
    `= : , ; | ( ) [ ] { }`, is a parameter when it holds a digit, is a long run of hex digits, or
    has an @. So is what stands in quotes. Neighbouring parameters become one.
    """
    text = line.lstrip()[:LINE_MAX]
    text = text.split("\n", 1)[0]
    text = _QUOTED.sub(ANY, text)
    words = [_masked(word) for word in text.split()[:TOKENS_MAX]]
    text = _REPEATED.sub(ANY, " ".join(words))
    return text[:TEXT_MAX].rstrip()


def _masked(word: str) -> str:
    if word.isalpha() and len(word) < 16:
        return word
    return "".join(ANY if _is_parameter(part) else part for part in _BREAKS.split(word))


def _is_parameter(part: str) -> bool:
    if any(character.isdigit() for character in part) or "@" in part:
        return True
    return bool(_HEX.fullmatch(part))
