// The page of queries: keys, names that are inserted into the box, and the parts below.
import { pageRows } from "./pager.js";
import { showSaved } from "./saved.js";

const form = document.getElementById("query");
const box = document.getElementById("q");
const state = document.getElementById("state");
const stopButton = document.getElementById("stop");

function setRunning(isRunning) {
  stopButton.hidden = !isRunning;
  state.textContent = isRunning ? "Running…" : "";
}

function insert(text) {
  box.setRangeText(text, box.selectionStart, box.selectionEnd, "end");
  box.focus();
}

function filterTables(words) {
  const wanted = words.trim().toLowerCase();
  for (const table of document.querySelectorAll(".table")) {
    const names = [...table.querySelectorAll("[data-insert]")].map((button) => button.dataset.insert);
    table.hidden = wanted !== "" && !names.some((name) => name.includes(wanted));
  }
}

box.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    form.requestSubmit(document.getElementById("run"));
  }
});
form.addEventListener("submit", (event) => {
  if (!event.submitter?.hasAttribute("data-file")) setRunning(true);
});
stopButton.addEventListener("click", () => {
  stop(); // the server ends a query whose client is gone
  setRunning(false);
  state.textContent = "Stopped.";
});
addEventListener("pageshow", () => setRunning(false)); // back from another page
document.querySelector("aside").addEventListener("click", (event) => {
  const name = event.target.closest("[data-insert]");
  if (name) insert(name.dataset.insert);
});
const find = document.getElementById("find");
find.hidden = false;
find.addEventListener("input", () => filterTables(find.value));
showSaved(box);
pageRows(document.querySelector(".answer tbody"), document.getElementById("pager"));
