"""TensorFlow.js with its own detectors, in Node: an independent implementation for the same weights and pictures."""
