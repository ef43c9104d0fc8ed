// What all pages share: the change of theme, and keys.
const root = document.documentElement;

function isDark() {
  const chosen = root.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

document.getElementById("theme").addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
  dispatchEvent(new Event("themechange")); // canvases draw in the theme's colours
});

addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey) {
    document.querySelector(".search input").focus();
    event.preventDefault();
  }
});

// A picture that cannot be made, of a file that is gone or damaged, leaves its frame empty.
function hideMissing(picture) {
  picture.classList.add("missing");
  picture.removeAttribute("src");
}

addEventListener("error", (event) => {
  if (event.target instanceof HTMLImageElement) hideMissing(event.target);
}, true);
for (const picture of document.images) {
  if (picture.complete && picture.naturalWidth === 0 && picture.getAttribute("src")) hideMissing(picture);
}
