"""Heavy: PoseNet MobileNetV1 0.50 as a trainable network: layers with batch norm, targets, losses, one step.

Not here: pictures (feed.py), the loop and its checkpoints (train.py), files.

Targets and losses are PersonLab's (Papandreou et al. 2018, sections 3.1 and 3.2), with two differences that follow from
the decoder of posenet.py: the displacement target is the vector from keypoint to keypoint, not from the cell, because
the decoder adds it to the keypoint; and it is not refined in training, because the decoder refines it by the offsets.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.conversion.posenet_graph import HEADS, OUTPUT_STRIDE, block_strides
from models.decoders.posenet import cell_origin_px
from models.decoders.skeleton import PART_CHAIN
from models.heavy.tensorflow import tf
from models.types import KEYPOINTS

WIDTH = 0.50
_CHANNELS = (16, 32, 64, 64, 128, 128, *(256,) * 8)  # MobileNetV1 0.50, as the published PoseNet has it
_HEAD_CHANNELS = dict(zip(HEADS, (KEYPOINTS, 2 * KEYPOINTS, 2 * len(PART_CHAIN), 2 * len(PART_CHAIN)), strict=True))
# Pixels per unit of a head's output in training, so that all heads learn at the same rate; folded in at the end.
_HEAD_SCALE = dict(zip(HEADS, (1.0, 16.0, 32.0, 32.0), strict=True))
_BATCH_NORM_EPSILON = 1e-3
_BATCH_NORM_MOMENTUM = 0.98
_PASSED = 0.4  # weight of the offset of a cell that is not the nearest one
_PARENT = [parent for parent, _ in PART_CHAIN]
_CHILD = [child for _, child in PART_CHAIN]

Layout = tuple[tuple[str, tuple[int, ...]], ...]


def _layers() -> list[tuple[str, str, tuple[int, ...]]]:
    """(name, kernel name, kernel shape) of the 27 convolutions before the heads."""
    layers: list[tuple[str, str, tuple[int, ...]]] = []
    before = 3
    for block, channels in enumerate(_CHANNELS):
        if block == 0:
            layers.append(("Conv2d_0", "weights", (3, 3, before, channels)))
        else:
            layers.append((f"Conv2d_{block}_depthwise", "depthwise_weights", (3, 3, before, 1)))
            layers.append((f"Conv2d_{block}_pointwise", "weights", (1, 1, before, channels)))
        before = channels
    return layers


def _layout() -> tuple[Layout, Layout]:
    """Names and shapes of the trained variables, and of the tracked ones (mean and variance of batch norm)."""
    learnt: list[tuple[str, tuple[int, ...]]] = []
    counted: list[tuple[str, tuple[int, ...]]] = []
    for name, kernel, shape in _layers():
        out = shape[2] if "depthwise" in kernel else shape[3]
        learnt += [(f"{name}/{kernel}", shape), (f"{name}/gamma", (out,)), (f"{name}/beta", (out,))]
        counted += [(f"{name}/mean", (out,)), (f"{name}/variance", (out,))]
    for head, channels in _HEAD_CHANNELS.items():
        learnt += [(f"{head}/weights", (1, 1, _CHANNELS[-1], channels)), (f"{head}/biases", (channels,))]
    return tuple(learnt), tuple(counted)


LEARNT, COUNTED = _layout()


def _unpack(flat: Any, layout: Layout) -> dict[str, Any]:
    pieces = tf.split(flat, [int(np.prod(shape)) for _, shape in layout])
    return {name: tf.reshape(piece, shape) for (name, shape), piece in zip(layout, pieces, strict=True)}


def initial_values(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(trained, tracked), flat. He's initialisation; heatmap biases so that hardly any cell is a keypoint at first."""
    rng = np.random.default_rng(seed)
    learnt = []
    for name, shape in LEARNT:
        if name.endswith("weights"):
            fan_in = np.prod(shape[:2]) if "depthwise" in name else np.prod(shape[:3])
            spread = 0.01 if name.split("/")[0] in HEADS else float(np.sqrt(2 / fan_in))
            learnt.append(rng.normal(0, spread, shape).ravel())
        else:
            start = 1.0 if name.endswith("gamma") else -3.5 if name == "heatmap_2/biases" else 0.0
            learnt.append(np.full(shape, start))
    counted = [np.full(shape, 1.0 if name.endswith("variance") else 0.0) for name, shape in COUNTED]
    return np.concatenate(learnt).astype(np.float32), np.concatenate(counted).astype(np.float32)


def _block(name: str) -> int:
    return int(name.split("_")[1])


def run_network(learnt: Any, counted: Any, images: Any, training: bool) -> tuple[dict[str, Any], Any]:
    """Compute the four heads of images (n, h, w, 3) in -1..1, and update `counted`."""
    values, counts = _unpack(learnt, LEARNT), _unpack(counted, COUNTED)
    fresh = []
    x = images
    strides = [stride for stride, _ in block_strides(WIDTH)]
    for name, kernel, _ in _layers():
        stride = 1 if name.endswith("pointwise") else strides[_block(name)]
        weights, bias = values[f"{name}/{kernel}"], None
        if not training:
            weights, bias = fold(values, counts, name, kernel)
        if kernel == "depthwise_weights":
            x = tf.nn.depthwise_conv2d(x, weights, [1, stride, stride, 1], "SAME")
        else:
            x = tf.nn.conv2d(x, weights, stride, "SAME")
        if training:
            x, mean, variance = _batch_norm(x, name, values, counts)
        else:
            x, mean, variance = tf.nn.bias_add(x, bias), counts[f"{name}/mean"], counts[f"{name}/variance"]
        fresh += [mean, variance]
        x = tf.nn.relu6(x)
    heads = {
        head: scale * (tf.nn.conv2d(x, values[f"{head}/weights"], 1, "SAME") + values[f"{head}/biases"])
        for head, scale in _HEAD_SCALE.items()
    }
    return heads, tf.concat(fresh, 0)


def _batch_norm(x: Any, name: str, values: Any, counts: Any) -> tuple[Any, Any, Any]:
    """Normalise by the batch's own mean and variance, and update the running ones."""
    y, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        x, values[f"{name}/gamma"], values[f"{name}/beta"], epsilon=_BATCH_NORM_EPSILON, is_training=True
    )
    keep = _BATCH_NORM_MOMENTUM
    return (
        y,
        counts[f"{name}/mean"] * keep + mean * (1 - keep),
        counts[f"{name}/variance"] * keep + variance * (1 - keep),
    )


def fold(values: Any, counts: Any, name: str, kernel: str) -> tuple[Any, Any]:
    """(kernel, bias) of a convolution with its batch norm multiplied in."""
    scale = values[f"{name}/gamma"] * tf.math.rsqrt(counts[f"{name}/variance"] + _BATCH_NORM_EPSILON)
    along = scale[:, None] if kernel == "depthwise_weights" else scale
    return values[f"{name}/{kernel}"] * along, values[f"{name}/beta"] - counts[f"{name}/mean"] * scale


def folded(learnt: NDArray[np.float32], counted: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return the variables of posenet_graph.build_graph: batch norm multiplied into the kernels and added as biases."""
    values, counts = _unpack(learnt, LEARNT), _unpack(counted, COUNTED)
    variables: dict[str, NDArray[np.float32]] = {}
    for name, kernel, _ in _layers():
        weights, bias = fold(values, counts, name, kernel)
        variables[f"MobilenetV1/{name}/{kernel}"] = weights.numpy()
        variables[f"MobilenetV1/{name}/biases"] = bias.numpy()
    for head, head_scale in _HEAD_SCALE.items():
        for kind in ("weights", "biases"):
            variables[f"MobilenetV1/{head}/{kind}"] = values[f"{head}/{kind}"].numpy() * np.float32(head_scale)
    return variables


class Targets(NamedTuple):
    """Target outputs of the network, per cell; masks are 1 where a loss counts.

    heatmap: (n, h, w, 17) 1 within the radius of a keypoint
    offset: (n, h, w, 17, 2) pixels y, x from the cell to the nearest person's keypoint; counts where heatmap is 1
    forward, backward: (n, h, w, 16, 2) pixels y, x along an edge, from parent to child and from child to parent;
    weight: (n, h, w, 17) of that person: the smaller in the picture, the more a pixel's error matters
    """

    heatmap: Any
    offset: Any
    forward: Any
    forward_mask: Any
    backward: Any
    backward_mask: Any
    weight: Any


def make_targets(people: Any, size_px: int, radius_px: float, size_power: float = 0.5) -> Targets:
    """Compute the targets for (n, people, 17, 3) x, y, visibility: 0 = not there, in square images of this size.

    A cell lies at the centre of its receptive field (`cell_origin_px`): with targets next to it, a network of this size
    learns half as well.
    size_power: weight of small people's errors: the size to the power of -size_power
    Where keypoints of several people are within the radius of a cell, the nearest one counts.
    """
    yx, there = people[..., 1::-1], people[..., 2] > 0
    along = tf.range(-(-size_px // OUTPUT_STRIDE)) * OUTPUT_STRIDE + cell_origin_px(size_px)
    cells = tf.cast(tf.stack(tf.meshgrid(along, along, indexing="ij"), -1), tf.float32)  # (h, w, 2)
    away = yx[:, None, None] - cells[None, :, :, None, None]  # (n, h, w, people, 17, 2)
    distance2 = tf.reduce_sum(away * away, -1)
    distance2 = tf.where(there[:, None, None], distance2, 1e12)
    nearest = tf.one_hot(tf.argmin(distance2, axis=3), people.shape[1], axis=3)  # (n, h, w, people, 17)
    heatmap = tf.cast(tf.reduce_min(distance2, axis=3) <= radius_px**2, tf.float32)
    offset = tf.reduce_sum(away * nearest[..., None], axis=3)
    parent, child = tf.gather(yx, _PARENT, axis=2), tf.gather(yx, _CHILD, axis=2)  # (n, people, 16, 2)
    both = tf.cast(tf.gather(there, _PARENT, axis=2) & tf.gather(there, _CHILD, axis=2), tf.float32)
    at_parent, at_child = tf.gather(nearest, _PARENT, axis=4), tf.gather(nearest, _CHILD, axis=4)

    def of_nearest(values: Any, chosen: Any) -> Any:
        return tf.einsum("npec,nhwpe->nhwec", values, chosen)

    return Targets(
        heatmap=heatmap,
        offset=offset,
        forward=of_nearest(child - parent, at_parent),
        forward_mask=of_nearest(both[..., None], at_parent)[..., 0] * tf.gather(heatmap, _PARENT, axis=3),
        backward=of_nearest(parent - child, at_child),
        backward_mask=of_nearest(both[..., None], at_child)[..., 0] * tf.gather(heatmap, _CHILD, axis=3),
        weight=tf.einsum("np,nhwpk->nhwk", _size_weight(yx, there, size_power), nearest),
    )


def _size_weight(yx: Any, there: Any, power: float) -> Any:
    """(n, people): (100 px / size) ** power, because OKS divides an error by the person's size; bounded, about 1."""
    far = tf.constant(1e6, tf.float32)
    low = tf.reduce_min(tf.where(there[..., None], yx, far), axis=2)
    high = tf.reduce_max(tf.where(there[..., None], yx, -far), axis=2)
    longer = tf.reduce_max(high - low, axis=-1)
    return (100.0 / tf.clip_by_value(longer, 35.0, 300.0)) ** power


def _ends(offset: Any) -> Any:
    """(n, h, w, 17): 1 at the cell nearest to the keypoint, where the decoder's walk ends; less at all others."""
    return tf.where(tf.reduce_max(tf.abs(offset), -1) <= OUTPUT_STRIDE / 2, 1.0, _PASSED)


def losses(heads: dict[str, Any], targets: Targets, radius_px: float, balance: Any) -> dict[str, Any]:
    """Sigmoid cross entropy of the heatmap per positive cell; L1 of offsets and displacements in radii per disk cell.

    balance: (17,) weight of each keypoint's offset
    """
    cross = tf.nn.sigmoid_cross_entropy_with_logits(targets.heatmap, heads["heatmap_2"])

    def distance(head: str, target: Any, mask: Any) -> Any:
        shape = tf.shape(target)
        found = tf.reshape(heads[head], [shape[0], shape[1], shape[2], 2, shape[3]])
        error = tf.reduce_sum(tf.abs(tf.transpose(found, [0, 1, 2, 4, 3]) - target), -1) / radius_px
        return tf.reduce_sum(error * mask) / (tf.reduce_sum(mask) + 1.0)

    forward_weight = tf.gather(targets.weight, _PARENT, axis=3) * targets.forward_mask
    backward_weight = tf.gather(targets.weight, _CHILD, axis=3) * targets.backward_mask
    return {
        "heatmap": tf.reduce_sum(cross) / (tf.reduce_sum(targets.heatmap) + 1.0),
        "offset": distance(
            "offset_2", targets.offset, targets.weight * targets.heatmap * balance * _ends(targets.offset)
        ),
        "forward": distance("displacement_fwd_2", targets.forward, forward_weight),
        "backward": distance("displacement_bwd_2", targets.backward, backward_weight),
    }
