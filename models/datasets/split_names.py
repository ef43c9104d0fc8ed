"""Splits by the names of folders: train, validation and test in the spellings that data sets use. No disk."""

import re
from collections.abc import Sequence

from models.datasets.picture import PictureError, Split

_SPELLINGS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training", "trainset", "trainingset"),
    "validation": ("validation", "validate", "valid", "val", "dev", "development", "valset", "validset", "devset"),
    "test": ("test", "tests", "testing", "testset"),
}
_SPLIT_OF: dict[str, Split] = {word: split for split, words in _SPELLINGS.items() for word in words}
# Parts of a data set whose meaning differs between authors.
_UNCLEAR = frozenset({"trainval", "trainvalid", "traintest", "eval", "evaluation", "holdout", "heldout", "unseen"})
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
RENAME = "Name folders of splits train, validation and test, or give --random-splits."


def split_of(parts: Sequence[str]) -> Split | None:
    """Return the split that the folders of a path name, at any level; None where no folder does.

    parts: names of folders. A folder names a split by a word of its name: test, Test, TestSet, test_images, test2017.
    Raises PictureError where two splits are named, or a word could be any split (eval, trainval).
    """
    words = [word for part in parts for word in _words(part)]
    found = {_SPLIT_OF[word] for word in words if word in _SPLIT_OF}
    unclear = _UNCLEAR.intersection(words)
    if len(found) > 1 or (unclear and not found):
        what = " and ".join(sorted(found)) or f"{', '.join(sorted(unclear))}, which could be any split"
        raise PictureError(f"The folders {'/'.join(parts)} say {what}. {RENAME}")
    return next(iter(found), None)


def exact_split(name: str) -> Split | None:
    """Return the split whose spelling the whole name is, in any case: Train, but not train_cars."""
    return _SPLIT_OF.get(name.casefold())


def _words(name: str) -> list[str]:
    """Lower-case words of a name, and the name without separators: hold-out is holdout as well."""
    words = [word.casefold() for word in _WORD.findall(name)]
    return [*words, "".join(words)] if len(words) > 1 else words
