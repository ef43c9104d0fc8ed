// Names of files, rules and labels in one line, as the server's pages show them.

const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Cn}]/gu;
const JOINERS = "\u200c\u200d"; // of emoji and of scripts

// Signs that break a line, turn its direction or cannot be seen become escapes such as \u202e.
export function visible(text) {
  return text.replace(HIDDEN, (sign) => (JOINERS.includes(sign) ? sign : escaped(sign.codePointAt(0))));
}

function escaped(code) {
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
  if (code < 0x10000) return `\\u${code.toString(16).padStart(4, "0")}`;
  return `\\U${code.toString(16).padStart(8, "0")}`;
}
