"""Addresses of stores, and the errors that folders and S3 share. No reading, no writing, no boto3."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from models.types import ErrorWithRemedy, refuse_credentials


class StoreError(ErrorWithRemedy):
    """A store that cannot be used. Never contains a secret."""


class ObjectError(StoreError):
    """One object is missing, changed, damaged or wrongly named; the store itself may be fine."""


def too_large(address: str, size_bytes: int, limit_bytes: int) -> ObjectError:
    """Return the error for an object that is larger than anything Nightjar writes there."""
    return ObjectError(
        f"{address} has {size_bytes:,} bytes, and Nightjar writes at most {limit_bytes:,} there.",
        "Remove it from the store.",
    )


class ChangedError(ObjectError):
    """The object is gone, or another version has replaced it, as a new listing shows."""


class RefusedError(ObjectError):
    """The store holds the object but refuses to return it: it is archived, or its key or a permission is missing.

    The reason may pass without a change of the object, so no decision about it is final.
    """


class DeniedObjectError(RefusedError):
    """This object may not be read with these credentials."""


class UnansweredError(ObjectError):
    """The store fails repeatedly at this one object but answers otherwise. Another attempt may succeed."""


class CallFailedError(StoreError):
    """A call that the store failed or broke off: the fault may be the store's or this one object's."""


class UnreachableError(CallFailedError):
    """A store that does not answer, or reports a fault of its own. The same call may succeed later."""


class DeniedError(StoreError):
    """These credentials may not do this. A store does not say whether they may do anything at all."""


@dataclass(frozen=True)
class S3Place:
    """`s3://bucket/prefix`.

    prefix: as given, without its last slash, as S3 treats every slash as a character;
    "" = the whole bucket
    """

    bucket: str
    prefix: str


def parse_place(location: str) -> Path | S3Place:
    """Parse a folder path, `file://…` or `s3://bucket/prefix`. A folder's path is made absolute. Touches no disk.

    Raises StoreError where it is none of these.
    """
    refuse_credentials(location)
    scheme, separator, rest = location.partition("://")
    if not location.strip() or "\0" in location:
        raise _not_a_place(location)
    if not separator or "/" in scheme:
        return Path(location).absolute()
    if scheme == "file" and urlsplit(location).netloc in ("", "localhost") and rest.partition("/")[1]:
        return Path("/" + unquote(rest.partition("/")[2]))
    bucket, _, prefix = rest.partition("/")
    if scheme == "s3" and bucket and prefix != "/":
        return S3Place(bucket, prefix.removesuffix("/"))
    raise _not_a_place(location)


def _not_a_place(location: str) -> StoreError:
    return StoreError(
        f"The location {location!r} is not a folder, file:///folder or s3://bucket/prefix.",
        "Correct the setting that names it.",
    )


_FOLDER_IN_THE_WAY = "Move the folder that takes the file's place."
_OF_THE_OBJECT = {
    errno.ENOENT: "Check that the file exists and that its disk is mounted.",
    errno.ESTALE: "Check that the file exists and that its disk is mounted.",
    errno.ENAMETOOLONG: "Use a name whose parts have at most 255 bytes.",
    errno.ENOTDIR: "Name a folder, or move the file that takes its place.",
    errno.EISDIR: _FOLDER_IN_THE_WAY,
    errno.ENOTEMPTY: _FOLDER_IN_THE_WAY,
    errno.ELOOP: "Replace the symbolic link by the file itself.",
}
_PERMISSION = "Give this user the permission ('ls -ld' shows who has it)."
_OF_THE_STORE = {
    errno.ENOSPC: "Free some space on that disk, then try again.",
    errno.EDQUOT: "Free some space or raise the quota, then try again.",
    errno.EFBIG: "Raise the limit on file sizes (ulimit -f), or use another file system.",
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EROFS: "Mount the disk read-write, or name another folder.",
    errno.EIO: "Look at the kernel's log (dmesg). The disk or its mount is failing.",
}
_OTHER = "Check the disk and its mount."


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError about `path` into a StoreError, or into an ObjectError where only that one file is at fault."""
    try:
        yield
    except OSError as error:
        happened, number = f"{error.strerror or error} at {str(path)!r}.", error.errno or 0
        if number in _OF_THE_OBJECT:
            raise ObjectError(happened, _OF_THE_OBJECT[number]) from error
        raise StoreError(happened, _OF_THE_STORE.get(number, _OTHER)) from error
