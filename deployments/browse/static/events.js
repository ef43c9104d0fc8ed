// Keys and marks of the events page. Without this script the forms work, too: each mark then loads the page again.
const cards = [...document.querySelectorAll(".event")];
const state = document.getElementById("state");
const failure = document.getElementById("failure");

const isTyping = (target) => target.closest("input, textarea, select") !== null;
const formOf = (card) => card.querySelector("form.mark");

function step(by) {
  const now = cards.indexOf(document.activeElement.closest(".event"));
  const next = now === -1 ? 0 : Math.min(Math.max(now + by, 0), cards.length - 1);
  cards[next].focus();
  cards[next].scrollIntoView({ block: "nearest" });
}

function say(text, isFailure = false) {
  state.textContent = isFailure ? "" : text;
  failure.textContent = isFailure ? text : "";
  failure.hidden = !isFailure;
}

async function setMark(card, mark) {
  const form = formOf(card);
  try {
    const answer = await fetch(form.action, {
      method: "POST",
      headers: { Accept: "application/json" },
      body: new URLSearchParams({ mark, note: form.elements.note.value }),
    });
    if (!answer.ok) throw new Error(`the server answered with status ${answer.status}`);
    show(card, await answer.json());
    say(`Marked: ${mark}`);
  } catch (error) {
    say(`The mark was not kept: ${error.message}. Load the page again, and repeat it.`, true);
  }
}

function show(card, { mark, note, precisions }) {
  card.dataset.mark = mark;
  const tag = card.querySelector(".marked");
  tag.textContent = mark;
  tag.hidden = mark === "none";
  const form = formOf(card);
  form.elements.note.value = note;
  for (const button of form.querySelectorAll("button[aria-pressed]")) {
    button.setAttribute("aria-pressed", String(button.value === mark));
  }
  form.querySelector("button:not([aria-pressed])").value = mark; // of Enter in the note
  document.getElementById("precisions").replaceChildren(...precisions.map(rowOf));
}

function rowOf({ rule, version, ...numbers }) {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  const link = document.createElement("a");
  head.scope = "row";
  link.href = `/events?${new URLSearchParams({ rule })}`;
  link.textContent = rule;
  head.append(link);
  row.append(head, cell(version, "mono"));
  for (const name of ["events", "marked", "right", "wrong", "precision"]) row.append(cell(numbers[name], "number"));
  return row;
}

function cell(text, kind) {
  const made = document.createElement("td");
  made.className = kind;
  made.textContent = text;
  return made;
}

const MARKS = { r: "right", w: "wrong", n: "none" };

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !cards.length) return;
  const card = event.target.closest(".event");
  if (isTyping(event.target)) {
    if (event.key === "Escape" && card) card.focus();
    return;
  }
  if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
  else if (card && event.key === "o") card.querySelector(".still").click();
  else if (card && event.key === "t" && formOf(card)) formOf(card).elements.note.focus();
  else if (card && Object.hasOwn(MARKS, event.key) && formOf(card)) setMark(card, MARKS[event.key]);
  else return;
  event.preventDefault();
}

addEventListener("keydown", onKey);
for (const card of cards) {
  formOf(card)?.addEventListener("submit", (event) => {
    event.preventDefault();
    setMark(card, event.submitter?.value ?? card.dataset.mark);
  });
  formOf(card)?.elements.note.addEventListener("change", () => {
    if (card.dataset.mark !== "none") setMark(card, card.dataset.mark);
  });
}
