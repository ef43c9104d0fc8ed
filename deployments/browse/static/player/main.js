// The page of a video: the player, its timeline and its charts.
import { fetchBytes, fetchJson, withQuery } from "./api.js";
import { chosenVersions, fill, fillChoices, modelTitle, piecesAddress } from "./choices.js";
import { Clock, Film, SPEEDS } from "./picture/film.js";
import { listenToKeys } from "./keys.js";
import { openFilm, prepareFilm } from "./media.js";
import { Pane, shapeStage, Zoom } from "./picture/pane.js";
import { PieceCache } from "./picture/pieces.js";
import { clockText, TimeRange, zonedText } from "./time/range.js";
import { followRecording } from "./files.js";
import { Charts, columnTitle, readSeries } from "./time/series.js";
import { fillIntervals, peopleText } from "./tables.js";
import { evenTimes, FrameTimes } from "./picture/times.js";
import { Timeline } from "./time/timeline.js";

const USUAL_COLUMNS = ["centre_x_px", "centre_y_px", "speed_px_per_s", "trunk_angle_deg"];
const KEPT_COLUMNS = "series-columns";
const REST_MS = 250; // after this time without movement, the address and the text follow the playhead

const $ = (id) => document.getElementById(id);
const root = $("player");
const facts = {
  v: root.dataset.v,
  size: [Number(root.dataset.width), Number(root.dataset.height)],
  frames: Number(root.dataset.frames),
  durationS: Number(root.dataset.duration),
  videoId: Number(root.dataset.videoId),
  startAt: root.dataset.startAt ? new Date(root.dataset.startAt) : null,
  zone: root.dataset.zone || "UTC",
  recording: root.dataset.recording || null,
  startS: Number(root.dataset.startS) || 0,
  columns: JSON.parse(root.dataset.columns),
};
const query = new URLSearchParams(location.search);
const settings = { skeletons: true, track: Number(query.get("track")) || 0 };
const skeleton = { edges: JSON.parse(root.dataset.edges), names: JSON.parse(root.dataset.keypoints) };
const zoom = new Zoom();
const range = new TimeRange(facts.durationS);
const panes = [];
let mover = null;
let lanes = [];
let chosen = { model: null, analysis: null, beside: null };
let resting = 0;
let nextFile = null;

const timelineParts = { canvas: $("timeline"), tip: $("timeline-tip") };
const timeline = new Timeline(timelineParts, range, { seek: seekSecond, pick: pickLane });
const charts = new Charts($("charts"), range, { seek: seekSecond });

start().catch((error) => tell(error.message, "bad"));

async function start() {
  listen();
  shapeStage($("main-stage"), facts.size); // nothing moves when the rest arrives
  const [times, versions, found] = await Promise.all([readTimes(), readVersions(), readTimeline()]);
  lanes = found.lanes;
  facts.size = [found.width, found.height]; // of the frames as they are read now
  chosen = chosenVersions(versions, found, query);
  fillChoices($("choices"), versions, chosen, choose);
  makePanes(found.stamp);
  takeOver(new Clock(times, listeners()), firstFrame(times));
  showTimeline(found);
  followRecording($("files"), facts, (file) => (nextFile = file));
  await showFilm(times);
}

function readVersions() {
  return fetchJson(withQuery(`/api/video/${facts.v}/versions`, { recording: facts.recording }));
}

function readTimeline() {
  const wanted = { model: query.get("model"), analysis: query.get("analysis"), recording: facts.recording };
  return fetchJson(withQuery(`/api/video/${facts.v}/timeline`, wanted));
}

async function readTimes() {
  try {
    const seconds = new Float64Array(await fetchBytes(`/api/video/${facts.v}/times`));
    if (seconds.length) return new FrameTimes(seconds, facts.durationS);
  } catch {
    // The file is gone: its rows are still shown.
  }
  return new FrameTimes(evenTimes(facts.frames, facts.durationS), facts.durationS);
}

function firstFrame(times) {
  if (query.has("frame")) return times.clamp(Number(query.get("frame")) || 0);
  return query.has("t") ? times.frameOfWritten(Number(query.get("t")) || 0) : 0;
}

function makePanes(stamp) {
  addPane($("main-stage"), chosen.model && { ...chosen, stamp });
  $("beside-pane").hidden = !chosen.beside;
  if (!chosen.beside) return;
  root.classList.add("two");
  addPane($("beside-stage"), chosen.beside).copyFrom($("film"));
  $("main-name").textContent = modelTitle(chosen.model);
  $("beside-name").textContent = modelTitle(chosen.beside.model);
}

function addPane(stage, versions) {
  const redraw = () => pane.draw();
  const address = versions && piecesAddress(facts.v, { ...versions, recording: facts.recording });
  const pieces = address && new PieceCache(address, facts.frames, redraw);
  const pane = new Pane(stage, facts.size, { pieces, skeleton, zoom, settings, pick: chooseTrack });
  panes.push(pane);
  return pane;
}

// --- the film ---

// A film that the browser refuses although it should play it, such as a damaged one, is converted.
async function showFilm(times, convert = false) {
  const state = await prepareFilm(facts.v, tellProgress, convert);
  $("progress").hidden = true;
  if (state.state !== "ready") return showNoFilm(withoutFilm(state));
  tell("");
  try {
    await openFilm($("film"), state.url);
  } catch (error) {
    if (!convert) return showFilm(times, true);
    return showNoFilm(`This browser cannot play the film (${error.message}). What was seen in it is shown without it.`);
  }
  takeOver(new Film($("film"), times, listeners()), mover.wanted);
  if (query.has("play")) mover.play();
  return undefined;
}

function tellProgress(share, why) {
  root.classList.add("preparing");
  tell(`The film is being converted for browsers${inBrackets(why)}. It can be stepped through already.`);
  $("progress").hidden = false;
  $("progress").value = share;
  $("film").poster = stillAddress(mover.wanted);
}

function stillAddress(frame) {
  return `/still/${facts.v}/${frame}.jpg?width=960`;
}

function showNoFilm(message) {
  root.classList.remove("preparing");
  root.classList.add("no-film");
  $("film").removeAttribute("poster");
  tell(message, "warn");
}

function withoutFilm({ state, why }) {
  const happened = state === "gone" ? "The film's file is not in its archive any more" : "The film cannot be shown";
  return `${happened}${inBrackets(why)}. What was seen in it is shown without it.`;
}

function inBrackets(reason) {
  return reason ? ` (${reason.replace(/\.$/, "")})` : "";
}

function listeners() {
  return {
    sought: (frame) => panes.forEach((pane) => pane.expect(frame)),
    shown: (frame) => showFrame(frame),
    changed: () => showPlaying(),
    ended: () => nextFile && location.assign(withQuery(nextFile.url, { play: 1 })),
  };
}

function takeOver(next, frame) {
  if (next instanceof Film) root.classList.remove("preparing");
  mover?.pause();
  mover = next;
  mover.setSpeed(Number($("speed").value));
  mover.seek(frame);
}

function showFrame(frame) {
  for (const pane of panes) pane.show(frame);
  const second = mover.times.timeOf(frame);
  timeline.moveTo(second);
  charts.moveTo(frame, second);
  if (mover.playing) range.follow(second);
  $("now").textContent = clockText(second, 3);
  if (document.activeElement !== $("frame")) $("frame").value = frame;
  $("timeline").setAttribute("aria-valuenow", String(frame));
  root.dataset.frame = frame;
  clearTimeout(resting);
  resting = setTimeout(() => rest(frame, second), REST_MS);
}

// The playhead stands still, or plays on: what is slow to change follows now and then.
function rest(frame, second) {
  const here = new URL(location);
  here.searchParams.delete("t");
  here.searchParams.delete("play");
  here.searchParams.set("frame", frame);
  history.replaceState(null, "", here);
  $("timeline").setAttribute("aria-valuetext", `${clockText(second, 2)}, frame ${frame}`);
  $("people").textContent = peopleText(panes[0].people, panes[0].labels);
  $("clock").textContent = facts.startAt ? clockAt(second) : "";
  if (root.classList.contains("preparing")) $("film").poster = stillAddress(frame);
  $("rows").href = withQuery("/sql", { q: rowsQuery(frame) });
}

function clockAt(second) {
  return `${zonedText(facts.startAt.getTime() + 1000 * second, facts.zone)} (${facts.zone})`;
}

function rowsQuery(frame) {
  const view = chosen.model?.task === "classification" ? "classifications" : "people";
  return `SELECT * FROM ${view} WHERE video_id = ${facts.videoId} AND frame = ${frame}`;
}

function showPlaying() {
  if (!mover) return;
  $("play").textContent = mover.playing ? "Pause" : "Play";
  $("play").setAttribute("aria-pressed", String(mover.playing));
}

// --- the timeline and the charts ---

function showTimeline(found) {
  timeline.show(lanes);
  fillIntervals($("intervals"), lanes, (lane) => {
    seekSecond(lane.from_s, lane);
    pickLane(lane);
  });
  $("cut").textContent = found.cut ? `The ${found.cut.toLocaleString("en")} shortest are not listed.` : "";
  $("lanes").hidden = !lanes.length;
  if (!chosen.model) explainNothing();
  seekEvent();
  setUpCharts();
}

function explainNothing() {
  $("unprocessed").hidden = false;
  $("series").hidden = true;
}

// ?event=KEY without a time is its peak.
function seekEvent() {
  const key = query.get("event");
  if (!key || query.has("t") || query.has("frame")) return;
  const keyOf = ({ url }) => new URL(url, location).searchParams.get("event");
  const lane = lanes.find((each) => each.kind === "event" && each.url && keyOf(each) === key);
  if (lane) mover.seek(lane.frame ?? mover.times.frameOfWritten(lane.from_s));
}

function setUpCharts() {
  const numbers = lanes.filter((lane) => lane.kind === "track").map((lane) => lane.track);
  const tracks = [...new Set(numbers)].sort((a, b) => a - b);
  $("series").hidden = !tracks.length;
  if (!tracks.length) return;
  fill($("track"), tracks.map((track) => [track, `Track ${track}`]), settings.track || tracks[0]);
  const { columns } = facts;
  const kept = (localStorage.getItem(KEPT_COLUMNS) ?? "").split(",").filter((name) => columns.includes(name));
  const checked = kept.length ? kept : USUAL_COLUMNS.filter((name) => columns.includes(name));
  $("columns").replaceChildren(...columns.map((name) => columnChoice(name, checked.includes(name))));
  chooseTrack(Number($("track").value));
}

function columnChoice(name, checked) {
  const label = document.createElement("label");
  const given = { type: "checkbox", name: "column", value: name, checked };
  const box = Object.assign(document.createElement("input"), given);
  const { text, unit } = columnTitle(name);
  box.addEventListener("change", () => {
    localStorage.setItem(KEPT_COLUMNS, chosenColumns().join(","));
    showSeries();
  });
  label.append(box, ` ${text}${unit ? `, ${unit}` : ""}`);
  return label;
}

function chosenColumns() {
  return Array.from($("columns").querySelectorAll("input:checked"), (box) => box.value);
}

function chooseTrack(track) {
  settings.track = track;
  timeline.choose(track);
  for (const pane of panes) pane.draw();
  $("track").value = String(track);
  if (chosen.model) showSeries();
}

let reading = null;
async function showSeries() {
  reading?.abort();
  const own = (reading = new AbortController());
  const columns = chosenColumns();
  if (!columns.length) return charts.clear("Choose a column.");
  const rows = { track: settings.track, model: chosen.model.id, analysis: chosen.analysis?.id };
  const wanted = { ...rows, columns: columns.join(",") };
  try {
    const path = withQuery(`/api/video/${facts.v}/series`, { ...wanted, recording: facts.recording });
    const series = readSeries(await fetchBytes(path, own.signal), columns);
    if (!series.t.length) return charts.clear(`Track ${settings.track} is not in this file.`);
    charts.show(series, settings.track);
    charts.moveTo(mover.wanted, mover.times.timeOf(mover.wanted));
  } catch (error) {
    if (error.name !== "AbortError") charts.clear(error.message);
  }
  return undefined;
}

function pickLane(lane) {
  if (lane.track) chooseTrack(lane.track);
}

function seekSecond(second, lane = null) {
  mover.seek(lane ? mover.times.frameOfWritten(second) : mover.times.frameAt(second));
}

// --- controls and keys ---

function choose(name, value) {
  const here = new URL(location);
  if (value) here.searchParams.set(name, value);
  else here.searchParams.delete(name);
  here.searchParams.delete("t");
  here.searchParams.set("frame", mover.wanted);
  location.assign(here);
}

function listen() {
  const presses = {
    play: () => mover.toggle(),
    back: () => mover.step(-1),
    forth: () => mover.step(1),
    skeletons: toggleSkeletons,
    sound: toggleSound,
    "zoom-in": () => zoomTimeline(2),
    "zoom-out": () => zoomTimeline(0.5),
    "zoom-all": () => range.showAll(),
    "picture-in": () => zoomPicture(1.5),
    "picture-out": () => zoomPicture(1 / 1.5),
    "picture-all": () => zoom.reset(),
    keys: () => $("help").showModal(),
  };
  for (const [id, press] of Object.entries(presses)) $(id).addEventListener("click", () => mover && press());
  $("speed").addEventListener("change", () => mover.setSpeed(Number($("speed").value)));
  $("frame").addEventListener("change", () => mover.seek(Number($("frame").value) || 0));
  $("track").addEventListener("change", () => chooseTrack(Number($("track").value)));
  listenToKeys(keyActions());
}

function keyActions() {
  const step = (frames) => () => mover?.step(frames);
  const jump = (seconds) => () => mover?.seek(mover.times.frameAt(mover.times.timeOf(mover.wanted) + seconds + 1e-6));
  const sideways = (frames) => (event) => (event.shiftKey ? jump(frames)() : step(frames)());
  return {
    " ": () => mover?.toggle(),
    k: () => mover?.pause(),
    l: () => faster(),
    j: () => mover?.playBackwards(),
    ",": step(-1),
    ".": step(1),
    ArrowLeft: sideways(-1),
    ArrowRight: sideways(1),
    Home: () => mover?.seek(0),
    End: () => mover?.seek(mover.times.count - 1),
    "+": () => zoomTimeline(2),
    "=": () => zoomTimeline(2),
    "-": () => zoomTimeline(0.5),
    0: () => range.showAll(),
    s: toggleSkeletons,
    "?": () => $("help").showModal(),
  };
}

// L plays, and each L more plays faster, as in video editors.
function faster() {
  if (!mover) return;
  if (mover.forwards) {
    const place = SPEEDS.indexOf(Number($("speed").value));
    $("speed").value = String(SPEEDS[Math.min(place + 1, SPEEDS.length - 1)]);
    mover.setSpeed(Number($("speed").value));
  } else {
    mover.play();
  }
}

function zoomTimeline(factor) {
  range.zoom(factor, mover ? mover.times.timeOf(mover.wanted) : range.fromS);
}

function zoomPicture(factor) {
  const [width, height] = panes[0].box;
  zoom.by(factor, width / 2, height / 2, width, height);
}

function toggleSkeletons() {
  settings.skeletons = !settings.skeletons;
  $("skeletons").setAttribute("aria-pressed", String(settings.skeletons));
  for (const pane of panes) pane.draw();
}

function toggleSound() {
  $("film").muted = !$("film").muted;
  $("sound").setAttribute("aria-pressed", String(!$("film").muted));
}

function tell(message, kind = "soft") {
  $("notice").hidden = !message;
  $("notice-text").textContent = message;
  $("notice").className = `notice ${kind}`;
}
