// People on a canvas: from pixels of the displayed frame to pixels of the page, and back.

const GOLDEN = (Math.sqrt(5) - 1) / 2;
const LEFT = "rgb(255 140 60)";
const RIGHT = "rgb(60 190 255)";
const MIDDLE = "rgb(210 240 210)";
const OUTLINE = "rgb(25 25 30 / 85%)";
const NEAR_PX = 14; // of the pointer: a fingertip's worth around a dot

// Where the picture is in a box that shows it whole, centred, times a zoom that was moved.
export class Placement {
  // width, height: of the displayed frame; zoom: {factor, x, y}, x and y in pixels of the page
  constructor(width, height, boxWidth, boxHeight, zoom = { factor: 1, x: 0, y: 0 }) {
    const fit = Math.min(boxWidth / width, boxHeight / height);
    this.scale = fit * zoom.factor;
    this.left = ((boxWidth - width * fit) / 2) * zoom.factor + zoom.x;
    this.top = ((boxHeight - height * fit) / 2) * zoom.factor + zoom.y;
  }

  // Coordinates count from the centre of the first pixel, the page from its corner.
  toPage(x, y) {
    return [this.left + (x + 0.5) * this.scale, this.top + (y + 0.5) * this.scale];
  }

  toPicture(left, top) {
    return [(left - this.left) / this.scale - 0.5, (top - this.top) / this.scale - 0.5];
  }
}

// The colours of overlay videos (models/drawing/people.py): successive numbers differ as much as possible.
export function trackColor(track) {
  return `rgb(${channels(track).join(" ")})`;
}

// Letters on a track's colour.
export function inkOn(track) {
  const [red, green, blue] = channels(track);
  return 0.3 * red + 0.59 * green + 0.11 * blue > 105 ? "rgb(20 20 24)" : "rgb(255 255 255)";
}

function channels(track) {
  const hue = (track * GOLDEN) % 1;
  const value = track % 2 ? 1 : 0.82;
  const part = (shift) => {
    const place = (shift + hue * 6) % 6;
    return Math.round(255 * value * (1 - 0.75 * Math.max(0, Math.min(place, 4 - place, 1))));
  };
  return [part(5), part(3), part(1)];
}

function sideColor(names, ...keypoints) {
  const sides = new Set(keypoints.map((keypoint) => names[keypoint].split("_")[0]).filter((side) => side !== "nose"));
  if (sides.size !== 1) return MIDDLE;
  return sides.has("left") ? LEFT : RIGHT;
}

// skeleton: {edges: [[from, to], …], names: [name of a keypoint, …]}; unit: width of a line, pixels of the page
export function drawPeople(context, people, placement, skeleton, unit, chosen = 0) {
  const unitOf = ({ track }) => (track && track === chosen ? 1.5 * unit : unit);
  for (const person of people) drawPerson(context, person, placement, skeleton, unitOf(person));
  for (const person of people) if (person.track) drawNumber(context, person, placement, unit);
}

function drawPerson(context, person, placement, skeleton, unit) {
  const places = placesOf(person, placement);
  const color = person.track ? trackColor(person.track) : null;
  const lines = skeleton.edges.filter(([from, to]) => places[from] && places[to]);
  context.lineCap = "round";
  const outline = [() => OUTLINE, 2 * unit + 1];
  const limb = [(line) => color ?? sideColor(skeleton.names, ...line), unit];
  for (const [style, width] of [outline, limb]) {
    for (const line of lines) {
      context.strokeStyle = style(line);
      context.lineWidth = width;
      context.beginPath();
      context.moveTo(...places[line[0]]);
      context.lineTo(...places[line[1]]);
      context.stroke();
    }
  }
  places.forEach((place, keypoint) => {
    if (!place) return;
    const radius = unit * (0.7 + 0.9 * (person.scores[keypoint] || 0));
    drawDot(context, place, radius + unit / 2, OUTLINE);
    drawDot(context, place, radius, color ?? sideColor(skeleton.names, keypoint));
  });
}

function drawDot(context, [left, top], radius, color) {
  context.fillStyle = color;
  context.beginPath();
  context.arc(left, top, radius, 0, 2 * Math.PI);
  context.fill();
}

function drawNumber(context, person, placement, unit) {
  const found = placesOf(person, placement).filter(Boolean);
  if (!found.length) return;
  const size = Math.max(11, 5 * unit);
  context.font = `600 ${size}px system-ui, sans-serif`;
  const text = String(person.track);
  const width = context.measureText(text).width + size / 2;
  const height = 1.3 * size;
  const middle = found.reduce((sum, [left]) => sum + left, 0) / found.length;
  const top = Math.max(0, Math.min(...found.map((place) => place[1])) - 1.8 * height);
  context.fillStyle = trackColor(person.track);
  context.beginPath();
  context.roundRect(middle - width / 2, top, width, height, 3);
  context.fill();
  context.fillStyle = inkOn(person.track);
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(text, middle, top + height / 2 + 0.5);
}

// Where each keypoint is on the page; null = the model did not find it.
function placesOf(person, placement) {
  return Array.from(person.x, (x, keypoint) =>
    Number.isFinite(x) && Number.isFinite(person.y[keypoint]) ? placement.toPage(x, person.y[keypoint]) : null,
  );
}

// The found keypoint nearest to a place on the page, within reach; null = none.
export function keypointAt(people, placement, left, top) {
  let nearest = null;
  let least = NEAR_PX;
  for (const person of people) {
    placesOf(person, placement).forEach((place, keypoint) => {
      const distance = place ? Math.hypot(place[0] - left, place[1] - top) : Infinity;
      if (distance <= least) {
        least = distance;
        nearest = { person, keypoint, place };
      }
    });
  }
  return nearest;
}

export function lineWidth(width, height) {
  return Math.max(1.5, Math.sqrt(width * height) / 270);
}

// A canvas as large as its element, in the screen's pixels. Returns its context, scaled to pixels of the page.
export function sharpContext(canvas, width, height) {
  const ratio = devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}
