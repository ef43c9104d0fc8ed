// Keys of the player. Fields and open dialogs keep theirs.

export function listenToKeys(actions) {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event)) return;
    const action = actions[event.key] ?? actions[event.key.toLowerCase()];
    if (!action || (event.key === " " && isPressable(event.target))) return;
    event.preventDefault();
    action(event);
  });
}

function isTyping(event) {
  return event.target.closest("input:not([type=checkbox]), textarea, select, dialog[open], [contenteditable]") !== null;
}

// Space presses a focused button, as everywhere.
function isPressable(target) {
  return target.closest("button, summary, input, a[href]") !== null;
}
