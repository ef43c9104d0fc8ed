// Intervals of a timeline, arranged in rows without overlap.
import { visible } from "../text.js";

export const GROUPS = [
  { name: "Files", kinds: ["file"], mostRows: 1 },
  { name: "People", kinds: ["track"], mostRows: 10 },
  { name: "Events", kinds: ["event"], mostRows: 4 },
  { name: "Labels", kinds: ["label"], mostRows: 2 },
  { name: "Not seen", kinds: ["undecodable", "quarantined", "not_done"], mostRows: 1 },
];
const NOT_SEEN = { undecodable: "could not be decoded", quarantined: "in quarantine", not_done: "not processed yet" };

// Groups that have intervals, each {name, rows: [[lane, …], …]}.
export function arrange(lanes) {
  return GROUPS.map(({ name, kinds, mostRows }) => ({
    name,
    rows: packed(
      lanes.filter((lane) => kinds.includes(lane.kind)),
      mostRows,
    ),
  })).filter((group) => group.rows.length);
}

// Each interval in the first row where it fits; when all rows are taken, in the one that is free first.
function packed(lanes, mostRows) {
  const rows = [];
  const ends = [];
  for (const lane of [...lanes].sort((a, b) => a.from_s - b.from_s)) {
    let row = ends.findIndex((end) => end <= lane.from_s);
    if (row < 0) row = rows.length < mostRows ? rows.push([]) - 1 : ends.indexOf(Math.min(...ends));
    rows[row].push(lane);
    ends[row] = Math.max(ends[row] ?? 0, lane.to_s);
  }
  return rows;
}

export function laneTitle(lane) {
  if (lane.kind === "track") return `Track ${lane.track}`;
  if (lane.kind in NOT_SEEN) return lane.name ? `${NOT_SEEN[lane.kind]}: ${visible(lane.name)}` : NOT_SEEN[lane.kind];
  const who = lane.kind === "event" && lane.track ? `, track ${lane.track}` : "";
  return `${visible(lane.name)}${who}`;
}

// What fits into a bar.
export function laneMark(lane) {
  if (lane.kind === "track") return String(lane.track);
  return lane.kind in NOT_SEEN ? "" : visible(lane.name);
}
