// The files of a recording: which one comes before and after a video.
import { fetchJson, withQuery } from "./api.js";
import { link } from "./tables.js";

// Show the place of a video among the files, with links. startS: of the video on the recording's clock, near enough to
// find it among thousands; next(file): told which file follows
export async function followRecording(box, { v, recording, startS }, next) {
  if (!recording) return;
  const found = await fetchJson(withQuery(`/api/recording/${recording}`, { at: startS })).catch(() => null);
  const files = found?.files ?? [];
  const place = files.findIndex((file) => file.video === v);
  if (found === null || found.files_total < 2 || place < 0) return;
  const { position, start_s: ownStartS } = files[place];
  const whole = withQuery(`/recording/${recording}`, { at: ownStartS });
  box.replaceChildren(
    link(whole, `File ${position + 1} of ${found.files_total} of this recording`),
    ...(place > 0 ? [" · ", link(files[place - 1].url, "Previous file")] : []),
    ...(place + 1 < files.length ? [" · ", link(files[place + 1].url, "Next file")] : []),
  );
  box.hidden = false;
  next(files[place + 1] ?? null);
}
