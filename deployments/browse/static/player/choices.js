// Which model's and analysis' rows are shown, and which beside them.
import { withQuery } from "./api.js";

// versions: {models: [{id, name, version, task, shown}, …], analyses: [{id, name, shown, models}, …]}
// found: the timeline, which says what the server chose; query: of the address
export function chosenVersions(versions, found, query) {
  const model = numbered(versions.models, found.model);
  const analysis = numbered(versions.analyses, found.analysis);
  const [besideModel, besideAnalysis] = (query.get("beside") ?? "").split(":");
  const other = numbered(versions.models, besideModel);
  const beside = other && { model: other, analysis: numbered(versions.analyses, besideAnalysis) ?? analysis };
  return { model, analysis, beside };
}

function numbered(list, id) {
  return list.find((each) => String(each.id) === String(id)) ?? null;
}

// stamp: of the rows, with which the browser keeps them without asking again
export function piecesAddress(v, { model, analysis, recording, stamp }) {
  const named = { model: model.id, analysis: analysis?.id, recording, stamp };
  return (number) => withQuery(`/api/video/${v}/pieces/${number}`, named);
}

export function modelTitle({ name, version, shown }) {
  const short = version ? ` ${String(version).slice(0, 8)}` : "";
  return `${name}${short}${shown ? " (shown)" : ""}`;
}

// Fill the form's lists, and hide those without a choice. changed(name, value): the reader chose another
export function fillChoices(form, versions, chosen, changed) {
  const { model, analysis, beside } = form.elements;
  fill(model, versions.models.map((each) => [each.id, modelTitle(each)]), chosen.model?.id);
  const analyses = versions.analyses.filter(({ models }) => models.includes(chosen.model?.id));
  fill(analysis, analyses.map((each) => [each.id, analysisTitle(each)]), chosen.analysis?.id);
  fill(beside, [["", "nothing"], ...besideChoices(versions)], besideValue(versions, chosen.beside));
  show(model, versions.models.length > 0);
  show(analysis, analyses.length > 1);
  show(beside, versions.models.length * Math.max(1, versions.analyses.length) > 1);
  for (const select of [model, analysis, beside]) {
    select.addEventListener("change", () => changed(select.name, select.value));
  }
}

function analysisTitle({ id, name, shown }) {
  return `${name || `version ${id}`}${shown ? " (shown)" : ""}`;
}

function besideChoices({ models, analyses }) {
  return models.flatMap((model) => {
    const own = analyses.filter(({ models: its }) => its.includes(model.id));
    if (analyses.length < 2 || !own.length) return [[model.id, modelTitle(model)]];
    return own.map((each) => [`${model.id}:${each.id}`, `${modelTitle(model)}, tracks of ${analysisTitle(each)}`]);
  });
}

function besideValue({ analyses }, beside) {
  if (!beside) return "";
  return analyses.length < 2 ? beside.model.id : `${beside.model.id}:${beside.analysis.id}`;
}

export function fill(select, choices, chosen) {
  select.replaceChildren(...choices.map(([value, title]) => new Option(title, value)));
  select.value = String(chosen ?? "");
}

function show(select, wanted) {
  select.closest("label").hidden = !wanted;
}
