"""Layouts of well-known recorders and phones: the places of the time and the camera in their files' paths.

They are taken from public documentation and threads. None was checked against a file of the device itself.
"""

from types import MappingProxyType
from typing import Literal, NamedTuple

LOCAL = "local"  # the zone of the camera


class LayoutTime(NamedTuple):
    """One way to the time of a file.

    pattern: over the end of the path; "" = the container's creation time
    time_zone: in which the time is written: LOCAL, or a name
    """

    pattern: str
    time_zone: str = LOCAL
    is_: Literal["start", "end"] = "start"


class Layout(NamedTuple):
    """A recorder's way to name its files. devices: for the documentation; example: a file's path"""

    times: tuple[LayoutTime, ...]
    devices: str
    example: str


def _layout(devices: str, example: str, *patterns: str, time_zone: str = LOCAL) -> Layout:
    return Layout(tuple(LayoutTime(pattern, time_zone) for pattern in patterns), devices, example)


LAYOUTS = MappingProxyType(
    {
        "frigate": _layout(
            "Frigate's folder recordings",
            "2026-03-01/22/back_door/14.07.mp4",
            "^%Y-%m-%d/%H/{camera}/%M.%S$",
            time_zone="UTC",
        ),
        "unifi-protect-backup": Layout(
            (LayoutTime("^{camera}/*/%Y-%m-%dT%H-%M-%S *", is_="end"),),
            "unifi-protect-backup, whose names contain the end of the event",
            "Back Door/2026-03-01/2026-03-01T22-14-37 motion.mp4",
        ),
        "unifi-protect": _layout(
            "clips that were downloaded from UniFi Protect",
            "Front Door - 2-9-2026, 11.21.12pm.mp4",
            "^{camera} - %m-%d-%Y, %I.%M.%S%p",
        ),
        "protect-archiver": _layout(
            "protect-archiver (unifi-protect-video-downloader)",
            "Front Door - 2026-02-09 - 23.21.12+0100.mp4",
            "^{camera} - %Y-%m-%d - %H.%M.%S%z",
        ),
        "reolink": _layout(
            "Reolink's memory card, with the mark DST in summer",
            "Mp4Record/2026-03-06/RecM01_20260306_020024_020118_6732828_2821E4C.mp4",
            "^Rec*_%Z%Y%m%d_%H%M%S_",
            "^Rec*_%Y%m%d_%H%M%S_",
        ),
        "reolink-ftp": _layout(
            "Reolink's uploads by FTP", "Driveway_00_20260306020024.mp4", "^{camera}_??_%Y%m%d%H%M%S$"
        ),
        "dahua": _layout(
            "Dahua, Amcrest, Lorex: memory card and uploads",
            "BackYard/2026-04-11/001/dav/03/03.28.59-03.29.26[M][0@0][0].mp4",
            "^%Y-%m-%d/*/dav/**/%H.%M.%S-",
        ),
        "dahua-export": _layout(
            "exports of Dahua's recorders",
            "NVR_ch1_main_20260619064223_20260619064228.mp4",
            "^*_{camera}_*_%Y%m%d%H%M%S_",
        ),
        "brickcom": _layout(
            "Brickcom's recorder",
            "20260509-000500-001000_192.168.1.11-CH2.avi",
            "^%Y%m%d-%H%M%S-??????_*-{camera}$",
        ),
        "abus": _layout("ABUS cameras", "Yard_20261115_164501.avi", "^{camera}_%Y%m%d_%H%M%S$"),
        "blue-iris": _layout("Blue Iris", "Driveway.20260301_221407.mp4", "^{camera}.%Y%m%d_%H%M%S"),
        "motioneye": _layout("motionEye, ZLMediaKit", "Camera1/2026-03-01/22-14-07.mp4", "^{camera}/%Y-%m-%d/%H-%M-%S"),
        "mediamtx": _layout(
            "MediaMTX", "recordings/yard/2026-03-01_22-14-07-123456.mp4", "^{camera}/%Y-%m-%d_%H-%M-%S-%f$"
        ),
        "shinobi": _layout("Shinobi", "videos/group/yard/2026-03-01T22-14-07.mp4", "^{camera}/%Y-%m-%dT%H-%M-%S$"),
        "tapo": _layout("media sync of Tapo cameras in Home Assistant", "1706108297-1706108310.mp4", "^%s-"),
        "yi": _layout(
            "Yi cameras, whose folders are in UTC",
            "2026Y03M09D15H/E123M45S67.mp4",
            "^%YY%mM%dD%HH/E?%MM%SS",
            "^%YY%mM%dD%HH/%MM%SS",
            time_zone="UTC",
        ),
        "wyze": _layout("Wyze's memory card, to the minute", "record/20260301/22/14.mp4", "^%Y%m%d/%H/%M$"),
        "aqara": _layout("Aqara cameras", "lumi3/20260314/173154.mp4", "^%Y%m%d/%H%M%S$"),
        "blink": _layout("Blink, by blinkpy", "20261206_144408_Kitchen.mp4", "^%Y%m%d_%H%M%S_{camera}$"),
        "ring": _layout(
            "Ring, downloaded; some names have no seconds",
            "Ring_FrontDoor_202608081615.mp4",
            "^Ring_{camera}_%Y%m%d%H%M$",
            "^Ring_{camera}_%Y%m%d_%H%M$",
            "^Ring_{camera}_%Y-%m-%d_%H-%M-%S$",
        ),
        "android": _layout(
            "Android phones, Samsung included",
            "DCIM/Camera/VID_20261028_124338.mp4",
            "^VID_%Y%m%d_%H%M%S",
            "^%Y%m%d_%H%M%S",
        ),
        "pixel": _layout("Pixel phones, in UTC", "PXL_20260711_154426209.mp4", "^PXL_%Y%m%d_%H%M%S%f", time_zone="UTC"),
        "iphone": _layout("iPhones: the container's creation time", "IMG_6886.MOV", "", time_zone="UTC"),
        "gopro": _layout("GoPro: the creation time, which is local", "GX010123.MP4", ""),
        "dji": _layout("DJI", "DJI_20260813102011_0008_D.MP4", "^DJI_%Y%m%d%H%M%S_"),
        "teslacam": _layout(
            "Tesla",
            "SavedClips/2026-06-02_09-10-25/2026-06-02_09-10-05-front.mp4",
            "^%Y-%m-%d_%H-%M-%S-{camera}$",
        ),
        "blackvue": _layout("BlackVue", "Record/20260715_140212_NF.mp4", "^%Y%m%d_%H%M%S_?{camera}$"),
        "70mai": _layout("70mai", "NO20260512-143012-000123F.MP4", "^??%Y%m%d-%H%M%S-??????{camera}$"),
        "viofo": _layout("VIOFO", "2026_0512_143012_001F.MP4", "^%Y_%m%d_%H%M%S_???{camera}$"),
        "iso": _layout(
            "any name with year, month, day, hour, minute and second in this order",
            "yard/clip 2026-03-01 22.14.07.mp4",
            "%Y-%m-%d?%H?%M?%S",
            "%Y%m%d?%H%M%S",
            "%Y%m%d%H%M%S",
        ),
    }
)
