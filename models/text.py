"""Text from outside, such as a file's name or a worker's words, made safe to show. Standard library only."""

import unicodedata

# Spaces of any width, and the two joiners that Persian and Indic spelling and emoji need: they are harmless.
HARMLESS = {"Zs"}
JOINERS = {"\u200c", "\u200d"}


def visible(text: str) -> str:
    """Show a text in one line, with escapes for characters that control a terminal, break a line or turn its direction.

    These are control characters (ESC, newline, tab), format characters (right-to-left marks, soft hyphens), line and
    paragraph separators, lone surrogates and what Unicode does not assign: `\\n`, `\\x1b`, `\\u202e`.
    """
    if text.isprintable():
        return text
    return "".join(sign if _is_harmless(sign) else _escaped(sign) for sign in text)


def _is_harmless(sign: str) -> bool:
    return sign.isprintable() or sign in JOINERS or unicodedata.category(sign) in HARMLESS


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")
