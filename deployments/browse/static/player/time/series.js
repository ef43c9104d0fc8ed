// Charts of a track's motion over time, in line with the timeline.
import { sharpContext, trackColor } from "../picture/drawing.js";
import { lowerBound } from "../picture/pieces.js";
import { seekByPointer, TimeScale } from "./range.js";
import { oncePerPicture, onThemeChange, themeColors } from "../theme.js";

const HEIGHT = 96;
const TOP = 20;
const GAP_STEPS = 20; // a longer time without rows, in usual steps, interrupts a line
const UNITS = [
  ["_px_per_s", "px/s"],
  ["_body_lengths_per_s", "body lengths/s"],
  ["_angle_deg", "°"],
  ["_px", "px"],
  ["_x", "px"],
  ["_y", "px"],
];

// Rows of one track: {frame, t, filled, columns: {name: Float32Array}}
export function readSeries(buffer, names) {
  const view = new DataView(buffer);
  if (new TextDecoder().decode(new Uint8Array(buffer, 0, 4)) !== "NJS1") throw new Error("The server sent no series.");
  const [rows, count] = [view.getUint32(4, true), view.getUint32(8, true)];
  let at = 12;
  const next = (Type, length) => {
    const column = new Type(buffer, at, length);
    at += 4 * Math.ceil(column.byteLength / 4);
    return column;
  };
  const series = { frame: next(Int32Array, rows), t: next(Float32Array, rows), filled: next(Uint8Array, rows) };
  series.columns = {};
  for (const name of names.slice(0, count)) series.columns[name] = next(Float32Array, rows);
  series.stepS = usualStep(series.t);
  return series;
}

function usualStep(t) {
  const steps = [];
  for (let row = 1; row < t.length; row += Math.ceil(t.length / 1000)) steps.push(t[row] - t[row - 1]);
  steps.sort((a, b) => a - b);
  return steps[steps.length >> 1] || 0.04;
}

// "left_knee_angle_deg" is "Left knee angle", in degrees.
export function columnTitle(name) {
  const [ending, unit] = UNITS.find(([end]) => name.endsWith(end)) ?? ["", ""];
  const keep = ending === "_angle_deg" ? " angle" : ending === "_x" || ending === "_y" ? ` ${ending[1]}` : "";
  const text = name.slice(0, name.length - ending.length).replaceAll("_", " ") + keep;
  return { text: text[0].toUpperCase() + text.slice(1), unit };
}

export class Charts {
  constructor(box, range, { seek }) {
    this.box = box;
    this.range = range;
    this.seek = seek;
    this.series = null;
    this.frame = 0;
    this.second = 0;
    this.charts = [];
    this.draw = oncePerPicture(() => this.charts.forEach((chart) => this.#drawChart(chart)));
    range.addEventListener("change", this.draw);
    onThemeChange(this.draw);
    new ResizeObserver(this.draw).observe(box);
  }

  show(series, track) {
    this.series = series;
    this.track = track;
    this.box.replaceChildren();
    this.charts = Object.keys(series.columns).map((name) => this.#addChart(name));
    this.draw();
  }

  clear(message) {
    this.charts = [];
    const note = document.createElement("p");
    note.className = "soft";
    note.textContent = message;
    this.box.replaceChildren(note);
  }

  moveTo(frame, second) {
    this.frame = frame;
    this.second = second;
    this.draw();
  }

  #addChart(name) {
    const canvas = document.createElement("canvas");
    const title = columnTitle(name);
    canvas.className = "chart";
    canvas.style.height = `${HEIGHT}px`;
    canvas.dataset.column = name;
    canvas.setAttribute("role", "img");
    this.box.append(canvas);
    seekByPointer(canvas, this.range, { seek: this.seek });
    return { canvas, title, values: this.series.columns[name] };
  }

  #drawChart({ canvas, title, values }) {
    const width = canvas.clientWidth;
    if (!width) return;
    const scale = new TimeScale(this.range, width);
    const context = sharpContext(canvas, width, HEIGHT);
    const colors = themeColors();
    const rows = this.#visibleRows();
    const [low, high] = extent(values, rows);
    const toPage = (value) => TOP + 4 + ((high - value) / (high - low)) * (HEIGHT - TOP - 12);
    drawGround(context, scale, colors, { low, high, toPage });
    this.#drawLines(context, scale, colors, { values, rows, toPage });
    const row = this.#currentRow();
    const value = row === null ? NaN : values[row];
    this.#drawCursor(context, scale, colors, { value, toPage });
    this.#drawCaption(context, colors, canvas, title, value);
  }

  // One more on each side, so that lines reach the edge.
  #visibleRows() {
    const { t } = this.series;
    const first = lowerBound(t, this.range.fromS) - 1;
    return [Math.max(0, first), Math.min(t.length, lowerBound(t, this.range.toS) + 2)];
  }

  #drawLines(context, scale, colors, { values, rows, toPage }) {
    const { t, filled, stepS } = this.series;
    const kept = rowsToDraw(values, rows, 2 * Math.ceil(scale.width));
    const longestS = GAP_STEPS * stepS * Math.max(1, (rows[1] - rows[0]) / kept.length);
    const [seen, guessed] = [new Path2D(), new Path2D()];
    let last = null; // the path that ends at `from`
    for (let place = 1; place < kept.length; place += 1) {
      const [from, to] = [kept[place - 1], kept[place]];
      if (!Number.isFinite(values[from] + values[to]) || t[to] - t[from] > longestS) {
        last = null;
        continue;
      }
      const path = filled[from] || filled[to] ? guessed : seen;
      if (path !== last) path.moveTo(scale.toPage(t[from]), toPage(values[from]));
      last = path;
      path.lineTo(scale.toPage(t[to]), toPage(values[to]));
    }
    context.save();
    context.beginPath();
    context.rect(scale.left, 0, scale.width, HEIGHT);
    context.clip();
    context.lineWidth = 1.5;
    context.strokeStyle = colors.link;
    context.stroke(seen);
    context.strokeStyle = colors.soft;
    context.setLineDash([3, 3]);
    context.stroke(guessed);
    context.restore();
  }

  // The row of the shown frame, or of the last one before it if that is no longer ago than a step.
  #currentRow() {
    const { frame, t, stepS } = this.series;
    const row = lowerBound(frame, this.frame + 1) - 1;
    return row >= 0 && this.second - t[row] < 1.5 * stepS ? row : null;
  }

  #drawCursor(context, scale, colors, { value, toPage }) {
    const { range, second } = this;
    if (second < range.fromS || second > range.toS) return;
    const left = scale.toPage(second);
    context.fillStyle = colors.accent;
    context.fillRect(left - 1, TOP, 2, HEIGHT - TOP);
    if (!Number.isFinite(value)) return;
    context.beginPath();
    context.arc(left, toPage(value), 4, 0, 2 * Math.PI);
    context.fill();
  }

  #drawCaption(context, colors, canvas, { text, unit }, value) {
    const shown = Number.isFinite(value) ? `${numberText(value)}${unit === "°" ? "" : " "}${unit}` : "not known";
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.textAlign = "left";
    context.fillStyle = trackColor(this.track);
    context.fillRect(0, 5, 10, 10);
    context.fillStyle = colors.text;
    context.fillText(`${text}: ${shown}`, 16, 10);
    canvas.dataset.value = Number.isFinite(value) ? String(value) : "";
    canvas.setAttribute("aria-label", `${text} of track ${this.track}: ${shown}`);
  }
}

function drawGround(context, scale, colors, { low, high, toPage }) {
  context.strokeStyle = colors.line;
  context.fillStyle = colors.soft;
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const value of [low, high]) {
    const top = Math.round(toPage(value)) + 0.5;
    context.beginPath();
    context.moveTo(scale.left, top);
    context.lineTo(scale.left + scale.width, top);
    context.stroke();
    context.fillText(numberText(value), scale.left - 6, top);
  }
}

// Rows that look like all rows: of each bucket the lowest, the highest and a missing one.
function rowsToDraw(values, [first, stop], most) {
  if (stop - first <= most) return Array.from({ length: stop - first }, (_, n) => first + n);
  const kept = new Set();
  const size = (stop - first) / (most / 2);
  for (let bucket = 0; bucket < most / 2; bucket += 1) {
    let [lowest, highest] = [-1, -1];
    for (let row = Math.floor(first + bucket * size); row < Math.min(stop, first + (bucket + 1) * size); row += 1) {
      if (!Number.isFinite(values[row])) kept.add(row);
      else if (lowest < 0) lowest = highest = row;
      else if (values[row] < values[lowest]) lowest = row;
      else if (values[row] > values[highest]) highest = row;
    }
    if (lowest >= 0) kept.add(lowest).add(highest);
  }
  return [...kept].sort((a, b) => a - b);
}

// Of the visible values; never empty, so that a constant is a line in the middle.
function extent(values, [first, stop]) {
  let [low, high] = [Infinity, -Infinity];
  for (let row = first; row < stop; row += 1) {
    if (values[row] < low) low = values[row];
    if (values[row] > high) high = values[row];
  }
  if (low > high) return [0, 1];
  return high - low < 1e-6 ? [low - 0.5, high + 0.5] : [low, high];
}

function numberText(value) {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 1 ? 1 : 2;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
