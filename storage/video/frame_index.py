"""Index a video's frames: their number, order, times, and the keyframes where decoding can start. By demuxing.

Frames are decoded only to verify the packets' times, and all of them only where these are wrong.
Meant for a child process (storage/sandbox/parent.py), as it reads untrusted files.
"""

import itertools
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from models.types import FrameIndex, TimeRepair, VideoError
from storage.video.coded_film import CodedDigest
from storage.video.decoder_headers import carries_header
from storage.video.display import StreamAspects, geometry_of_first
from storage.video.frames import InexactError, count_packets, decode, open_container, prepare_decoder
from storage.video.geometry import DisplayGeometry
from storage.video.keyframes import can_start
from storage.video.regular_file import UNFINISHED
from storage.video.streams import VideoPacket, all_packets, film_stream
from storage.video.time_stamps import NO_TIME, ClockRules, Times, repair

TRIAL_FRAMES = 20  # decoded to verify the packets' times: longer than any reordering (H.264: 16)
MOST_REORDERED = 32  # packets between a frame's place in the file and in the presentation: 16 frames of two fields
DEFAULT_FPS = 25.0  # where a single picture has no duration and the header no rate
HIGHEST_FPS = 1000  # a higher rate in a header is not a frame rate: 90000 is the clock's
# Their times count from the player's 0, so a first frame at 1 s starts late; times of others start anywhere.
TIMED_FROM_ZERO = {"mov", "matroska"}
# Clocks of broadcasting: 33 bits, and a step of more than 10 s is a new clock to ffmpeg, too (dts_delta_threshold).
BROADCAST = {"mpegts", "mpeg"}
BROADCAST_WRAP, BROADCAST_GAP_S = 1 << 33, 10.0
# Screen recordings and calls pause for minutes; a step of an hour is summer time, or a camera whose date was set.
LONGEST_GAP_S = 3600.0
FEW_LOST = 0.1  # share of packets without a picture: damage up to here, half pictures beyond
FIELDS = 2  # half pictures that make one: longer runs of packets without a picture are damage
MOST_DESCENTS = (
    0.2  # steps back in time of a decoder that lost pictures; stamps without regard to B-frames make a third
)
UNREORDERED = 0.99  # of the packets have equal pts and dts where a stream has no B-frames
MOST_REPAIRS = 1000  # stretches that are stored; more are merged with their neighbours


@dataclass(frozen=True)
class Film:
    """One stream of an open file. name: to open it by; stream: its index; max_pixels: of a frame, for the decoder"""

    name: str
    container: str
    stream: int
    max_pixels: int


@dataclass(frozen=True)
class Packets:
    """Packets that give a frame, in the file's order; each (n,) int64 in units of the stream's time base.

    starts: bool, decoding can start here; position: byte in the file, -1 = unknown
    in_order: every existing dts is later than the one before
    carriers: (c,) numbers of the packets that carry a header for the decoder, ascending
    """

    pts: NDArray[np.int64]
    dts: NDArray[np.int64]
    duration: NDArray[np.int64]
    position: NDArray[np.int64]
    starts: NDArray[np.bool_]
    in_order: bool
    carriers: NDArray[np.int64]

    @property
    def reordered(self) -> bool:
        return not np.array_equal(self.pts, self.dts)

    def headers_up_to(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Count the packets with a header up to each of these; empty where none has one."""
        if not len(self.carriers):
            return self.carriers
        return np.searchsorted(self.carriers, numbers, side="right").astype(np.int64)


@dataclass(frozen=True)
class DecodedSample:
    """The first decoded frames, or all where the container has no pts (an AVI with B-frames).

    geometry: of the first one; clean: nothing failed on the way
    """

    geometry: DisplayGeometry
    pts: list[int | None]
    dts: list[int | None]
    clean: bool


@dataclass(frozen=True)
class Timing:
    """The stream's clock. time_base_s: seconds per tick; origin_s: the player's zero; frame_s: by the header"""

    container: str
    time_base_s: float
    origin_s: float
    frame_s: float
    delayed: bool

    @property
    def rules(self) -> ClockRules:
        broadcast = self.container in BROADCAST
        gap_s = BROADCAST_GAP_S if broadcast else LONGEST_GAP_S
        step = self.frame_s / self.time_base_s
        return ClockRules(BROADCAST_WRAP if broadcast else 0, gap_s / self.time_base_s, step)


@dataclass(frozen=True, eq=False)
class Indexed:
    """An index. duration_s: from the first frame's start to the last frame's end; repairs: damaged stamps"""

    index: FrameIndex
    duration_s: float
    repairs: tuple[TimeRepair, ...]


def index_frames(film: Film, packets: Packets, timing: Timing, trial: DecodedSample) -> Indexed:
    """Index frames by the packets' times where the trial confirms them; else by the packets that the decoder takes."""
    index, times = _index_by_dts(packets, trial, timing), None
    if index is None:
        index, times = _index_by_pts(packets, trial, timing) or _index_by_packet(film, packets, timing)
    repairs = _repairs(times, len(index.pts), timing) if times else ()
    return Indexed(index, _duration_s(index, packets, timing, damaged=bool(repairs)), repairs)


def demux(opened: InputContainer, stream: VideoStream, max_frames: int, coded: CodedDigest) -> Packets:
    """Read the file to its end and add all packets to `coded`. Raises VideoError: truncated, empty or too long."""
    codec, extradata = stream.codec_context.codec.canonical_name, stream.codec_context.extradata
    pts, dts, duration, position, starts = array("q"), array("q"), array("q"), array("q"), array("b")
    carriers = array("q")
    in_order, previous, damaged = True, NO_TIME, False
    for number, packet in count_packets(stream, _packets(opened, stream)):
        dts_now = NO_TIME if packet.dts is None else packet.dts
        if packet.dts is not None:
            in_order &= dts_now > previous
            previous = dts_now
        damaged = packet.is_corrupt
        coded.add(memoryview(packet))
        if carries_header(packet):
            carriers.append(len(pts))
        if number < 0:
            continue
        pts.append(NO_TIME if packet.pts is None else packet.pts)
        dts.append(dts_now)
        duration.append(packet.duration or 0)
        position.append(-1 if packet.pos is None else packet.pos)
        starts.append(packet.is_keyframe and can_start(codec, extradata, memoryview(packet)))
        if len(pts) > max_frames:
            raise VideoError(f"The video has more than {max_frames} frames. Cut it into shorter ones.")
    if damaged:
        raise VideoError(f"The file is truncated: its last packet is not complete. {UNFINISHED}")
    if not pts:
        raise VideoError("The video stream has no frames. Record or copy it again.")
    return Packets(
        np.array(pts),
        np.array(dts),
        np.array(duration),
        np.array(position),
        np.array(starts, bool),
        in_order,
        np.array(carriers, np.int64),
    )


def _packets(opened: InputContainer, stream: VideoStream) -> Iterator[VideoPacket]:
    """Iterate over the packets except empty ones. Raises VideoError."""
    try:
        yield from (packet for packet in all_packets(opened, stream) if packet.size)
    except MemoryError:
        raise
    except av.error.FFmpegError as error:
        raise VideoError(
            f"The file cannot be read to its end ({error.strerror}). Copy it again, as it is damaged or truncated."
        ) from error


def timing_of(opened: InputContainer, stream: VideoStream, container: str) -> Timing:
    """Read the clock from the header."""
    start_s = float("inf") if opened.start_time is None else opened.start_time / av.time_base  # inf: at the first frame
    rates = (stream.average_rate, stream.guessed_rate, stream.codec_context.framerate)
    rate = next((rate for rate in rates if rate and rate <= HIGHEST_FPS), None)
    return Timing(
        container=container,
        time_base_s=float(stream.time_base or 1),
        origin_s=min(start_s, 0.0) if container in TIMED_FROM_ZERO else start_s,
        frame_s=float(1 / rate) if rate else 1 / DEFAULT_FPS,
        delayed=bool(stream.codec_context.has_b_frames),
    )


def try_decoder(film: Film, codec: str, most: int | None) -> DecodedSample:
    """Decode the first frames. Raises VideoError where none comes out. most: frames to decode, None = all"""
    for strict in (True, False):
        try:
            with open_container(film.name, film.container) as opened:
                found = _try_frames(opened, film, most, strict=strict)
        except InexactError:
            continue
        if found is not None:
            return found
        break
    raise VideoError(
        f"None of its frames can be decoded as {codec}: they are damaged, encrypted, of absurd dimensions, or of a "
        "kind without a decoder. Convert it to H.264."
    )


def _try_frames(opened: InputContainer, film: Film, most: int | None, *, strict: bool) -> DecodedSample | None:
    """DecodedSample of the first frames; None where no frame comes out. Raises InexactError."""
    stream = _prepared(opened, film)
    aspects = StreamAspects(stream)
    frames = itertools.islice(decode(stream, aspects.sent(all_packets(opened, stream)), strict=strict), most)
    first = next(frames, None)
    if first is None:
        return None
    geometry = geometry_of_first(stream, film.container, first, aspects)
    times = [(frame.pts, frame.dts) for frame in itertools.chain([first], frames)]
    return DecodedSample(geometry, [pts for pts, _ in times], [dts for _, dts in times], strict)


def _decode_all(opened: InputContainer, film: Film) -> Iterator[VideoFrame]:
    """Decode all frames, each with the number of its packet as its pts."""
    stream = _prepared(opened, film)
    return decode(stream, _numbered(stream, all_packets(opened, stream)), strict=False)


def _prepared(opened: InputContainer, film: Film) -> VideoStream:
    """Return the stream with a decoder set up for times and sizes only, not for pictures."""
    stream = film_stream(opened, film.stream)
    prepare_decoder(stream, film.max_pixels, strict=False)
    stream.codec_context.options = stream.codec_context.options | {"skip_loop_filter": "all"}
    return stream


def _numbered(stream: VideoStream, packets: Iterator[VideoPacket]) -> Iterator[VideoPacket]:
    for number, packet in count_packets(stream, packets):
        packet.pts, packet.dts = (number if number >= 0 else None), None
        yield packet


def _index_by_pts(packets: Packets, trial: DecodedSample, timing: Timing) -> tuple[FrameIndex, Times] | None:
    """Index by the packets' times; None where the trial does not confirm them."""
    order = np.argsort(packets.pts, kind="stable")
    pts = packets.pts[order]
    unique = bool(pts[0] > NO_TIME and np.all(np.diff(pts) > 0))
    near = np.abs(order - np.arange(len(order))) <= MOST_REORDERED
    if not (packets.in_order and unique and near.all() and _as_promised(trial.pts, pts, clean=trial.clean)):
        return None
    stamps = pts
    if timing.container == "avi":  # its pts are FFmpeg's guesses; without reordering, packets are in presentation order
        plain = np.array_equal(order, np.arange(len(order))) and packets.dts.min() > NO_TIME
        stamps = packets.dts if plain else pts
        timing = replace(timing, origin_s=float(stamps[0]) * timing.time_base_s)
    times = repair(stamps, timing.rules)
    keyframes = _with_first(np.searchsorted(pts, packets.pts[packets.starts]))
    headers = packets.headers_up_to(order[keyframes])
    return FrameIndex(pts, _seconds(times, timing), keyframes, key_headers=headers), times


def _as_promised(found: list[int | None], promised: NDArray[np.int64], *, clean: bool) -> bool:
    """Return whether the first frames are the promised ones: all in order, or nearly so where some failed to decode."""
    times = [time for time in found if time is not None]
    if len(times) < len(found):
        return False
    if clean:
        return bool(times == promised[: len(times)].tolist())
    descents = sum(later <= time for time, later in itertools.pairwise(times))
    return descents <= MOST_DESCENTS * len(times) and bool(np.isin(times, promised).all())


def _index_by_dts(packets: Packets, trial: DecodedSample, timing: Timing) -> FrameIndex | None:
    """Index an AVI, which stores no pts: FFmpeg's guess is wrong with B-frames packed as by DivX and Xvid.

    A frame leaves the decoder with the dts of the packet that pushed it out, a fixed number of packets after its own.
    None for any other file.
    """
    if timing.container != "avi" or not packets.in_order or not trial.clean:
        return None
    if _index_by_pts(packets, trial, timing) is not None:
        return None
    times = [time for time in trial.dts if time is not None]
    delay = int(np.searchsorted(packets.dts, times[0])) if times else 0
    if times != packets.dts[delay : delay + len(times)].tolist():
        return None
    pushed_by_end = packets.dts[-1] + np.arange(1, delay + 1)
    keys = np.concatenate([packets.dts[delay:], pushed_by_end])
    seconds = (keys - keys[0]) * timing.time_base_s  # a gap lies where the decoder gives the frame, not its packet
    return FrameIndex(keys, seconds, np.zeros(1, np.int64), "dts")


def _index_by_packet(film: Film, packets: Packets, timing: Timing) -> tuple[FrameIndex, Times]:
    """Index frames by the packets that contain them: for damaged or missing stamps, and fields in two packets."""
    order = _presentation_order(film, packets, timing)
    unique = len(np.unique(order)) == len(order)
    if unique:
        order = _with_lost(order, len(packets.pts))
    times = repair(_stamps(packets)[order], timing.rules)
    seconds = _seconds(times, timing)
    if not unique:
        return FrameIndex(np.arange(len(order)), seconds, np.zeros(1, np.int64), "order"), times
    keyframes = np.flatnonzero(_known_starts(packets)[order])
    keyframes = keyframes[_opens_for_all(order, keyframes)]
    found = order[_with_first(keyframes)]
    index = FrameIndex(
        pts=np.arange(len(order)),
        timestamps_s=seconds,
        keyframes=_with_first(keyframes),
        numbered_by="packet",
        packets=order,
        key_stamps=packets.pts[found],
        key_bytes=packets.position[found],
        key_headers=packets.headers_up_to(found),
    )
    return index, times


def _presentation_order(film: Film, packets: Packets, timing: Timing) -> NDArray[np.int64]:
    """Return the number of each frame's packet in presentation order. All frames are decoded where that may differ."""
    count = len(packets.pts)
    with open_container(film.name, film.container) as opened:
        codec = film_stream(opened, film.stream).codec_context.codec
        frames = _decode_all(opened, film)
        trial = [frame.pts for frame in itertools.islice(frames, TRIAL_FRAMES)]
    plain = trial == list(range(len(trial)))
    if plain and (not codec.reorder or (not timing.delayed and np.mean(packets.pts == packets.dts) > UNREORDERED)):
        return np.arange(count)
    with open_container(film.name, film.container) as opened:
        found = [frame.pts for frame in _decode_all(opened, film)]
    return np.array([number for number in found if number is not None and number >= 0], np.int64)


def _with_lost(order: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Add packets that are too damaged to give a picture, each after the packet before it."""
    lost = np.setdiff1d(np.arange(count), order)
    runs = np.split(lost, np.flatnonzero(np.diff(lost) > 1) + 1)
    if sum(len(run) for run in runs if len(run) <= FIELDS) > FEW_LOST * count:
        return order
    place = np.full(count, -1)
    place[order] = np.arange(len(order))
    known = np.maximum.accumulate(np.where(place >= 0, np.arange(count), -1))[lost]
    after = np.where(known >= 0, place[known], -1) + 1
    return np.insert(order, after, lost)


def _stamps(packets: Packets) -> NDArray[np.int64]:
    """Stamps of all packets; where none has a pts, times as even as the dts, or none."""
    if (packets.pts > NO_TIME).any() or not packets.in_order:
        return packets.pts
    return np.full(len(packets.pts), NO_TIME)


def _known_starts(packets: Packets) -> NDArray[np.bool_]:
    """Packets at which decoding can start and that a seek can identify.

    No other packet lies at the same byte.
    """
    found, counts = np.unique(packets.position, return_counts=True)
    alone = np.isin(packets.position, found[(counts == 1) & (found >= 0)])
    return np.asarray(packets.starts & alone, bool)


def _opens_for_all(order: NDArray[np.int64], keyframes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Keyframes that are not followed by a frame with an earlier packet."""
    earliest = np.minimum.accumulate(order[::-1])[::-1]
    return np.asarray(earliest[keyframes] == order[keyframes], bool)


def _with_first(keyframes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Add frame 0 as a keyframe: packets before it in the file are decoded and not shown."""
    return np.asarray(np.unique(np.concatenate([np.zeros(1, np.int64), keyframes])), np.int64)


def _seconds(times: Times, timing: Timing) -> NDArray[np.float64]:
    """Convert to seconds on the player's clock, from 0 on. A start by damaged stamps is ignored."""
    seconds = times.ticks * timing.time_base_s
    first, origin = float(seconds[0]), timing.origin_s
    damaged = len(times.repaired) > 0 and times.repaired[0] == 0
    trusted_s = timing.rules.longest_gap * timing.time_base_s if damaged else LONGEST_GAP_S
    if first < origin or (first - origin > trusted_s and (damaged or timing.container not in TIMED_FROM_ZERO)):
        origin = first
    return np.asarray(seconds - origin, np.float64)


def _repairs(times: Times, frames: int, timing: Timing) -> tuple[TimeRepair, ...]:
    """Stretches of frames with new times, and of frames on another clock, ascending."""
    cuts = np.flatnonzero(np.diff(times.repaired) > 1)
    if len(cuts) >= MOST_REPAIRS:
        widest = np.argsort(np.diff(times.repaired)[cuts], kind="stable")[-(MOST_REPAIRS - 1) :]
        cuts = cuts[np.sort(widest)]
    stretches = [
        TimeRepair(int(part[0]), int(part[-1]) + 1, len(part), None)
        for part in np.split(times.repaired, cuts + 1)
        if len(part)
    ]
    bounds = [*(change.frame for change in times.changes), frames]
    clocks = [
        TimeRepair(change.frame, stop, 0, change.ticks * timing.time_base_s)
        for change, stop in zip(times.changes, bounds[1:], strict=True)
    ]
    return tuple(sorted(stretches + clocks[:MOST_REPAIRS]))


def _duration_s(index: FrameIndex, packets: Packets, timing: Timing, *, damaged: bool) -> float:
    """Duration to the end of the last frame, whose length its packet states or, failing that, the header.

    damaged: a header's rate is computed from the stamps, so the last frames' own rate is used
    """
    frame_s, ticks = timing.frame_s, 0
    if damaged and len(index.timestamps_s) > 1:
        frame_s = float(np.median(np.diff(index.timestamps_s[-TRIAL_FRAMES:])))
    elif index.numbered_by in ("pts", "packet"):
        ticks = int(packets.duration[np.argmax(packets.pts) if index.numbered_by == "pts" else index.packets[-1]])
    span = float(index.timestamps_s[-1] - index.timestamps_s[0])
    return span + (ticks * timing.time_base_s or frame_s)
