// Colours of the page's theme, for what is drawn on canvases.

const NAMES = ["ground", "panel", "raised", "line", "text", "soft", "accent", "link", "good", "warn", "bad"];

export function themeColors() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

export function onThemeChange(redraw) {
  addEventListener("themechange", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

// Many wishes to draw, one drawing before the next picture of the screen.
export function oncePerPicture(draw) {
  let waiting = 0;
  return () => {
    waiting ||= requestAnimationFrame(() => {
      waiting = 0;
      draw();
    });
  };
}
