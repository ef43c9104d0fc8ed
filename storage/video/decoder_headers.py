"""Headers that a file's packets carry for the decoder: a palette, or a codec header that replaces the container's.

A demuxer hands each one out once, with the packet that follows it in the file. A decoder that starts behind that packet
does not have it, and cannot decode what comes.
"""

import itertools
from collections.abc import Iterable
from typing import Literal

from av.packet import PacketSideData

from storage.video.streams import VideoPacket

KINDS: tuple[Literal["new_extradata"], Literal["palette"]] = ("new_extradata", "palette")


def carries_header(packet: VideoPacket) -> bool:
    return any(packet.has_sidedata(kind) for kind in KINDS)


def headers_after(packets: Iterable[VideoPacket], count: int) -> list[dict[str, PacketSideData]]:
    """The newest header of each kind behind none, one, … `count` of the packets that carry one."""
    known: list[dict[str, PacketSideData]] = [{}]
    for packet in itertools.islice(filter(carries_header, packets), count):
        own = {kind: packet.get_sidedata(kind) for kind in KINDS if packet.has_sidedata(kind)}
        known.append(known[-1] | own)
    return known


def give_headers(packet: VideoPacket, headers: dict[str, PacketSideData]) -> None:
    """Let the packet carry them, too: it is the first one that the decoder gets."""
    for header in headers.values():
        packet.set_sidedata(header)
