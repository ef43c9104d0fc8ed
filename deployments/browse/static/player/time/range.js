// The part of the time that the timeline and the charts show: one for all, so that they stay in line.

const MOST_ZOOM = 5000;
const LEAST_S = 0.2;

export class TimeRange extends EventTarget {
  constructor(durationS) {
    super();
    this.endS = Math.max(durationS, 0.001);
    this.fromS = 0;
    this.toS = this.endS;
  }

  get spanS() {
    return this.toS - this.fromS;
  }

  get zoomed() {
    return this.spanS < this.endS - 1e-9;
  }

  // factor: > 1 shows less; aroundS: stays where it is
  zoom(factor, aroundS) {
    const least = Math.min(this.endS, Math.max(LEAST_S, this.endS / MOST_ZOOM));
    const span = Math.min(this.endS, Math.max(least, this.spanS / factor));
    const share = (aroundS - this.fromS) / this.spanS;
    this.#set(aroundS - share * span, span);
  }

  pan(seconds) {
    this.#set(this.fromS + seconds, this.spanS);
  }

  showAll() {
    this.#set(0, this.endS);
  }

  // With a margin on both sides.
  showPart(fromS, toS) {
    const span = Math.min(this.endS, Math.max(1.1 * (toS - fromS), LEAST_S));
    this.#set((fromS + toS - span) / 2, span);
  }

  // Turn the page when the playhead leaves it.
  follow(second) {
    if (second < this.fromS || second > this.toS) this.#set(second - 0.1 * this.spanS, this.spanS);
  }

  #set(fromS, spanS) {
    this.fromS = Math.min(Math.max(fromS, 0), this.endS - spanS);
    this.toS = this.fromS + spanS;
    this.dispatchEvent(new Event("change"));
  }
}

// Where seconds are on a canvas: behind a gutter for names.
export class TimeScale {
  constructor(range, width) {
    this.range = range;
    this.left = width < 600 ? 58 : 84;
    this.width = Math.max(1, width - this.left - 8);
  }

  toPage(second) {
    return this.left + ((second - this.range.fromS) / this.range.spanS) * this.width;
  }

  toSecond(left) {
    const share = Math.min(Math.max((left - this.left) / this.width, 0), 1);
    return this.range.fromS + share * this.range.spanS;
  }

  // Round seconds for an axis, at least so many pixels apart.
  ticks(apartPx = 90) {
    const least = (apartPx / this.width) * this.range.spanS;
    const step = TICKS_S.find((each) => each >= least) ?? Math.ceil(least / 86400) * 86400;
    const first = Math.ceil(this.range.fromS / step - 1e-9);
    const last = Math.floor(this.range.toS / step + 1e-9);
    return { step, seconds: Array.from({ length: Math.max(0, last - first + 1) }, (_, n) => (first + n) * step) };
  }
}

const TICKS_S = [
  0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600,
  43200, 86400,
];

// 1:02:03.450; digits: behind the point
export function clockText(second, digits = 0) {
  const scaled = Math.round(Math.max(0, second) * 10 ** digits);
  const whole = Math.floor(scaled / 10 ** digits);
  const rest = digits ? `.${String(scaled % 10 ** digits).padStart(digits, "0")}` : "";
  const [hours, minutes, seconds] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (value) => String(value).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(seconds)}${rest}` : `${minutes}:${two(seconds)}${rest}`;
}

// A clock at the camera: 2026-11-23 04:10:06. A zone that this browser does not know is shown as UTC.
export function zonedText(milliseconds, zone) {
  const parts = { dateStyle: "short", timeStyle: "medium" };
  try {
    return new Intl.DateTimeFormat("sv", { ...parts, timeZone: zone }).format(milliseconds);
  } catch {
    return `${new Intl.DateTimeFormat("sv", { ...parts, timeZone: "UTC" }).format(milliseconds)} UTC`;
  }
}

export function digitsOf(stepS) {
  return stepS >= 1 ? 0 : stepS >= 0.1 ? 1 : 2;
}

// A pointer on a canvas that shows time: press and drag seek, wheel zooms, hover tells.
export function seekByPointer(canvas, range, { seek, hover }) {
  const secondAt = (event) => new TimeScale(range, canvas.clientWidth).toSecond(event.offsetX);
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    seek(secondAt(event), event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons & 1 && canvas.hasPointerCapture(event.pointerId)) seek(secondAt(event), null);
    hover?.(event);
  });
  canvas.addEventListener("pointerleave", () => hover?.(null));
  canvas.addEventListener("wheel", (event) => zoomByWheel(event, range, secondAt(event), canvas), { passive: false });
}

// Ctrl and the wheel, or two fingers, zoom; sideways moves. Without Ctrl the page scrolls as everywhere.
function zoomByWheel(event, range, second, canvas) {
  if (event.ctrlKey || event.metaKey) {
    range.zoom(Math.exp(-event.deltaY / 300), second);
  } else if (range.zoomed && (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY))) {
    range.pan(((event.deltaX || event.deltaY) / canvas.clientWidth) * range.spanS);
  } else {
    return;
  }
  event.preventDefault();
}
