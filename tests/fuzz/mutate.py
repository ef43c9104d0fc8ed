"""Damage to bytes and to JSON, drawn from a seed."""

import json
import random
from collections.abc import Callable
from typing import Any

# Lengths, counts and offsets that a reader may use unchecked.
EXTREMES = [
    bytes(4),
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    bytes(8),
    b"\xff" * 8,
    b"\0\0\0\1",
    b"\1\0\0\0",
]
VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    2**31,
    2**53 + 1,
    2**70,
    -(2**70),
    1e308,
    float("nan"),
    float("inf"),
    "",
    "\0",
    "../../etc/passwd",
    "\x1b[2J",
    "\u202e",
    "x" * 5000,
    [],
    {},
    [[[[[[]]]]]],
    {"a": {"b": {}}},
]


def mutate(data: bytes, chance: random.Random, other: bytes = b"") -> bytes:
    """Apply one to eight kinds of damage. other: a file to copy pieces from"""
    damaged = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 3, 8])):
        if damaged:
            damaged = chance.choice(DAMAGES)(damaged, chance, other or data)
    return bytes(damaged)


def _place(data: bytearray, chance: random.Random) -> int:
    """Choose a position, often near the beginning or the end, where headers and indices are."""
    reach = chance.choice([len(data), len(data), min(len(data), 200), min(len(data), 2000)])
    position = chance.randrange(reach)
    return position if chance.random() < 0.7 else len(data) - 1 - position


def _flip(data: bytearray, chance: random.Random, _: bytes) -> bytearray:
    data[_place(data, chance)] ^= 1 << chance.randrange(8)
    return data


def _extreme(data: bytearray, chance: random.Random, _: bytes) -> bytearray:
    position, value = _place(data, chance), chance.choice(EXTREMES)
    data[position : position + len(value)] = value
    return data


def _noise(data: bytearray, chance: random.Random, _: bytes) -> bytearray:
    position, count = _place(data, chance), chance.randrange(1, 200)
    data[position : position + count] = chance.randbytes(count)
    return data


def _truncate(data: bytearray, chance: random.Random, _: bytes) -> bytearray:
    return data[: _place(data, chance)]


def _remove(data: bytearray, chance: random.Random, _: bytes) -> bytearray:
    position = _place(data, chance)
    del data[position : position + chance.randrange(1, 500)]
    return data


def _repeat(data: bytearray, chance: random.Random, _: bytes) -> bytearray:
    position = _place(data, chance)
    piece = data[position : position + chance.randrange(1, 2000)]
    data[position:position] = piece * chance.randrange(1, 4)
    return data


def _splice(data: bytearray, chance: random.Random, other: bytes) -> bytearray:
    begin = chance.randrange(len(other))
    position = _place(data, chance)
    data[position:position] = other[begin : begin + chance.randrange(1, 5000)]
    return data


DAMAGES: list[Callable[[bytearray, random.Random, bytes], bytearray]] = [
    _flip,
    _flip,
    _extreme,
    _extreme,
    _noise,
    _truncate,
    _remove,
    _repeat,
    _splice,
]


def mutate_json(text: str, chance: random.Random) -> bytes:
    """Replace, remove, repeat or nest some values of the JSON, and sometimes damage its bytes."""
    value = json.loads(text)
    for _ in range(chance.choice([1, 1, 2, 5])):
        value = _change(value, chance)
    data = json.dumps(value).encode()
    if chance.random() < 0.1:
        data = b"[" * chance.choice([10, 1000, 100_000]) + data
    return mutate(data, chance) if chance.random() < 0.2 else data


def _change(value: Any, chance: random.Random) -> Any:
    """Change one value at any depth."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        return _changed_key(dict(value), key, chance)
    if isinstance(value, list) and value and chance.random() < 0.9:
        place = chance.randrange(len(value))
        if chance.random() < 0.1:
            return value + [value[place]] * chance.choice([1, 3, 5000])
        return [*value[:place], _change(value[place], chance), *value[place + 1 :]]
    return chance.choice(VALUES)


def _changed_key(value: dict[str, Any], key: str, chance: random.Random) -> dict[str, Any]:
    kind = chance.random()
    if kind < 0.1:
        del value[key]
    elif kind < 0.2:
        value[key + chance.choice(["", "_", "\0"])] = value.pop(key)
    else:
        value[key] = _change(value[key], chance)
    return value
