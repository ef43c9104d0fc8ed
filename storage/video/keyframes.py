"""Properties of a coded picture: shown or hidden, usable as a start or not. Bytes only, no codec.

Containers flag keyframes as their writer claims; these few bits are of the picture itself.
"""

from collections.abc import Iterator

NAL_SEI, NAL_IDR, NAL_SPS = 6, 5, 7  # ITU-T H.264, table 7-1
SEI_RECOVERY_POINT = 6  # ITU-T H.264, D.1.1
HEVC_IRAP = range(16, 22)  # ITU-T H.265, table 7-1: BLA, IDR and CRA pictures
MPEG4_VOP = b"\x00\x00\x01\xb6"  # ISO 14496-2, 6.2.5
MPEG2_SEQUENCE = b"\x00\x00\x01\xb3"  # ISO 13818-2, 6.2.2.1; width and height are the next three bytes
AV1_SEQUENCE = 1  # AV1 specification, 6.2.2: OBU_SEQUENCE_HEADER
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


def size_marks(codec: str, extradata: bytes | None, unit: memoryview) -> set[bytes]:
    """Return the parts of a picture's header that state its size: equal ones in all pictures mean equal sizes.

    Empty where the picture states none. Of H.264, VP8, VP9's first frame in a packet, and AV1.
    """
    if codec == "vp8":
        return set() if unit[0] & 1 else {bytes(unit[6:10])}  # RFC 6386, 9.1
    if codec == "vp9":
        return _vp9_marks(bytes(unit[:16]))
    head = bytes(unit[:SEARCHED_BYTES])
    if codec == "av1":
        return {content for kind, content in _obus(head) if kind == AV1_SEQUENCE}
    return {nal for nal in _nals(head, _length_bytes(extradata or b"")) if nal[0] & 31 == NAL_SPS}


def h264_sequences(extradata: bytes) -> set[bytes]:
    """Return the sequence parameter sets of a container's header (ISO/IEC 14496-15, 5.3.3.1)."""
    if len(extradata) < 7 or extradata[0] != 1:
        return set()
    found, position = set(), 6
    for _ in range(extradata[5] & 31):
        length = int.from_bytes(extradata[position : position + 2], "big")
        found.add(extradata[position + 2 : position + 2 + length])
        position += 2 + length
    return found


def _vp9_marks(head: bytes) -> set[bytes]:
    """Size in a VP9 frame's header (VP9 specification, 6.2), of profile 0; a frame that replaces it has a mark too."""
    bits = int.from_bytes(head.ljust(16, b"\0"), "big")

    def field(start: int, count: int) -> int:
        return bits >> (128 - start - count) & ((1 << count) - 1)

    shows_existing, is_inter, is_shown_now, resilient = (field(bit, 1) for bit in (4, 5, 6, 7))
    if shows_existing:
        return set()
    if not is_inter:
        return {field(36, 32).to_bytes(4, "big")}
    position = 8 + (not is_shown_now)
    if not is_shown_now and field(8, 1):
        return {b"intra only"}
    position += 0 if resilient else 2
    same_as_reference = field(position + 8 + 12, 3)
    return set() if same_as_reference else {b"explicit"}


def _obus(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, content) of each unit of an AV1 packet that states its length (AV1 specification, 5.3)."""
    position = 0
    while position < len(data):
        head, position = data[position], position + 1 + (data[position] >> 2 & 1)
        if not head >> 1 & 1:
            yield head >> 3 & 15, data[position:]
            return
        size, shift = 0, 0
        while position < len(data):
            size |= (data[position] & 127) << shift
            shift, position = shift + 7, position + 1
            if not data[position - 1] & 128 or shift > 56:
                break
        yield head >> 3 & 15, data[position : position + size]
        position += size


def _length_bytes(extradata: bytes) -> int:
    """Bytes of the length before each NAL unit; 0 = start codes."""
    return extradata[4] % 4 + 1 if len(extradata) > 6 and extradata[0] == 1 else 0


def _h264_starts(head: bytes, extradata: bytes) -> bool:
    for nal in _nals(head, _length_bytes(extradata)):
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
