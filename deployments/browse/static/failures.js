// Clicks and keys among the failures of a training. Without this script, the links load the page anew.
const links = [...document.querySelectorAll(".thumbnails a")];
const byId = (id) => document.getElementById(id);

function currentIndex() {
  return Math.max(0, links.findIndex((link) => link.hasAttribute("aria-current")));
}

function show(index, focus) {
  const link = links[Math.min(Math.max(index, 0), links.length - 1)];
  for (const other of links) other.removeAttribute("aria-current");
  link.setAttribute("aria-current", "true");
  const small = link.querySelector("img");
  byId("failure-picture").src = small.src;
  byId("failure-picture").alt = small.alt;
  byId("failure-truth").textContent = link.dataset.truth;
  byId("failure-name").textContent = link.dataset.name;
  byId("failure-beside").textContent = link.dataset.beside;
  byId("failure-number").textContent = `${link.dataset.number} of ${links.length}`;
  byId("failure-before").href = links[Math.max(links.indexOf(link) - 1, 0)].href;
  byId("failure-next").href = links[Math.min(links.indexOf(link) + 1, links.length - 1)].href;
  if (focus) link.focus({ preventScroll: true });
  scrollInto(link);
  history.replaceState(null, "", link.href); // the address can be copied, and Back leaves the page
}

// Scrolls the list only: the page stays where it is, with the large picture in sight.
function scrollInto(link) {
  const list = link.closest(".thumbnails");
  const [item, box] = [link.getBoundingClientRect(), list.getBoundingClientRect()];
  if (item.top < box.top) list.scrollTop -= box.top - item.top;
  if (item.bottom > box.bottom) list.scrollTop += item.bottom - box.bottom;
  if (item.left < box.left) list.scrollLeft -= box.left - item.left;
  if (item.right > box.right) list.scrollLeft += item.right - box.right;
}

const STEPS = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };

function onKey(event) {
  const elsewhere = event.target.closest("input, textarea, select, summary, .scroll, [contenteditable]");
  if (!(event.key in STEPS) || elsewhere || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const inList = event.target.closest("#failures") !== null;
  if ((event.key === "Home" || event.key === "End") && !inList) return; // these scroll the page
  show(currentIndex() + STEPS[event.key], event.target.closest(".thumbnails") !== null);
  event.preventDefault();
}

function onClick(event, index) {
  if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return; // opens another tab
  event.preventDefault();
  show(index, false);
}

if (links.length) {
  links.forEach((link, index) => link.addEventListener("click", (event) => onClick(event, index)));
  byId("failure-before").addEventListener("click", (event) => onClick(event, currentIndex() - 1));
  byId("failure-next").addEventListener("click", (event) => onClick(event, currentIndex() + 1));
  addEventListener("keydown", onKey);
}
