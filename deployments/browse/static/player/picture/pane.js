// A picture with people drawn over it. The first pane has the film itself; one beside it shows a copy of its frames.
import { drawPeople, keypointAt, lineWidth, Placement, sharpContext } from "./drawing.js";
import { oncePerPicture } from "../theme.js";
import { visible } from "../text.js";
import { placeTip } from "../time/timeline.js";

const MOST_ZOOM = 16;

// Shared by panes side by side, so that both show the same part.
export class Zoom extends EventTarget {
  factor = 1;
  x = 0;
  y = 0;

  // left, top: of the place that stays, in pixels of the page
  by(factor, left, top, width, height) {
    const now = Math.min(MOST_ZOOM, Math.max(1, this.factor * factor));
    const share = now / this.factor;
    this.#set(now, left - (left - this.x) * share, top - (top - this.y) * share, width, height);
  }

  move(x, y, width, height) {
    this.#set(this.factor, this.x + x, this.y + y, width, height);
  }

  reset() {
    this.#set(1, 0, 0, 1, 1);
  }

  // The picture's box always covers the pane.
  #set(factor, x, y, width, height) {
    this.factor = factor;
    this.x = Math.min(0, Math.max(x, width * (1 - factor)));
    this.y = Math.min(0, Math.max(y, height * (1 - factor)));
    this.dispatchEvent(new Event("change"));
  }
}

// The picture's place, before the picture is there. Its height is limited in video.css.
export function shapeStage(stage, [width, height]) {
  stage.style.aspectRatio = `${width} / ${height}`;
  stage.style.setProperty("--shape", String(width / height));
}

export class Pane {
  // stage: element with .overlay, .tip and .caption, and .picture where it is a copy
  // size: [width, height] of the displayed frame
  // pieces: PieceCache; skeleton: see drawPeople; pick(track): called for a click on a person
  constructor(stage, size, { pieces, skeleton, zoom, pick, settings }) {
    Object.assign(this, { stage, size, pieces, skeleton, zoom, pick, settings });
    this.overlay = stage.querySelector(".overlay");
    this.tip = stage.querySelector(".tip");
    this.caption = stage.querySelector(".caption");
    this.picture = stage.querySelector(".picture");
    this.video = stage.querySelector("video");
    this.frame = 0;
    this.backwards = false;
    this.people = [];
    this.labels = [];
    shapeStage(stage, size);
    this.draw = oncePerPicture(() => this.drawNow());
    zoom.addEventListener("change", this.draw);
    new ResizeObserver(this.draw).observe(stage);
    this.#listen();
  }

  show(frame) {
    this.backwards = frame < this.frame;
    this.frame = frame;
    this.drawNow();
  }

  expect(frame) {
    this.pieces?.expect(frame);
  }

  get box() {
    return [this.stage.clientWidth, this.stage.clientHeight];
  }

  get placement() {
    return new Placement(...this.size, ...this.box, this.zoom);
  }

  drawNow() {
    const [width, height] = this.box;
    if (!width || !height) return;
    const piece = this.pieces?.at(this.frame, this.backwards);
    this.people = piece?.people(this.frame) ?? [];
    this.#placePicture();
    const context = sharpContext(this.overlay, width, height);
    const unit = lineWidth(width, height) * Math.sqrt(this.zoom.factor);
    const { skeletons, track } = this.settings;
    if (skeletons) drawPeople(context, this.people, this.placement, this.skeleton, unit, track);
    this.labels = piece?.labels(this.frame) ?? [];
    this.#showLabels(this.labels);
    this.stage.dataset.frame = piece || !this.pieces ? String(this.frame) : "";
    this.stage.dataset.people = String(this.people.length);
    this.#hover();
  }

  // A copy of the film's frame is the same frame at any speed; a second player would drift.
  copyFrom(video) {
    this.source = video;
  }

  #placePicture() {
    const { factor, x, y } = this.zoom;
    if (this.video) {
      this.video.style.transform = factor === 1 ? "" : `translate(${x}px, ${y}px) scale(${factor})`;
    }
    if (!this.picture || !this.source || this.source.readyState < 2) return;
    const [width, height] = this.box;
    const context = sharpContext(this.picture, width, height);
    const place = new Placement(this.source.videoWidth, this.source.videoHeight, width, height, this.zoom);
    context.drawImage(
      this.source, place.left, place.top, this.source.videoWidth * place.scale, this.source.videoHeight * place.scale,
    );
  }

  #showLabels(labels) {
    this.caption.hidden = !labels.length;
    this.caption.textContent = labels.map(({ name, score }) => `${visible(name)} ${score.toFixed(2)}`).join(" · ");
  }

  #listen() {
    const { overlay } = this;
    overlay.addEventListener("pointermove", (event) => {
      this.pointer = [event.offsetX, event.offsetY];
      if (event.buttons & 1 && this.grabbed) this.#drag(event);
      this.#hover();
    });
    overlay.addEventListener("pointerleave", () => {
      this.pointer = null;
      this.#hover();
    });
    overlay.addEventListener("pointerdown", (event) => {
      this.grabbed = [event.clientX, event.clientY];
      this.dragged = false;
      if (this.zoom.factor > 1) overlay.setPointerCapture(event.pointerId);
    });
    overlay.addEventListener("click", (event) => this.#click(event));
    overlay.addEventListener("dblclick", (event) => this.#zoomAt(event, this.zoom.factor > 1 ? 1 / MOST_ZOOM : 2));
    overlay.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  #drag(event) {
    const [x, y] = [event.clientX - this.grabbed[0], event.clientY - this.grabbed[1]];
    if (Math.hypot(x, y) > 3) this.dragged = true;
    if (!this.dragged || this.zoom.factor === 1) return;
    this.zoom.move(x, y, ...this.box);
    this.grabbed = [event.clientX, event.clientY];
  }

  #wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
    this.#zoomAt(event, Math.exp(-event.deltaY / 300));
    event.preventDefault();
  }

  #zoomAt(event, factor) {
    this.zoom.by(factor, event.offsetX, event.offsetY, ...this.box);
  }

  #click(event) {
    const hit = !this.dragged && keypointAt(this.people, this.placement, event.offsetX, event.offsetY);
    if (hit && hit.person.track) this.pick(hit.person.track);
  }

  #hover() {
    const hit = this.pointer && this.settings.skeletons && keypointAt(this.people, this.placement, ...this.pointer);
    this.tip.hidden = !hit;
    if (!hit) return;
    const { person, keypoint } = hit;
    const who = person.track ? `Track ${person.track}` : `Person ${person.person}`;
    const name = this.skeleton.names[keypoint].replaceAll("_", " ");
    const place = `${person.x[keypoint].toFixed(1)}, ${person.y[keypoint].toFixed(1)}`;
    const sure = Number.isFinite(person.scores[keypoint]) ? ` ${person.scores[keypoint].toFixed(2)}` : "";
    this.tip.textContent = `${who}, score ${person.score.toFixed(2)} · ${name}${sure} at ${place}`;
    placeTip(this.tip, ...this.pointer, this.stage.clientWidth);
  }
}
