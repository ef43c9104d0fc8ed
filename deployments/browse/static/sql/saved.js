// Queries with names in this browser's storage: the database is read-only.
import { readQueries, writeQueries } from "./text.js";

const KEY = "nightjar.queries";

function load() {
  try {
    const found = Object.entries(JSON.parse(localStorage.getItem(KEY) ?? "{}"));
    return new Map(found.filter((pair) => pair.every((part) => typeof part === "string")));
  } catch {
    return new Map(); // another program's value
  }
}

const store = (queries) => localStorage.setItem(KEY, JSON.stringify(Object.fromEntries(queries)));

export function showSaved(box) {
  const part = document.getElementById("saved");
  const say = (text) => { part.querySelector("[role=status]").textContent = text; };
  const change = (queries) => {
    try {
      store(queries);
    } catch (error) {
      say(`The browser did not keep it: ${error.message}.`);
    }
    draw();
  };
  const draw = () => {
    const queries = [...load()].sort(([a], [b]) => a.localeCompare(b));
    part.querySelector("ul").replaceChildren(...queries.map((pair) => item(pair, remove)));
  };
  const remove = (name) => {
    const queries = load();
    queries.delete(name);
    change(queries);
  };
  part.querySelector("#save").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = event.target.elements.name.value.trim();
    if (!name || !box.value.trim()) return say("Write a query first.");
    say(`Saved: ${name}`);
    change(load().set(name, box.value));
    event.target.reset();
  });
  part.querySelector("#export").addEventListener("click", () => download(writeQueries(load())));
  part.querySelector("#import").addEventListener("change", async (event) => {
    const found = readQueries(await event.target.files[0].text());
    say(found.size ? `Imported: ${found.size}` : "The file has no line that begins with '-- name: '.");
    change(new Map([...load(), ...found]));
    event.target.value = "";
  });
  part.hidden = false;
  part.open = load().size > 0;
  draw();
}

function item([name, sql], remove) {
  const made = document.createElement("li");
  const link = document.createElement("a");
  link.href = `/sql?${new URLSearchParams({ q: sql })}`;
  link.textContent = name;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "small";
  button.textContent = "Delete";
  button.setAttribute("aria-label", `Delete ${name}`);
  button.addEventListener("click", () => remove(name));
  made.append(link, button);
  return made;
}

function download(text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = "queries.sql";
  link.click();
  URL.revokeObjectURL(link.href);
}
