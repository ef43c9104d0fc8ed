// TensorFlow.js's own people on raw RGB pictures of the model's input size: node poses.mjs NODE_MODULES REQUEST.json
// REQUEST.json: {kind: "single" | "multi" | "posenet", model: JSON file, weights: [files], pictures: [{file, width, height}]}
// Prints one list of people per picture: {score, keypoints: [[x, y, score], ...]}, in pixels of the picture.
import fs from 'fs';
import { createRequire } from 'module';

const [modules, requestFile] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const tf = require('@tensorflow/tfjs');
const poseDetection = require('@tensorflow-models/pose-detection');
const request = JSON.parse(fs.readFileSync(requestFile));
const topology = JSON.parse(fs.readFileSync(request.model));
const weights = Buffer.concat(request.weights.map((file) => fs.readFileSync(file)));
const handler = {
  load: async () => ({
    modelTopology: topology.modelTopology, format: topology.format, signature: topology.signature,
    weightSpecs: topology.weightsManifest.flatMap((group) => group.weights),
    weightData: weights.buffer.slice(weights.byteOffset, weights.byteOffset + weights.byteLength),
  }),
};
const { SupportedModels, movenet } = poseDetection;
const quiet = { enableSmoothing: false, enableTracking: false };
const detectors = {
  multi: () => [SupportedModels.MoveNet, {
    ...quiet, modelType: movenet.modelType.MULTIPOSE_LIGHTNING, modelUrl: handler, minPoseScore: 0.1,
    multiPoseMaxDimension: request.pictures[0].width }],
  single: () => [SupportedModels.MoveNet, {
    ...quiet, modelType: request.pictures[0].width === 192 ? movenet.modelType.SINGLEPOSE_LIGHTNING
      : movenet.modelType.SINGLEPOSE_THUNDER, modelUrl: handler, minPoseScore: 0.01 }],
  posenet: () => [SupportedModels.PoseNet, {
    architecture: 'MobileNetV1', outputStride: 16, multiplier: 0.5, modelUrl: handler,
    inputResolution: { width: request.pictures[0].width, height: request.pictures[0].height } }],
};
await tf.setBackend('cpu');
const found = [];
for (const picture of request.pictures) {
  // A detector of one person keeps the crop region of the frame before: a new one for each picture.
  const detector = await poseDetection.createDetector(...detectors[request.kind]());
  const pixels = tf.tensor3d(new Uint8Array(fs.readFileSync(picture.file)), [picture.height, picture.width, 3], 'int32');
  const people = await detector.estimatePoses(pixels, request.kind === 'posenet'
    ? { maxPoses: 15, flipHorizontal: false, scoreThreshold: 0.5, nmsRadius: 20 } : {});
  found.push(people.map((person) => ({
    score: person.score, keypoints: person.keypoints.map((point) => [point.x, point.y, point.score]) })));
}
console.log(JSON.stringify(found));
