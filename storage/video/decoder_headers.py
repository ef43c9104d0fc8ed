"""Headers that a file's packets carry for the decoder: a palette, or a codec header that replaces the container's.

A demuxer delivers each one once, with the packet that follows it in the file. A decoder that starts after that packet
lacks it, and cannot decode the rest.
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
    """List the newest header of each kind after zero, one, … `count` of the packets that carry one."""
    known: list[dict[str, PacketSideData]] = [{}]
    for packet in itertools.islice(filter(carries_header, packets), count):
        own = {kind: packet.get_sidedata(kind) for kind in KINDS if packet.has_sidedata(kind)}
        known.append(known[-1] | own)
    return known


def give_headers(packet: VideoPacket, headers: dict[str, PacketSideData]) -> None:
    """Add headers to the packet that the decoder receives first."""
    for header in headers.values():
        packet.set_sidedata(header)
