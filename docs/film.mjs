// Films a page and makes a WebM of it, with nothing but the browser itself.

/** Begins to film; `develop()` ends it and gives the film. */
export async function film(page) {
  const frames = [];
  const session = await page.context().newCDPSession(page);
  session.on("Page.screencastFrame", ({ data, metadata, sessionId }) => {
    frames.push({ data, atMs: metadata.timestamp * 1000 });
    void session.send("Page.screencastFrameAck", { sessionId });
  });
  await session.send("Page.startScreencast", { format: "jpeg", quality: 92 });
  return {
    async develop() {
      await session.send("Page.stopScreencast");
      await session.detach();
      const dark = await page.context().newPage();
      const start = frames[0].atMs;
      const strip = frames.map(({ data, atMs }) => ({ data, atMs: atMs - start }));
      const base64 = await dark.evaluate(recorded, { strip, endMs: END_MS, ...page.viewportSize() });
      await dark.close();
      return Buffer.from(base64, "base64");
    },
  };
}

/** How long the last frame stands. */
const END_MS = 1500;

/** Plays the frames on a canvas, as they came, and records it. Runs in a page of its own, where nothing else takes time. */
async function recorded({ strip, endMs, width, height }) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const paint = canvas.getContext("2d");
  const images = strip.map(async ({ data }) => {
    const image = new Image();
    image.src = `data:image/jpeg;base64,${data}`;
    await image.decode();
    return image;
  });
  const decoded = await Promise.all(images);
  const stream = canvas.captureStream(0);
  const [track] = stream.getVideoTracks();
  const mimeType = "video/webm;codecs=vp9";
  const recorder = new MediaRecorder(stream, { mimeType, videoBitsPerSecond: 700_000 });
  const chunks = [];
  recorder.ondataavailable = ({ data }) => chunks.push(data);
  const ended = new Promise((resolve) => (recorder.onstop = resolve));
  recorder.start();
  const start = performance.now();
  const show = async (image, atMs) => {
    const wait = start + atMs - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    paint.drawImage(image, 0, 0, width, height);
    track.requestFrame();
  };
  for (const [at, image] of decoded.entries()) await show(image, strip[at].atMs);
  // The last one is painted again, or it would not count until the end.
  await show(decoded.at(-1), strip.at(-1).atMs + endMs);
  await new Promise((resolve) => setTimeout(resolve, 200));
  recorder.stop();
  await ended;
  const bytes = new Uint8Array(await new Blob(chunks).arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000)
    text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}
