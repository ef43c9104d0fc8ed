"""Heavy: the scaling of a converted model's input: requested, found in the network, or decided by labelled pictures."""

import logging
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.conversion.own_scaling import OwnScaling, own_scaling
from models.conversion.parity import as_tensor, infer_one
from models.conversion.sources import LoadedModel
from models.conversion.spec import ConvertSpec
from models.datasets.labelled import LabelledSet, refuse_chance
from models.decoders.classifier import ClassifyParams, classify
from models.errors import ConversionError
from models.inference.scaling import HOW_TO_SAY, RANGES, Color, Scaling, named
from models.manifest import InputSpec, Proof
from models.types import FrameLabel, NightjarError

log = logging.getLogger(__name__)

_CLEARLY = 0.1  # share of the pictures by which the best scaling must lead
_NOTHING = FrameLabel("", 0.0)


@dataclass(frozen=True, eq=False)
class ScalingTrial:
    """A converted classifier and labelled pictures, to try scalings on.

    model: OpenVINO's, not compiled; given: its input, with any scaling
    """

    model: Any
    given: InputSpec
    params: ClassifyParams
    labelled: LabelledSet

    def right(self, scaling: Scaling) -> int:
        """Count the pictures that are labelled correctly with this scaling."""
        spec = scaling.of(self.given)
        infer = infer_one(self.model)

        def label(pixels: NDArray[np.uint8]) -> FrameLabel:
            small = cv2.resize(pixels, (spec.width, spec.height), interpolation=cv2.INTER_LINEAR)
            try:
                return classify(infer(as_tensor(np.asarray(small, np.uint8), spec)), self.params)
            except NightjarError:  # no probabilities, which a wrong scaling may cause
                return _NOTHING

        return sum(self.labelled.prove(label).right.values())

    def all_right(self) -> dict[Scaling, int]:
        """Count the correct labels with every named scaling, in both channel orders."""
        scalings = [named(name, color) for name in RANGES for color in ("RGB", "BGR")]
        return {scaling: self.right(scaling) for scaling in scalings}


def choose_scaling(
    loaded: LoadedModel, spec: ConvertSpec, trial: ScalingTrial | None, is_classifier: bool
) -> tuple[Scaling, str]:
    """Choose the scaling. Returns it with the reason in words.

    trial: None without labelled pictures. Raises ConversionError where the scaling of a classifier stays unknown.
    """
    asked = spec.scaling.parse()
    if loaded.whole_numbers:
        return _of_whole_numbers(asked, spec.scaling.color)
    own = own_scaling(loaded.graph, loaded.input, loaded.size)
    if asked is not None:
        return asked, _as_asked(asked, own)
    if own is not None and own.expects is not None:
        color = spec.scaling.color if spec.scaling.channels else own.expects.color
        return Scaling(own.expects.mean, own.expects.std, color), f"found in the model: {own.describe()}"
    if loaded.task == "pose":
        return named("-1..1", spec.scaling.color), "as PoseNet was published"
    if not is_classifier:
        return named("-1..1", spec.scaling.color), "assumed: the model gives no rows"
    if trial is not None:
        return _by_pictures(trial)
    found = f"{own.describe()}, which fits several ranges" if own else "no Rescaling or Normalization was found in it"
    raise ConversionError(
        f"The model does not say what range its input has: {found}. With another range a classifier gives wrong labels "
        f"without an error. {HOW_TO_SAY}"
    )


def _of_whole_numbers(asked: Scaling | None, color: Color) -> tuple[Scaling, str]:
    """Return the only scaling of an input of integers. Raises ConversionError where another one was asked for."""
    scaling = named("0..255", "RGB")
    if color != "RGB" or asked not in (None, scaling):
        raise ConversionError(
            f"The model takes the pixels as they are, as whole numbers ({scaling.describe()}), and another scaling was "
            "given. Leave out --scale, --mean, --std and --channels."
        )
    return scaling, "whole numbers, the pixels as they are"


def refuse_unproven(trial: ScalingTrial, scaling: Scaling, proof: Proof) -> None:
    """Raise ConversionError where the pictures contradict the scaling; see labelled.refuse_chance."""
    others = {other.describe(): right for other, right in trial.all_right().items() if other != scaling}
    refuse_chance(proof, trial.labelled.commonest, others)


def _as_asked(asked: Scaling, own: OwnScaling | None) -> str:
    expects = own.expects if own else None
    if own is None or expects is None or (expects.mean, expects.std) == (asked.mean, asked.std):
        return "as requested"
    log.warning(
        "The requested scaling is %s, but %s, which fits %s. Check it with --labelled",
        *(asked.describe(), own.describe(), expects.describe()),
    )
    return f"as requested, although {own.describe()}"


def _by_pictures(trial: ScalingTrial) -> tuple[Scaling, str]:
    """Find the scaling with clearly the most correct labels. Raises ConversionError where there is none."""
    right = trial.all_right()
    best = max(right, key=lambda scaling: right[scaling])  # the first of equal ones: RGB
    rivals = [right[other] for other in right if (other.mean, other.std) not in (_flipped(best), (best.mean, best.std))]
    pictures = len(trial.labelled.pictures)
    said = ", ".join(f"{scaling.describe()}: {count}" for scaling, count in right.items())
    if right[best] <= trial.labelled.commonest or right[best] - max(rivals) <= _CLEARLY * pictures:
        raise ConversionError(
            f"The model does not say what range its input has, and {trial.labelled.described} do not decide it: right "
            f"are, by scaling, {said}. {HOW_TO_SAY.partition(';')[0]}"
        )
    return best, f"by {trial.labelled.described}: right are, by scaling, {said}"


def _flipped(scaling: Scaling) -> tuple[Any, Any]:
    """Mean and standard deviation of the same scaling in the other channel order."""
    mean, std = (value[::-1] if isinstance(value, tuple) else value for value in (scaling.mean, scaling.std))
    return mean, std
