// What the canvases show, as text: for screen readers, for searching, and to jump by keyboard.
import { laneTitle } from "./time/lanes.js";
import { clockText } from "./time/range.js";
import { visible } from "./text.js";

const MOST_ROWS = 300;

// A table of intervals whose times are buttons. pick(lane): called when one is pressed
export function fillIntervals(body, lanes, pick) {
  body.replaceChildren(...lanes.slice(0, MOST_ROWS).map((lane) => intervalRow(lane, pick)));
}

function intervalRow(lane, pick) {
  const row = document.createElement("tr");
  const from = document.createElement("button");
  from.type = "button";
  from.className = "plain mono";
  from.textContent = clockText(lane.from_s, 2);
  from.addEventListener("click", () => pick(lane));
  cell(row, from);
  cell(row, clockText(lane.to_s, 2), "mono");
  cell(row, lane.kind === "event" && lane.url ? link(lane.url, laneTitle(lane)) : laneTitle(lane));
  cell(row, lane.kind === "event" ? (lane.severity ?? "event") : lane.kind.replaceAll("_", " "), "soft");
  return row;
}

export function link(address, text) {
  return Object.assign(document.createElement("a"), { href: address, textContent: text });
}

export function cell(row, content, className = "") {
  const cell = document.createElement("td");
  cell.className = className;
  cell.append(content);
  row.append(cell);
  return cell;
}

// The people of the shown frame in words.
export function peopleText(people, labels = []) {
  if (labels.length) return labels.map(({ name, score }) => `${visible(name)} ${score.toFixed(2)}`).join(", ");
  if (!people.length) return "nobody";
  return people
    .map(({ track, person, score }) => `${track ? `track ${track}` : `person ${person}`} (${score.toFixed(2)})`)
    .join(", ");
}
