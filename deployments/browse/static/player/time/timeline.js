// The timeline: lanes over time, and the playhead.
import { inkOn, sharpContext, trackColor } from "../picture/drawing.js";
import { arrange, laneMark, laneTitle } from "./lanes.js";
import { clockText, digitsOf, seekByPointer, TimeScale } from "./range.js";
import { oncePerPicture, onThemeChange, themeColors } from "../theme.js";

const ROW = 18;
const BAR = 14;
const AXIS = 22;
const BETWEEN = 6;
const LEAST_BAR = 3;
const NEAR_PX = 4; // a narrow bar is hit by a pointer beside it, too
const LABEL_COLORS = ["#5b8def", "#d98324", "#3aa17e", "#b05fc4", "#c9504c", "#7c8a97"];

export class Timeline {
  // shown: canvas, tip; pick(lane): called for a click on an interval
  constructor({ canvas, tip }, range, { seek, pick }) {
    this.canvas = canvas;
    this.tip = tip;
    this.range = range;
    this.groups = [];
    this.second = 0;
    this.chosen = 0;
    this.names = [];
    this.draw = oncePerPicture(() => this.#draw());
    range.addEventListener("change", this.draw);
    onThemeChange(this.draw);
    new ResizeObserver(this.draw).observe(canvas);
    seekByPointer(canvas, range, {
      seek: (second, event) => {
        const lane = event && this.#laneAt(event);
        seek(lane && this.#narrow(lane) ? lane.from_s : second, lane);
        if (lane) pick?.(lane);
      },
      hover: (event) => this.#hover(event),
    });
    canvas.addEventListener("dblclick", (event) => this.#zoomTo(this.#laneAt(event)));
  }

  show(lanes) {
    this.groups = arrange(lanes);
    this.names = [...new Set(lanes.filter((lane) => lane.kind === "label").map((lane) => lane.name))].sort();
    this.canvas.style.height = `${this.#height()}px`;
    this.draw();
  }

  moveTo(second) {
    this.second = second;
    this.draw();
  }

  choose(track) {
    this.chosen = track;
    this.draw();
  }

  #height() {
    const rows = this.groups.reduce((sum, group) => sum + group.rows.length * ROW + BETWEEN, 0);
    return AXIS + Math.max(rows, ROW);
  }

  #draw() {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (!width || !height) return;
    this.scale = new TimeScale(this.range, width);
    this.context = sharpContext(this.canvas, width, height);
    this.colors = themeColors();
    this.boxes = [];
    this.#drawAxis(height);
    let top = AXIS;
    for (const group of this.groups) {
      this.#drawName(group.name, top);
      for (const row of group.rows) {
        this.#drawRow(row, top);
        top += ROW;
      }
      top += BETWEEN;
    }
    this.#drawPlayhead(height);
  }

  #drawAxis(height) {
    const { context, scale, colors } = this;
    const { step, seconds } = scale.ticks();
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.textAlign = "center";
    for (const second of seconds) {
      const left = Math.round(scale.toPage(second)) + 0.5;
      context.strokeStyle = colors.line;
      context.beginPath();
      context.moveTo(left, AXIS - 4);
      context.lineTo(left, height);
      context.stroke();
      context.fillStyle = colors.soft;
      const text = clockText(second, digitsOf(step));
      const half = context.measureText(text).width / 2;
      context.fillText(text, Math.min(Math.max(left, scale.left + half - 4), this.canvas.clientWidth - half - 1), 8);
    }
  }

  #drawName(name, top) {
    const { context, colors } = this;
    context.font = "12px system-ui, sans-serif";
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.fillStyle = colors.soft;
    context.fillText(name, 0, top + ROW / 2);
  }

  #drawRow(row, top) {
    const { context, scale } = this;
    context.save();
    context.beginPath();
    context.rect(scale.left, top, scale.width + 1, ROW);
    context.clip();
    for (const lane of row) this.#drawLane(lane, top + (ROW - BAR) / 2);
    context.restore();
  }

  #drawLane(lane, top) {
    const { context, scale, range } = this;
    if (lane.to_s < range.fromS || lane.from_s > range.toS) return;
    const left = scale.toPage(lane.from_s);
    const width = Math.max(LEAST_BAR, scale.toPage(lane.to_s) - left);
    this.boxes.push({ lane, left, top, width });
    context.fillStyle = this.#color(lane);
    context.beginPath();
    context.roundRect(left, top, width, BAR, Math.min(3, width / 2));
    context.fill();
    if (lane.kind === "track" && lane.track === this.chosen) {
      context.strokeStyle = this.colors.text;
      context.lineWidth = 2;
      context.stroke();
      context.lineWidth = 1;
    }
    this.#drawMark(lane, Math.max(left, scale.left), top, Math.min(left + width, scale.left + scale.width));
  }

  #drawMark(lane, left, top, right) {
    const { context } = this;
    const text = laneMark(lane);
    context.font = "600 11px system-ui, sans-serif";
    if (!text || context.measureText(text).width + 6 > right - left) return;
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.fillStyle = lane.kind === "track" ? inkOn(lane.track) : this.colors.panel;
    context.fillText(text, left + 4, top + BAR / 2 + 0.5);
  }

  #color(lane) {
    const { colors } = this;
    if (lane.kind === "track") return trackColor(lane.track);
    if (lane.kind === "event") return { warning: colors.warn, critical: colors.bad }[lane.severity] ?? colors.link;
    if (lane.kind === "label") return LABEL_COLORS[this.names.indexOf(lane.name) % LABEL_COLORS.length];
    if (lane.kind === "file") return lane.gone ? colors.line : colors.soft;
    return this.#hatched({ undecodable: colors.bad, quarantined: colors.warn }[lane.kind] ?? colors.soft);
  }

  #hatched(color) {
    const tile = new OffscreenCanvas(8, 8);
    const context = tile.getContext("2d");
    context.strokeStyle = color;
    context.lineWidth = 2;
    context.beginPath();
    for (const shift of [-8, 0, 8]) {
      context.moveTo(shift, 8);
      context.lineTo(shift + 8, 0);
    }
    context.stroke();
    return this.context.createPattern(tile, "repeat");
  }

  #drawPlayhead(height) {
    const { context, scale, colors, second, range } = this;
    if (second < range.fromS || second > range.toS) return;
    const left = scale.toPage(second);
    context.fillStyle = colors.accent;
    context.fillRect(left - 1, AXIS - 8, 2, height);
    context.beginPath();
    context.moveTo(left - 6, AXIS - 9);
    context.lineTo(left + 6, AXIS - 9);
    context.lineTo(left, AXIS - 1);
    context.fill();
  }

  // Twice on an interval shows it alone; twice on nothing shows everything.
  #zoomTo(lane) {
    if (lane) this.range.showPart(lane.from_s, lane.to_s);
    else this.range.showAll();
  }

  #narrow(lane) {
    return this.boxes.some((box) => box.lane === lane && box.width < 2 * NEAR_PX);
  }

  #laneAt({ offsetX, offsetY }) {
    const inside = ({ left, top, width }, reach) =>
      offsetX >= left - reach && offsetX <= left + width + reach && offsetY >= top - 2 && offsetY <= top + BAR + 2;
    const boxes = this.boxes ?? [];
    return (boxes.find((box) => inside(box, 0)) ?? boxes.find((box) => inside(box, NEAR_PX)))?.lane;
  }

  #hover(event) {
    const lane = event && event.pointerType !== "touch" && this.#laneAt(event);
    this.tip.hidden = !lane;
    if (!lane) return;
    this.tip.textContent = `${laneTitle(lane)} · ${clockText(lane.from_s, 1)} to ${clockText(lane.to_s, 1)}`;
    placeTip(this.tip, event.offsetX, event.offsetY, this.canvas.clientWidth);
  }
}

// A note beside the pointer that does not leave its box.
export function placeTip(tip, left, top, boxWidth) {
  tip.style.left = `${Math.max(0, Math.min(left + 12, boxWidth - tip.offsetWidth - 4))}px`;
  tip.style.top = `${top + 16}px`;
}
