"""Errors of boto3: a sentence and a remedy for each, and whether a retry is worthwhile. Makes no calls."""

from storage.objects.places import (
    CallFailedError,
    ChangedError,
    DeniedError,
    ObjectError,
    RefusedError,
    StoreError,
    UnreachableError,
)

_FULL = {"XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "InsufficientCapacity", "507"}
_WRONG_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"}
# Of the account or its key, never of one object
_WRONG_KEYS = {
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "401"),
    *("AccountProblem", "AllAccessDisabled", "InvalidPayer", "InvalidSecurity", "NotSignedUp", "RequestExpired"),
}
_OWN_KEY = "encrypt"  # Amazon's message for an object that is encrypted with a customer's own key
_NO_OBJECT = {"NoSuchKey", "NoSuchVersion", "404"}
# Damage during an upload, and an upload that had completed when its answer was lost
_NO_SUCH_HOST = "Name or service not known"  # an unreachable resolver gives another message
_AGAIN = {"RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch", "NoSuchUpload", "SlowDown"}


def is_transient(error: Exception) -> bool:
    """Return whether the same call may succeed a moment later. A refused connection is not retried: boto3 did that."""
    import urllib3.exceptions
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    if is_unreadable(error):
        return True
    if isinstance(error, boto.ClientError):
        code, status = _code(error), _status(error)
        return code in _AGAIN or (status >= 500 and status not in (501, 507) and code not in _FULL)
    broken = (
        boto.ReadTimeoutError,
        boto.ConnectionClosedError,
        boto.ResponseStreamingError,
        boto.IncompleteReadError,
        boto.FlexibleChecksumError,
        ResponseParserError,
        urllib3.exceptions.HTTPError,
    )
    return isinstance(error, broken)


def is_unreadable(error: Exception) -> bool:
    """Return whether botocore (1.44.5) failed to read a 5xx answer with a checksum header, an error of its own."""
    return isinstance(error, AttributeError) and "StreamingChecksumBody" in str(error)


def explain(error: Exception, address: str, server: str) -> StoreError | None:
    """Return the StoreError for an error of boto3; None for other errors.

    address: `s3://bucket/key`, for the message; server: host and port
    """
    import urllib3.exceptions
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    if isinstance(error, boto.ClientError):
        return _of_the_object(error, address, server) or _answered(_code(error), _status(error), address, server)
    if isinstance(error, boto.SSLError | urllib3.exceptions.SSLError):
        return StoreError(
            f"TLS with {server} failed: {_tls_reason(error)}.",
            "Name the bundle that contains its certificate authority in the S3 TLS setting, or correct https:// in the "
            "endpoint.",
        )
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError | boto.CredentialRetrievalError):
        return StoreError(f"The S3 credentials for {server} are not complete.", "Set an access key and its secret.")
    if isinstance(error, boto.ParamValidationError):
        return StoreError(f"{address!r} is not a valid S3 address.", "Correct the bucket's name or the key.")
    if isinstance(error, boto.ConnectionError | boto.ReadTimeoutError | boto.ConnectionClosedError):
        kind = CallFailedError if _NO_SUCH_HOST in str(getattr(error, "kwargs", {}).get("error")) else UnreachableError
        return kind(
            f"{server} does not answer ({type(error).__name__}) for {address}.",
            "Check that it runs and that endpoint, port, network and proxy are right.",
        )
    broken_off = isinstance(error, boto.BotoCoreError | ResponseParserError | urllib3.exceptions.HTTPError)
    if broken_off or is_unreadable(error):
        return UnreachableError(
            f"{server} broke off its answer ({type(error).__name__}) for {address}.",
            "Check that the endpoint is an S3 server. Use checksum mode when_required for an old one.",
        )
    return None


def _code(error: Exception) -> str:
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def _status(error: Exception) -> int:
    return int(getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _tls_reason(error: Exception) -> str:
    """OpenSSL's own words, such as 'certificate verify failed: self-signed certificate'."""
    text = str(getattr(error, "kwargs", {}).get("error", error))
    return text.partition("] ")[2].partition(" (_ssl")[0] or "no handshake"


def _of_the_object(error: Exception, address: str, server: str) -> ObjectError | None:
    """Return the store's refusal of this one object; None where the store itself may be at fault."""
    code, words = _code(error), _words(error)
    answer = f"{server} answered {code or _status(error)} for {address}"
    if code in _NO_OBJECT:
        return ChangedError(f"{answer}.", "Check bucket and key. The object may have been removed meanwhile.")
    if code in ("PreconditionFailed", "412"):
        return ChangedError(f"{address} is no longer the version that was listed.", "List the objects again.")
    if code == "InvalidObjectState":
        return RefusedError(
            f"{answer}: the object is archived ({_storage_class(error)}).",
            "Restore it ('aws s3api restore-object'), then run again.",
        )
    if code.startswith("KMS") or (code == "AccessDenied" and "kms:" in words):
        return RefusedError(
            f"{answer}: these credentials cannot use the object's encryption key.",
            "Enable the key or allow kms:Decrypt on it, then run again.",
        )
    if code in ("InvalidRequest", "InvalidArgument") and _OWN_KEY in words.lower():
        return RefusedError(
            f"{answer}: the object is encrypted with a customer's own key (SSE-C).",
            "Copy it onto itself without that key.",
        )
    return None


def _words(error: Exception) -> str:
    return str(getattr(error, "response", {}).get("Error", {}).get("Message", ""))


def _storage_class(error: Exception) -> str:
    return str(getattr(error, "response", {}).get("Error", {}).get("StorageClass", "GLACIER or alike"))


def _answered(code: str, status: int, address: str, server: str) -> StoreError:
    answer = f"{server} answered {code or status} for {address}."
    if code == "NoSuchBucket":
        return StoreError(answer, "Create the bucket, or correct its name.")
    if code in _FULL or status == 507:
        return StoreError(answer, "Free some space in the store or raise the quota, then try again.")
    if code == "RequestTimeTooSkewed":
        return StoreError(answer, "Set this machine's clock (timedatectl): it is more than 15 minutes off.")
    if code in _WRONG_REGION:
        return StoreError(answer, "Set the S3 region to the bucket's own.")
    if code in _WRONG_KEYS or status in (401, 403):
        kind = StoreError if code in _WRONG_KEYS or status == 401 else DeniedError
        return kind(answer, "Check the access key, its secret and the bucket's policy.")
    if status in (400, 501):
        return CallFailedError(answer, "Use checksum mode when_required or path style if the store is an older one.")
    kind = UnreachableError if status >= 500 else CallFailedError
    return kind(answer, "Look at the server's own log.")
