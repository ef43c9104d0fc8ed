// Requests to the pages' server, and addresses of its pages.

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function fetchJson(path, signal) {
  return (await fetchOk(path, signal)).json();
}

export async function fetchBytes(path, signal) {
  return (await fetchOk(path, signal)).arrayBuffer();
}

async function fetchOk(path, signal) {
  const answer = await fetch(path, { signal });
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, told.error ?? told.why ?? `The server answered ${answer.status}.`);
}

// path?name=value&…, without what is null. The path may have a query already.
export function withQuery(path, query) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `${path}${path.includes("?") ? "&" : "?"}${new URLSearchParams(given)}` : path;
}
