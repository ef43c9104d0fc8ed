// People and labels of frames, in binary pieces of 512 frames that are kept in a bounded cache.

export const PIECE_FRAMES = 512;
export const KEYPOINTS = 17;
const HEAD_BYTES = 16;
const MOST_BYTES = 48 * 2 ** 20;
const RETRY_MS = 5000;
const NEAR_START = 64; // frames: a step back may need the piece before
const AHEAD = 2; // pieces that are fetched before they are needed: 40 s of 25 frames/s

// Rows of consecutive frames, sorted by frame. Missing coordinates are NaN.
export class Piece {
  constructor(buffer) {
    const view = new DataView(buffer);
    this.kind = new TextDecoder().decode(new Uint8Array(buffer, 0, 4));
    if (this.kind !== "NJP1" && this.kind !== "NJL1") throw new Error("The server sent an unknown kind of piece.");
    const rows = view.getUint32(4, true);
    this.bytes = buffer.byteLength;
    const columns = columnsFrom(buffer, rows);
    this.frame = columns(Int32Array);
    if (this.kind === "NJP1") this.#readPeople(columns);
    else this.#readLabels(columns, buffer, view);
  }

  #readPeople(columns) {
    this.track = columns(Int32Array);
    this.person = columns(Int32Array);
    this.score = columns(Float32Array);
    this.x = columns(Float32Array, KEYPOINTS);
    this.y = columns(Float32Array, KEYPOINTS);
    this.keypointScore = columns(Float32Array, KEYPOINTS);
  }

  #readLabels(columns, buffer, view) {
    this.label = columns(Int32Array);
    this.score = columns(Float32Array);
    const at = HEAD_BYTES + 12 * this.frame.length;
    const names = new Uint8Array(buffer, at + 4, view.getUint32(at, true));
    this.names = JSON.parse(new TextDecoder().decode(names));
  }

  // People of a frame: views of the arrays, without copies.
  people(frame) {
    if (this.kind !== "NJP1") return [];
    return this.#rows(frame).map((row) => ({
      track: this.track[row],
      person: this.person[row],
      score: this.score[row],
      x: keypointsOf(this.x, row),
      y: keypointsOf(this.y, row),
      scores: keypointsOf(this.keypointScore, row),
    }));
  }

  labels(frame) {
    if (this.kind !== "NJL1") return [];
    return this.#rows(frame).map((row) => ({ name: this.names[this.label[row]] ?? "", score: this.score[row] }));
  }

  #rows(frame) {
    const rows = [];
    for (let row = lowerBound(this.frame, frame); this.frame[row] === frame; row += 1) rows.push(row);
    return rows;
  }
}

export function lowerBound(sorted, value) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function neighbours(frame, number, backwards) {
  const numbers = Array.from({ length: AHEAD }, (_, step) => number + (backwards ? -step - 1 : step + 1));
  return frame % PIECE_FRAMES < NEAR_START ? [...numbers, number - 1] : numbers;
}

function keypointsOf(values, row) {
  return values.subarray(row * KEYPOINTS, (row + 1) * KEYPOINTS);
}

// A reader of one column after the other.
function columnsFrom(buffer, rows) {
  let at = HEAD_BYTES;
  return (Type, width = 1) => {
    const column = new Type(buffer, at, rows * width);
    at += column.byteLength;
    return column;
  };
}

export class PieceCache {
  // address: (number of a piece) => URL; frames: of the video; arrived: called when a piece came
  constructor(address, frames, arrived, mostBytes = MOST_BYTES) {
    this.address = address;
    this.last = Math.max(0, Math.floor((frames - 1) / PIECE_FRAMES));
    this.arrived = arrived;
    this.mostBytes = mostBytes;
    this.bytes = 0;
    this.pieces = new Map(); // in the order of their last use
    this.fetching = new Map();
    this.failed = new Set();
    this.expected = -1;
  }

  // The piece with this frame, or undefined while it is fetched. Once it is there, those around it are fetched, too:
  // before, they would only delay it.
  at(frame, backwards = false) {
    const number = this.#numberOf(frame);
    const piece = this.pieces.get(number);
    const wanted = piece ? neighbours(frame, number, backwards) : [number];
    this.#forget([...wanted, this.expected]);
    for (const each of wanted) if (each >= 0 && each <= this.last) this.#fetch(each, each === number);
    if (piece) this.#use(number, piece);
    return piece;
  }

  // A frame that will be shown soon: its rows come while the film seeks.
  expect(frame) {
    this.expected = this.#numberOf(frame);
    if (!this.pieces.has(this.expected)) {
      this.#forget([this.expected]);
      this.#fetch(this.expected, true);
    }
  }

  #numberOf(frame) {
    return Math.floor(frame / PIECE_FRAMES);
  }

  #use(number, piece) {
    this.pieces.delete(number);
    this.pieces.set(number, piece);
  }

  // What is far from the playhead now is not waited for.
  #forget(wanted) {
    for (const [number, control] of this.fetching) {
      if (!wanted.includes(number)) {
        control.abort();
        this.fetching.delete(number);
      }
    }
  }

  async #fetch(number, urgent) {
    if (this.pieces.has(number) || this.fetching.has(number) || this.failed.has(number)) return;
    const control = new AbortController();
    this.fetching.set(number, control);
    try {
      const answer = await fetch(this.address(number), {
        signal: control.signal,
        priority: urgent ? "high" : "low",
      });
      if (!answer.ok) throw new Error(`The server answered ${answer.status}.`);
      this.#keep(number, new Piece(await answer.arrayBuffer()));
    } catch (error) {
      if (error.name !== "AbortError") this.#rest(number);
    } finally {
      if (this.fetching.get(number) === control) this.fetching.delete(number);
    }
    this.arrived(number);
  }

  // A piece that failed is not asked for with each frame, but again after a while: the server may have restarted.
  #rest(number) {
    this.failed.add(number);
    setTimeout(() => {
      this.failed.delete(number);
      this.arrived(number);
    }, RETRY_MS);
  }

  #keep(number, piece) {
    this.pieces.set(number, piece);
    this.bytes += piece.bytes;
    for (const [oldest, old] of this.pieces) {
      if (this.bytes <= this.mostBytes || oldest === number) break;
      this.pieces.delete(oldest);
      this.bytes -= old.bytes;
    }
  }
}
