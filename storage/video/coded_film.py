"""Identity of a film independent of its file: its coded pictures in sequence, as the demuxer gives them.

A recorder that finishes a file rewrites its header, index or reserved space; the coded pictures stay. Bytes only.
"""

import hashlib
from typing import NamedTuple


class CodedFilm(NamedTuple):
    """A film's identity. size_bytes: of all coded pictures; sha256: of these bytes, without anything between them"""

    size_bytes: int
    sha256: str


class CodedDigest:
    """Digest of a film while its packets are read, and comparison of its beginning with a former film.

    Pictures are joined without their lengths, so that a truncated last picture is a prefix of the whole one.
    """

    def __init__(self, former: CodedFilm | None = None) -> None:
        """Start a digest. former: a film that this one may begin with or be equal to"""
        self._former = former
        self._digest = hashlib.sha256()
        self._size_bytes = 0
        self.continues_former = False

    def add(self, coded: memoryview) -> None:
        """Add the next packet's bytes."""
        if self._former is not None:
            rest = self._former.size_bytes - self._size_bytes
            if 0 < rest <= len(coded):
                beginning = self._digest.copy()
                beginning.update(coded[:rest])
                self.continues_former = beginning.hexdigest() == self._former.sha256
        self._digest.update(coded)
        self._size_bytes += len(coded)

    @property
    def film(self) -> CodedFilm:
        return CodedFilm(self._size_bytes, self._digest.hexdigest())
