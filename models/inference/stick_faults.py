"""Reasons why a Neural Compute Stick cannot be opened, from the devices on the USB. No OpenVINO.

OpenVINO says NC_ERROR whether there is no stick, it may not be used, or another process holds it: the USB tells them
apart, because a stick that runs shows itself as another product.
"""

from contextlib import suppress
from pathlib import Path

USB = Path("/sys/bus/usb/devices")
# As in Intel's 97-myriad-usbboot.rules.
MOVIDIUS = "03e7"
FIRST_GENERATION, WAITING, RUNNING = "2150", "2485", "f63b"


def why_no_stick(plugin: bool, usb: Path = USB) -> str:
    """Finding in place of a stick that can be opened, and the remedy. plugin: True if OpenVINO has it"""
    if not plugin:
        return "this OpenVINO has no plugin for a stick, expected 2022.3 LTS from Intel's archive, see docs/edge.md"
    found = movidius_products(usb)
    if RUNNING in found and WAITING not in found:
        return "the stick on the USB runs for another process, expected it free: one process a stick, end the other"
    if WAITING in found:
        return (
            "a stick is on the USB and cannot be started: install the udev rules (docs/edge.md), be in group users, "
            "and give it a powered USB port"
        )
    if FIRST_GENERATION in found:
        return "the stick is of the first generation, which OpenVINO 2020.3 was the last to know: take an NCS2"
    return "no stick is on the USB, expected a Neural Compute Stick 2: plug it in"


def movidius_products(usb: Path = USB) -> set[str]:
    """The products of Movidius, by their number, that hang on this machine's USB."""
    products = set()
    for vendor in usb.glob("*/idVendor"):
        with suppress(OSError):  # pulled out while we look
            if vendor.read_text().strip() == MOVIDIUS:
                products.add(vendor.with_name("idProduct").read_text().strip())
    return products
