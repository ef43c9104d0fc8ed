"""Splits: their guarantees for any pictures, counts, and checks before training."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.datasets.picture import SPLITS, Picture, PictureError, Split
from models.datasets.sources import caltech256, stanford_cars
from models.datasets.splits import SHARES, Shares, check_classes, counts, draw_splits, leaks
from models.datasets.survey import survey

Set = tuple[list[Picture], NDArray[np.uint8]]
SHARES_DRAWN = st.sampled_from(
    [SHARES, (0.8, 0.1, 0.1), (0.34, 0.33, 0.33), (0.7, 0.3, 0.0), (0.6, 0.0, 0.4), (1, 0, 0)]
)


def made_up(cars: int, others: int, seed: int = 0) -> Set:
    """Pictures without files, none similar to another: 256 random bits differ in about 128."""
    rng = np.random.default_rng(seed)
    pictures = [
        Picture(Path(f"{n}.jpg"), n < cars, "made-up", sha256=rng.bytes(32).hex()) for n in range(cars + others)
    ]
    return pictures, rng.integers(0, 256, (cars + others, 2, 32), np.uint8)


@st.composite
def sets_with_copies(draw: st.DrawFn) -> Set:
    """Pictures of which some are near copies of others, of either class and also in chains; some have splits."""
    pictures, prints = made_up(draw(st.integers(1, 25)), draw(st.integers(1, 25)), draw(st.integers(0, 99)))
    number = st.integers(0, len(pictures) - 1)
    for copy, original in draw(st.lists(st.tuples(number, number), max_size=12)):
        prints[copy] = prints[original]
        prints[copy, :, draw(st.integers(0, 31))] ^= 0b1011
    own = draw(st.lists(st.sampled_from([*SPLITS, None]), min_size=len(pictures), max_size=len(pictures)))
    return [replace(picture, split=split) for picture, split in zip(pictures, own, strict=True)], prints


@given(sets_with_copies(), SHARES_DRAWN, st.integers(0, 9))
@settings(max_examples=30)
def test_every_picture_has_a_split_that_contains_its_copies(made: Set, shares: Shares, seed: int) -> None:
    pictures, prints = made
    drawn = draw_splits(pictures, prints, shares, seed=seed)
    assert drawn.dropped == []
    assert [replace(p, split=None) for p in drawn.pictures] == [replace(p, split=None) for p in pictures]
    assert {p.split for p in drawn.pictures} <= {split for split, share in zip(SPLITS, shares, strict=True) if share}
    assert leaks(drawn.pictures, prints) == []


@given(st.integers(0, 60), st.integers(0, 60), SHARES_DRAWN, st.integers(0, 9))
@settings(max_examples=30)
def test_each_class_is_divided_to_within_one_picture(cars: int, others: int, shares: Shares, seed: int) -> None:
    pictures, prints = made_up(cars, others)
    number = Counter((p.car, p.split) for p in draw_splits(pictures, prints, shares, seed=seed).pictures)
    for car, total in ((True, cars), (False, others)):
        for split, share in zip(SPLITS, shares, strict=True):
            assert abs(number[car, split] - share * total) < 1 + 1e-6


@given(sets_with_copies(), st.integers(0, 9), st.booleans(), st.randoms(use_true_random=False))
@settings(max_examples=25)
def test_splits_depend_only_on_bytes_and_seed(made: Set, seed: int, keep_own: bool, random: Any) -> None:
    pictures, prints = made
    order = random.sample(range(len(pictures)), len(pictures))
    moved = [replace(pictures[at], path=Path("/elsewhere", pictures[at].path)) for at in order]
    one = draw_splits(pictures, prints, seed=seed, keep_own=keep_own).pictures
    other = draw_splits(moved, prints[order], seed=seed, keep_own=keep_own).pictures
    assert {p.sha256: p.split for p in one} == {p.sha256: p.split for p in other}


def test_another_seed_draws_other_splits() -> None:
    pictures, prints = made_up(50, 50)
    first, again, other = (draw_splits(pictures, prints, seed=seed).pictures for seed in (1, 1, 2))
    assert first == again
    assert first != other


@given(sets_with_copies(), SHARES_DRAWN, st.integers(0, 9))
@settings(max_examples=30)
def test_own_splits_are_kept_without_leaks_into_training(made: Set, shares: Shares, seed: int) -> None:
    pictures, prints = made
    drawn = draw_splits(pictures, prints, shares, seed=seed, keep_own=True)
    split = {p.sha256: p.split for p in drawn.pictures}
    gone = {skipped.picture.sha256 for skipped in drawn.dropped}
    assert split.keys() | gone == {p.sha256 for p in pictures}
    assert not split.keys() & gone
    assert all(skipped.picture.split == "train" for skipped in drawn.dropped)
    came_as_validation = any(p.split == "validation" for p in pictures)
    for picture in pictures:
        if picture.split in ("test", "validation"):
            assert split[picture.sha256] == picture.split
        elif picture.split == "train" and picture.sha256 in split:
            assert split[picture.sha256] in (("train",) if came_as_validation else ("train", "validation"))
    index = {p.sha256: n for n, p in enumerate(pictures)}
    kept = prints[[index[p.sha256] for p in drawn.pictures]]
    assert not [leak for leak in leaks(drawn.pictures, kept) if "train" in (leak.one.split, leak.other.split)]


def test_a_validation_share_is_taken_from_own_training_pictures() -> None:
    pictures, prints = made_up(100, 80)
    own: list[Split] = ["test" if n % 10 == 0 else "train" for n in range(180)]
    pictures = [replace(picture, split=split) for picture, split in zip(pictures, own, strict=True)]
    prints[11] = prints[10]  # 10 is a test picture
    drawn = draw_splits(pictures, prints, (0.6, 0.2, 0.2), seed=1, keep_own=True)
    assert [skipped.picture.path.name for skipped in drawn.dropped] == ["11.jpg"]
    assert drawn.dropped[0].reason == "11.jpg is nearly the same as 10.jpg, of test"
    number = Counter((p.car, p.split) for p in drawn.pictures)
    assert (number[True, "test"], number[False, "test"]) == (10, 8)
    assert (number[True, "train"], number[True, "validation"]) in ((67, 22), (66, 23))
    assert (number[False, "train"], number[False, "validation"]) == (54, 18)


def test_leaks_are_pairs_across_splits_sorted_by_distance() -> None:
    pictures, prints = made_up(4, 2)
    prints[1], prints[3], prints[5] = prints[0], prints[2], prints[0]
    prints[3, :, 0] ^= 0b111
    prints[5, :, 0] ^= 1
    own: list[Split | None] = ["train", "train", "train", "test", None, "validation"]
    pictures = [replace(picture, split=split) for picture, split in zip(pictures, own, strict=True)]
    found = [(leak.one.path.stem, leak.other.path.stem, leak.distance) for leak in leaks(pictures, prints)]
    assert found == [("0", "5", 1), ("1", "5", 1), ("2", "3", 3)]


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5), (0.0, 0.5, 0.5), (1.2, -0.2, 0.0)])
def test_invalid_shares_are_refused(shares: Shares) -> None:
    with pytest.raises(PictureError, match="Give three of at least 0 with the sum 1, the first above 0"):
        draw_splits(*made_up(3, 3), shares, seed=0)


def test_counts_are_grouped_by_set_class_and_split() -> None:
    def some(number: int, car: bool, source: str, split: Split | None) -> list[Picture]:
        return [Picture(Path("x"), car, source, split)] * number

    pictures = some(1234, True, "stanford-cars", "train") + some(5, True, "caltech-256", "test")
    pictures += some(70, False, "caltech-256", "validation")
    assert counts(pictures) == [
        "set            class    train  validation  test    all",
        "caltech-256    car          0           0     5      5",
        "caltech-256    not_car      0          70     0     70",
        "stanford-cars  car      1,234           0     0  1,234",
        "all            car      1,234           0     5  1,239",
        "all            not_car      0          70     0     70",
    ]
    assert counts(some(2, False, "own", None)) == [
        "set  class    train  validation  test  undrawn  all",
        "own  not_car      0           0     0        2    2",
        "all  car          0           0     0        0    0",
        "all  not_car      0           0     0        2    2",
    ]


def test_a_class_without_pictures_or_a_split_of_one_class_is_refused() -> None:
    pictures, prints = made_up(6, 6)
    drawn = draw_splits(pictures, prints, seed=0).pictures
    check_classes(drawn)
    check_classes(pictures, splits=())
    with pytest.raises(PictureError, match="6 pictures, none of not_car"):
        check_classes(drawn[:6])
    with pytest.raises(PictureError, match="6 pictures, none of car"):
        check_classes(drawn[6:])
    without = [p for p in drawn if p.car or p.split != "test"]
    with pytest.raises(PictureError, match=r"test has [12] pictures of car and 0 of not_car, and needs both"):
        check_classes(without)
    check_classes(without, splits=("train", "validation"))
    with pytest.raises(PictureError, match="train has 0 pictures of car and 0 of not_car"):
        check_classes(pictures)


@pytest.mark.real_data
def test_the_real_pictures_are_split_without_a_leak(data: Path) -> None:
    cars = stanford_cars(data / "cars" / "stanford_train", data / "cars" / "devkit")
    seen = survey([*cars.pictures, *caltech256(data / "cars" / "caltech256").pictures])
    drawn = draw_splits(seen.pictures, seen.fingerprints, seed=1).pictures
    check_classes(drawn)
    assert leaks(drawn, seen.fingerprints) == []
    number = Counter((p.car, p.split) for p in drawn)
    assert [number[True, split] for split in SPLITS] == [153, 91, 61]  # of 305
    assert [number[False, split] for split in SPLITS] == [188, 113, 75]  # of 376
