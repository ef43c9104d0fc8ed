"""Parameters for fine-tuning a car / not-a-car classifier: the three experiments as presets, and bounds.

No TensorFlow.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from models.conversion.spec import NAME_EXPECTED, NAME_PATTERN, PATH_LENGTH
from models.decoders.region_spec import MOST_LEVELS, MOST_MOVING, SMALLEST_LEVEL, RegionSpec
from models.errors import NightjarError
from models.spec import Option, Overrides, complaints

Backbone = Literal["resnet50", "mobilenet_0_25"]
Optimizer = Literal["adam", "sgd", "rmsprop"]
ClassWeights = Literal["none", "balanced"]

# Names in keras.applications of Keras's published files: weights only, without the top.
WEIGHTS_URL: dict[Backbone, str] = {
    "resnet50": "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
    "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "mobilenet_0_25": "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/"
    "mobilenet_2_5_224_tf_no_top.h5",
}
# Unit of `unfrozen_blocks`, from the end: ResNet50's residual blocks, conv5_block3 first and conv2_block1 last;
# MobileNet's pairs of a depthwise and a pointwise convolution, 13 first and 1 last.
BLOCKS: dict[Backbone, int] = {"resnet50": 16, "mobilenet_0_25": 13}

_MOST_DENSE, _WIDEST = 4, 4096


class FinetuneError(NightjarError):
    """A fine-tuning that cannot start or continue as requested."""


@dataclass(frozen=True)
class FinetuneParams:
    """Everything that determines the classifier besides the pictures and the backbone's weights. Stored with the run.

    dense: extra layers have a ReLU and come before the one of 32; unfrozen_blocks: see BLOCKS
    own_splits: use the data sets' own splits where they exist
    shares: of train, validation and test among the pictures that are split at random
    Raises FinetuneError where a value is out of its bounds.
    """

    backbone: Annotated[Backbone, Option("Network whose features are classified.")] = "resnet50"
    learning_rate: Annotated[float, Option("Step size of the optimizer.", ge=1e-7, le=1)] = 1e-3
    optimizer: Annotated[Optimizer, Option("Keras's name of the optimizer.")] = "adam"
    epochs: Annotated[int, Option("Number of passes over the training pictures.", ge=1, le=1000)] = 20
    batch_size: Annotated[int, Option("Pictures per step.", ge=1, le=1024)] = 32
    seed: Annotated[int, Option("Seed of splits, first weights and order.", ge=0, le=2**31 - 1)] = 1
    dropout: Annotated[float, Option("Share of the features to drop in training; 0: no such layer.", ge=0, le=0.9)] = (
        0.0
    )
    dense: Annotated[
        tuple[Annotated[int, Option("", ge=1, le=_WIDEST)], ...],
        Option("Width of an extra layer; up to four.", max_length=_MOST_DENSE),
    ] = ()
    unfrozen_blocks: Annotated[
        int, Option("Number of the backbone's last blocks to train, too; slow.", ge=0, le=max(BLOCKS.values()))
    ] = 0
    augment: Annotated[bool, Option("Train on flipped, cropped, brighter and darker pictures; slow.")] = False
    class_weights: Annotated[
        ClassWeights, Option("balanced: cars and others count the same in the loss, however many there are.")
    ] = "none"
    own_splits: Annotated[
        bool,
        Option(
            "The data sets' own splits; or all drawn at random, even of folders called train, validation and test.",
            flags="--own-splits/--random-splits",
        ),
    ] = False
    moving_regions: Annotated[
        int,
        Option(
            "Number of regions in which something moves to look at in each frame of a video, besides the whole frame.",
            ge=0,
            le=MOST_MOVING,
        ),
    ] = 0
    tiles: Annotated[
        tuple[Annotated[float, Option("", ge=SMALLEST_LEVEL, le=1)], ...],
        Option(
            "Side of square tiles to look at in each frame, too, as a fraction of its shorter side.",
            max_length=MOST_LEVELS,
        ),
    ] = ()
    shares: tuple[float, float, float] = (0.5, 0.3, 0.2)

    def __post_init__(self) -> None:
        for complaint in complaints(self):
            raise FinetuneError(complaint)
        most = BLOCKS[self.backbone]
        if self.unfrozen_blocks > most:
            raise FinetuneError(f"{self.backbone} has {most} blocks. Give unfrozen_blocks a value of 0 to {most}.")
        if not all(0 < share < 1 for share in self.shares) or abs(sum(self.shares) - 1) > 1e-9:
            raise FinetuneError(f"The shares are {self.shares}. Give three positive numbers whose sum is 1.")

    @classmethod
    def preset(cls, name: "Preset", overrides: Mapping[str, Any] | None = None) -> "FinetuneParams":
        """Return the parameters of a preset, some of them replaced. Raises FinetuneError."""
        return cls(**{**PRESETS[name], **(overrides or {})})

    @property
    def regions(self) -> RegionSpec | None:
        """Regions of a frame that the classifier will look at; None = the whole frame only."""
        if not self.moving_regions and not self.tiles:
            return None
        return RegionSpec(levels=self.tiles, moving=self.moving_regions)

    def to_json(self) -> str:
        """Return the parameters as JSON. Those of regions are left out where there are none, as in earlier runs."""
        found = dataclasses.asdict(self)
        for name in ("moving_regions", "tiles"):
            if not found[name]:
                del found[name]
        return json.dumps(found, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "FinetuneParams":
        """Parse parameters. Raises FinetuneError for text that is not JSON, unknown names and values out of bounds."""
        try:
            raw = json.loads(text)
            given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in raw.items()}
            return cls(**given)
        except (ValueError, TypeError, AttributeError) as error:
            names = ", ".join(field.name for field in dataclasses.fields(cls))
            raise FinetuneError(
                f"These are not the parameters of a fine-tuning ({error}). Give JSON with any of {names}."
            ) from error


# After "Car or Not a Car": one data set of each kind, split at random; then the sets' own splits and more folders;
# then against overfitting, with batches of 32, and of 128 as an override.
Preset = Literal["experiment-1", "experiment-2", "experiment-3"]
PRESETS: dict[Preset, dict[str, Any]] = {
    "experiment-1": {},
    "experiment-2": {"own_splits": True},
    "experiment-3": {"own_splits": True, "dropout": 0.3},
}
"""Values that differ from the defaults of FinetuneParams."""


@dataclass(frozen=True)
class PictureSources:
    """Places of the pictures."""

    stanford: Annotated[
        Path | None,
        Option("Folder of Stanford Cars' pictures; needs its devkit.", max_length=PATH_LENGTH, place="folder"),
    ] = None
    devkit: Annotated[
        Path | None,
        Option("Folder of Stanford Cars' annotations, the .mat files.", max_length=PATH_LENGTH, place="folder"),
    ] = None
    caltech: Annotated[
        Path | None,
        Option("Folder of Caltech-256's folders, such as 252.car-side-101.", max_length=PATH_LENGTH, place="folder"),
    ] = None
    folders: Annotated[
        tuple[str, ...] | None,
        Option(
            "Folder with car/ and not_car/; any number. Folders train, validation and test in it are its splits.",
            max_length=100,
            flags="--pictures",
            place="folder",
        ),
    ] = None
    backgrounds: Annotated[
        Path | None,
        Option(
            "Folder of videos without cars: what moves in them, and parts of their frames, are pictures of others.",
            max_length=PATH_LENGTH,
            place="folder",
        ),
    ] = None
    crop: Annotated[bool, Option("Cut Stanford Cars' pictures to the annotated box.")] = False


@dataclass(frozen=True)
class FinetuneSpec:
    """Request for a fine-tuning. overrides: parameters that differ from the preset's"""

    preset: Annotated[
        Preset,
        Option("1: split at random. 2: the data sets' own splits. 3: and dropout against overfitting."),
    ] = "experiment-1"
    sources: PictureSources = field(default=PictureSources())
    weights: Annotated[
        Path | None,
        Option(
            "Keras's .h5 of the backbone without its top.",
            when_empty="the published one",
            max_length=PATH_LENGTH,
            place="file",
        ),
    ] = None
    name: Annotated[
        str,
        Option("The model's name here.", pattern=NAME_PATTERN, max_length=100, expected=NAME_EXPECTED),
    ] = "car-classifier"
    overrides: Annotated[Mapping[str, Any], Overrides(FinetuneParams, "the preset's")] = field(default_factory=dict)

    @property
    def params(self) -> FinetuneParams:
        """Raises FinetuneError."""
        return FinetuneParams.preset(self.preset, self.overrides)

    @property
    def random_splits(self) -> bool:
        """Return whether all splits are drawn at random, even for folders called train, validation and test."""
        return self.overrides.get("own_splits") is False
