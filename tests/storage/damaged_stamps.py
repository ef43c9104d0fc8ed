"""Timestamps changed in the bytes of a finished file, which no muxer would write: MPEG-TS and FLV."""

from collections.abc import Mapping
from pathlib import Path

import av

TS_BYTES = 188


def rewrite_stamps(source: Path, target: Path, changes: Mapping[int, int | None]) -> Path:
    """Return a copy in which some packets, by their number in the file, have these pts in ticks; None: no timestamp.

    MPEG-TS: 33 bits of 90 kHz; a dts goes with its pts. FLV: milliseconds, never None; of files without B-frames.
    """
    with av.open(str(source)) as container:
        kind = container.format.name
        positions = [item.pos for item in container.demux(container.streams.video[0]) if item.size]
    data = bytearray(source.read_bytes())
    for number, stamp in changes.items():
        position = positions[number]
        assert position is not None
        if kind == "mpegts":
            _rewrite_pes(data, position, stamp)
        else:
            assert stamp is not None
            data[position + 4 : position + 8] = (stamp & 0xFFFFFF).to_bytes(3, "big") + bytes([stamp >> 24 & 0xFF])
    target.write_bytes(data)
    return target


def _rewrite_pes(data: bytearray, packet: int, stamp: int | None) -> None:
    """packet: offset of the TS packet in which the PES packet begins"""
    start = data.index(b"\x00\x00\x01\xe0", packet, packet + TS_BYTES)
    flags = data[start + 7]
    assert flags & 0x80
    shift = 0 if stamp is None else stamp - _read_pts(data, start + 9)
    if stamp is None:
        data[start + 7] = flags & 0x3F
        data[start + 9 : start + 9 + data[start + 8]] = b"\xff" * data[start + 8]
        return
    for place in (start + 9, start + 14)[: 2 if flags & 0x40 else 1]:
        _write_pts(data, place, (_read_pts(data, place) + shift) % (1 << 33))


def _read_pts(data: bytearray, place: int) -> int:
    five = data[place : place + 5]
    return (five[0] >> 1 & 7) << 30 | five[1] << 22 | (five[2] >> 1) << 15 | five[3] << 7 | five[4] >> 1


def _write_pts(data: bytearray, place: int, stamp: int) -> None:
    mark = data[place] & 0xF0
    data[place : place + 5] = bytes(
        (
            mark | (stamp >> 30 & 7) << 1 | 1,
            stamp >> 22 & 0xFF,
            (stamp >> 15 & 0x7F) << 1 | 1,
            stamp >> 7 & 0xFF,
            (stamp & 0x7F) << 1 | 1,
        )
    )
