"""Properties of a coded picture: shown or hidden, usable as a start or not. Bytes only, no codec.

Containers flag keyframes as their writer claims; these few bits are of the picture itself.
"""

from collections.abc import Iterator

NAL_SEI, NAL_IDR = 6, 5  # ITU-T H.264, table 7-1
SEI_RECOVERY_POINT = 6  # ITU-T H.264, D.1.1
HEVC_IRAP = range(16, 22)  # ITU-T H.265, table 7-1: BLA, IDR and CRA pictures
MPEG4_VOP = b"\x00\x00\x01\xb6"  # ISO 14496-2, 6.2.5
MPEG2_SEQUENCE = b"\x00\x00\x01\xb3"  # ISO 13818-2, 6.2.2.1; width and height are the next three bytes
START_CODE = b"\x00\x00\x01"
SEARCHED_BYTES = 1 << 16  # a key picture's first slice lies behind headers of a few hundred bytes


def is_shown(codec: str, unit: memoryview) -> bool:
    """Return whether a picture is shown: VP8's and VP9's hidden references are packets of their own without a frame."""
    if codec == "vp8":
        return bool(unit[0] >> 4 & 1)  # RFC 6386, 9.1: show_frame
    if codec == "vp9" and unit[0] >> 6 == 2 and unit[-1] >> 5 != 6:  # a superframe (marker 0b110) shows its last one
        profile = unit[0] >> 5 & 1 | unit[0] >> 3 & 2
        bit = 3 if profile < 3 else 2  # VP9 specification, 6.2: profile 3 has a reserved bit more
        show_existing = unit[0] >> bit & 1
        return bool(show_existing or unit[0] >> (bit - 2) & 1)
    return True


def can_start(codec: str, extradata: bytes | None, unit: memoryview) -> bool:
    """Return whether decoding from this unit gives exact pictures from it on, in presentation order.

    H.264 flags intra-refresh and inexact recovery points as keyframes too; some writers flag every picture.
    """
    head = bytes(unit[:SEARCHED_BYTES])
    if codec == "h264":
        return _h264_starts(head, extradata or b"")
    if codec == "hevc":
        length = extradata[21] % 4 + 1 if extradata and len(extradata) > 21 and extradata[0] == 1 else 0
        return any(nal[0] >> 1 & 63 in HEVC_IRAP for nal in _nals(head, length))
    if codec == "mpeg4":
        at = head.find(MPEG4_VOP)
        return 0 <= at < len(head) - 4 and head[at + 4] >> 6 == 0
    return codec != "vp8" or not head[0] & 1


def mpeg2_size(head: bytes) -> bytes | None:
    """Width and height, as they are coded, in an MPEG-1 or MPEG-2 picture that begins with a sequence header."""
    at = head.find(MPEG2_SEQUENCE)
    return head[at + 4 : at + 7] if at >= 0 else None


def _h264_starts(head: bytes, extradata: bytes) -> bool:
    length = extradata[4] % 4 + 1 if len(extradata) > 6 and extradata[0] == 1 else 0
    for nal in _nals(head, length):
        kind = nal[0] & 31
        if kind == NAL_IDR:
            return True
        if kind == NAL_SEI and _exact_recovery(nal[1:].replace(b"\x00\x00\x03", b"\x00\x00")):
            return True
        if kind == 1:
            return False
    return False


def _nals(head: bytes, length_bytes: int) -> Iterator[bytes]:
    """NAL units, not empty; length_bytes: of the length before each, 0 = start codes as in MPEG-TS."""
    if not length_bytes:
        yield from (part for part in head.split(START_CODE)[1:] if part)
        return
    position = 0
    while position + length_bytes < len(head):
        size = int.from_bytes(head[position : position + length_bytes], "big")
        position += length_bytes
        if size:
            yield head[position : position + size]
        position += size


def _exact_recovery(messages: bytes) -> bool:
    """Return whether there is a recovery point with count 0 and exact_match_flag 1: payload bits 1 1."""
    position = 0
    while position + 2 < len(messages):
        kind, position = _sei_number(messages, position)
        size, position = _sei_number(messages, position)
        if kind == SEI_RECOVERY_POINT and position < len(messages):
            return messages[position] >> 6 == 3
        position += size
    return False


def _sei_number(messages: bytes, position: int) -> tuple[int, int]:
    value = 0
    while position < len(messages) and messages[position] == 255:
        value, position = value + 255, position + 1
    return value + (messages[position] if position < len(messages) else 0), position + 1
