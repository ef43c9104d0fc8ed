// Times of frames: which frame a player shows at a second, and where to seek so that it shows a wanted one.

const SHARE = 0.4; // of a frame's interval: far from both neighbours, and within half a frame of its time
const ROUNDING_S = 0.0006; // addresses and containers round times to milliseconds

export class FrameTimes {
  // seconds: Float64Array, ascending, one per frame; durationS: end of the last frame, if it is known
  constructor(seconds, durationS = 0) {
    this.seconds = seconds;
    this.count = seconds.length;
    this.typicalS = typicalInterval(seconds, durationS);
    this.endS = Math.max(durationS, this.count ? seconds[this.count - 1] + this.typicalS : 0);
  }

  // The last frame that begins at or before this second.
  frameAt(second) {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.seconds[middle] <= second) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }

  // The frame of a second that was written with three digits.
  frameOfWritten(second) {
    return this.frameAt(second + ROUNDING_S);
  }

  // The frame whose time is nearest: of a time stamp that a player reports.
  nearest(second) {
    const before = this.frameAt(second);
    const after = Math.min(before + 1, this.count - 1);
    return this.seconds[after] - second < second - this.seconds[before] ? after : before;
  }

  clamp(frame) {
    return Math.min(Math.max(Math.round(frame), 0), Math.max(this.count - 1, 0));
  }

  timeOf(frame) {
    return this.count ? this.seconds[this.clamp(frame)] : 0;
  }

  // Inside of the frame's interval: a player that rounds never shows a neighbour.
  seekTime(frame) {
    const start = this.timeOf(frame);
    const stop = frame + 1 < this.count ? this.seconds[frame + 1] : this.endS;
    return start + SHARE * Math.min(Math.max(stop - start, 0), this.typicalS);
  }
}

// Evenly spaced times: of a video whose file is gone, so that its rows can still be looked at.
export function evenTimes(count, durationS) {
  const step = count > 1 && durationS > 0 ? durationS / count : 0.04;
  return Float64Array.from({ length: count }, (_, frame) => frame * step);
}

function typicalInterval(seconds, durationS) {
  const steps = [];
  const stride = Math.max(1, Math.floor(seconds.length / 2000));
  for (let frame = 1; frame < seconds.length; frame += stride) steps.push(seconds[frame] - seconds[frame - 1]);
  const positive = steps.filter((step) => step > 0).sort((a, b) => a - b);
  return positive.length ? positive[positive.length >> 1] : durationS || 0.04;
}
