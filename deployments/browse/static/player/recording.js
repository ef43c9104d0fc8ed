// The page of a recording: its files as one timeline. A click opens the film there.
import { fetchJson, withQuery } from "./api.js";
import { clockText, TimeRange, zonedText } from "./time/range.js";
import { cell, fillIntervals, link } from "./tables.js";
import { visible } from "./text.js";
import { Timeline } from "./time/timeline.js";

const $ = (id) => document.getElementById(id);
const root = $("recording");
const recording = root.dataset.recording;
const query = new URLSearchParams(location.search);

start().catch((error) => {
  $("notice").hidden = false;
  $("notice").textContent = error.message;
});

async function start() {
  const versions = { model: query.get("model"), analysis: query.get("analysis") };
  const at = Math.max(0, Number(query.get("at")) || 0);
  const found = await fetchJson(withQuery(`/api/recording/${recording}`, { at, ...versions }));
  const range = new TimeRange(found.duration_s);
  const open = (second) => openAt(found.files, second, versions);
  const parts = { canvas: $("timeline"), tip: $("timeline-tip") };
  const timeline = new Timeline(parts, range, { seek: (second, lane) => lane !== null && open(second) });
  timeline.show([...found.files.map((file) => fileLane(file)), ...found.lanes]);
  timeline.moveTo(at);
  fillFiles(found, versions);
  fillIntervals($("intervals"), found.lanes, (lane) => open(lane.from_s));
  $("lanes").hidden = !found.lanes.length;
  $("cut").textContent = found.cut ? `The ${found.cut.toLocaleString("en")} shortest are not listed.` : "";
  listenToZoom(range);
}

function listenToZoom(range) {
  const middle = () => (range.fromS + range.toS) / 2;
  $("zoom-in").addEventListener("click", () => range.zoom(2, middle()));
  $("zoom-out").addEventListener("click", () => range.zoom(0.5, middle()));
  $("zoom-all").addEventListener("click", () => range.showAll());
}

function fileLane({ name, start_s: from, duration_s: lasts, gone }) {
  return { kind: "file", name, from_s: from, to_s: from + lasts, gone };
}

// The file that runs at this second, or the next one after a gap.
function openAt(files, second, versions) {
  const file = files.find((each) => second < each.start_s + each.duration_s) ?? files.at(-1);
  if (file) location.assign(addressOf(file, Math.max(0, second - file.start_s), versions));
}

function addressOf(file, second, versions) {
  return withQuery(`/video/${file.video}`, { t: second.toFixed(3), recording, ...versions });
}

function fillFiles({ files, files_total: total, start_at: startAt, time_zone: zone }, versions) {
  const begun = startAt ? new Date(startAt).getTime() : null;
  const begins = ({ start_s: second }) =>
    begun === null ? clockText(second) : zonedText(begun + 1000 * second, zone || "UTC");
  $("files").replaceChildren(
    ...files.map((file) => {
      const row = document.createElement("tr");
      cell(row, link(addressOf(file, 0, versions), visible(file.name)));
      cell(row, begins(file), "mono");
      cell(row, clockText(file.duration_s), "mono");
      cell(row, file.gone ? "no longer in its archive" : "", "soft");
      return row;
    }),
  );
  const left = total - files.length;
  $("more").textContent = left ? `${left.toLocaleString("en")} more files are not listed.` : "";
}
