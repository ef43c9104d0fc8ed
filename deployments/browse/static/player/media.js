// The film of a video, which may have to be converted for browsers first.
import { fetchJson, withQuery } from "./api.js";

const BETWEEN_MS = 1000;

// {state: "ready" | "failed" | "gone", why, url}; progress(share, why) is called while it is prepared.
// convert: also where a browser should be able to play the file as it is
export async function prepareFilm(v, progress, convert = false) {
  const address = withQuery(`/media/${v}/state`, { start: 1, convert: convert ? 1 : null });
  for (;;) {
    const state = await fetchJson(address).catch((error) => ({
      state: error.status === 404 ? "gone" : "failed",
      why: error.status === 404 ? "" : error.message,
    }));
    if (state.state !== "preparing") return { url: `/media/${v}`, ...state };
    progress(state.done ?? 0, state.why);
    await new Promise((resolve) => setTimeout(resolve, BETWEEN_MS));
  }
}

// Give the film to a <video>, until its first frame is there. Rejects where the browser cannot play it.
export function openFilm(video, url) {
  return new Promise((resolve, reject) => {
    const settled = new AbortController();
    const settle = (end) => () => {
      settled.abort();
      end();
    };
    const refused = () => reject(new Error(video.error?.message || "unknown format"));
    video.addEventListener("loadeddata", settle(resolve), { signal: settled.signal });
    video.addEventListener("error", settle(refused), { signal: settled.signal });
    video.src = url;
    video.load();
  });
}
