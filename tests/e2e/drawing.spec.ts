import { expect, test } from "./fixture.js";
import { onSmallHost } from "./learner.js";

onSmallHost();

test("the GPU draws the next tokens while ids are waited for, and a text left early spoils no other", async ({
  page,
}) => {
  const told = await page.evaluate(async () => {
    // How many answers of the GPU were waited for at once.
    let waiting = 0;
    let most = 0;
    const own = GPUBuffer.prototype.mapAsync;
    GPUBuffer.prototype.mapAsync = function (...args): ReturnType<typeof own> {
      most = Math.max(most, ++waiting);
      const answer = own.apply(this, args);
      const over = (): number => --waiting;
      answer.then(over, over);
      return answer;
    };
    const write = async (opened: Awaited<ReturnType<typeof imprint.Imprint.open>>, leaveAfter = Infinity) => {
      let text = "";
      let pieces = 0;
      for await (const piece of opened.write("The lamp", { temperature: 0.9, seed: 3, maxTokens: 90 })) {
        text += piece.text;
        if (++pieces >= leaveAfter) break;
      }
      return text;
    };
    const cpu = await imprint.Imprint.open({ model: "/small.gguf", worker: false, device: "cpu" });
    const expected = await write(cpu);
    await cpu.close();
    const gpu = await imprint.Imprint.open({ model: "/small.gguf", worker: false, device: "webgpu" });
    most = 0;
    const texts = [await write(gpu)];
    const atOnce = most;
    for (const pieces of [4, 6, 9]) {
      await write(gpu, pieces);
      texts.push(await write(gpu));
    }
    await gpu.close();
    GPUBuffer.prototype.mapAsync = own;
    return { expected, texts, atOnce };
  });
  expect(told.expected.length).toBeGreaterThan(0);
  expect(told.texts).toEqual(Array(4).fill(told.expected));
  expect(told.atOnce, "answers waited for at once").toBe(2);
});
