// The moving picture: a <video> that tells which frame it shows, or, where there is none, a clock that does the same.

export const SPEEDS = [0.1, 0.25, 0.5, 1, 1.5, 2, 4, 8, 16];

class Moving {
  // times: FrameTimes; sought(frame): will be shown soon; shown(frame): is shown now; changed(): playing or not
  constructor(times, { sought, shown, changed, ended }) {
    this.times = times;
    this.sought = sought;
    this.shown = shown;
    this.changed = changed;
    this.ended = ended;
    this.frame = 0;
    this.target = null; // a frame that is being sought
    this.speed = 1;
    this.backwards = 0; // an animation that plays backwards
  }

  get wanted() {
    return this.target ?? this.frame;
  }

  step(frames) {
    this.pause();
    this.seek(this.wanted + frames);
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  get playing() {
    return this.backwards !== 0 || this.forwards;
  }

  // Players do not play backwards: seek again and again, as fast as frames come.
  playBackwards() {
    this.pause();
    const begun = performance.now();
    const fromS = this.times.timeOf(this.wanted);
    const tick = (now) => {
      const second = fromS - ((now - begun) / 1000) * this.speed;
      if (this.target === null) this.seek(this.times.frameAt(Math.max(0, second)));
      if (second <= 0) this.pause();
      else this.backwards = requestAnimationFrame(tick);
    };
    this.backwards = requestAnimationFrame(tick);
    this.changed();
  }

  stopBackwards() {
    cancelAnimationFrame(this.backwards);
    this.backwards = 0;
  }
}

export class Film extends Moving {
  constructor(video, times, listeners) {
    super(times, listeners);
    this.video = video;
    this.exact = "requestVideoFrameCallback" in video;
    video.addEventListener("seeked", () => this.#arrived());
    for (const name of ["play", "pause", "ratechange"]) video.addEventListener(name, () => this.changed());
    video.addEventListener("ended", () => this.ended());
    if (this.exact) this.#followFrames();
    else this.#followClock();
  }

  get forwards() {
    return !this.video.paused && !this.video.ended;
  }

  // The browser names the time stamp of each frame that it puts on the screen.
  #followFrames() {
    this.video.requestVideoFrameCallback((_, { mediaTime }) => {
      if (this.target === null) this.#show(this.times.nearest(mediaTime));
      this.#followFrames();
    });
  }

  #followClock() {
    requestAnimationFrame(() => {
      if (this.target === null && this.forwards) this.#show(this.times.frameAt(this.video.currentTime));
      this.#followClock();
    });
  }

  // Only the newest wish is sought: a dragged pointer must not make a queue.
  seek(frame) {
    const target = this.times.clamp(frame);
    const busy = this.target !== null;
    this.target = target;
    this.sought(target);
    if (!busy) this.#go(target);
  }

  #go(target) {
    this.going = target;
    this.video.currentTime = this.times.seekTime(target);
  }

  #arrived() {
    if (this.target === null) {
      this.#show(this.times.frameAt(this.video.currentTime));
    } else if (this.target !== this.going) {
      this.#go(this.target);
    } else {
      this.target = null;
      this.#show(this.going);
    }
  }

  #show(frame) {
    this.frame = frame;
    this.shown(frame);
  }

  play() {
    this.stopBackwards();
    this.video.playbackRate = this.speed;
    this.video.play().catch(() => this.changed()); // refused, or ended by a pause
  }

  pause() {
    this.stopBackwards();
    this.video.pause();
    this.changed();
  }

  setSpeed(speed) {
    this.speed = speed;
    this.video.playbackRate = speed;
  }
}

// Rows can be looked at without the film: its file may be gone.
export class Clock extends Moving {
  constructor(times, listeners) {
    super(times, listeners);
    this.running = 0;
  }

  get forwards() {
    return this.running !== 0;
  }

  seek(frame) {
    this.frame = this.times.clamp(frame);
    this.second = this.times.timeOf(this.frame);
    this.shown(this.frame);
  }

  play() {
    this.stopBackwards();
    if (this.running) return;
    let last = performance.now();
    const tick = (now) => {
      this.second += ((now - last) / 1000) * this.speed;
      last = now;
      this.running = requestAnimationFrame(tick);
      const frame = this.times.frameAt(this.second);
      if (frame !== this.frame) {
        this.frame = frame;
        this.shown(frame);
      }
      if (this.second >= this.times.endS) {
        this.pause();
        this.ended();
      }
    };
    this.second = this.times.timeOf(this.frame);
    this.running = requestAnimationFrame(tick);
    this.changed();
  }

  pause() {
    this.stopBackwards();
    cancelAnimationFrame(this.running);
    this.running = 0;
    this.changed();
  }

  setSpeed(speed) {
    this.speed = speed;
  }
}
