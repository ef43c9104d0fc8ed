"""TensorFlow.js with its own detectors, in Node: an independent reading of the same weights and pictures."""
