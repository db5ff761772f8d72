import { readdirSync, readFileSync, writeFileSync } from "node:fs";

/** Linux counts in hundredths of a second for programs, whatever its own clock does (`USER_HZ`). */
const ticksPerS = 100;

/** The kinds of Chromium's processes that do a model's work. */
export type Kind = "gpu-process" | "renderer";

/** The processes of one kind that belong to the browser with this profile; none where the system does not tell. */
export function processes(profile: string, kind: Kind): number[] {
  if (process.platform !== "linux") return [];
  const ids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return ids.map(Number).filter((id) => {
    const line = read(id, "cmdline").replaceAll("\0", " ");
    return line.includes(`--type=${kind} `) && line.includes(`--user-data-dir=${profile}`);
  });
}

/** CPU seconds these processes have used together; `null` where the system does not tell. */
export function cpuS(ids: number[]): number | null {
  if (ids.length === 0) return null;
  const ticks = ids.map((id) => {
    // The second field, the program's name, may hold spaces; user and system time are the 14th and 15th.
    const fields = read(id, "stat").split(")").at(-1)?.trim().split(" ") ?? [];
    return Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  });
  return ticks.reduce((sum, one) => sum + one, 0) / ticksPerS;
}

/** The most memory that the largest of these processes has held (`VmHWM`); `null` where the system does not tell. */
export function peakBytes(ids: number[]): number | null {
  const peaks = ids.map((id) => Number(/VmHWM:\s*(\d+) kB/.exec(read(id, "status"))?.[1] ?? 0) * 1024);
  return peaks.length === 0 ? null : Math.max(...peaks);
}

/** Makes these processes' peaks begin anew; where the system refuses, what was held before counts too. */
export function forgetPeak(ids: number[]): void {
  for (const id of ids) {
    try {
      writeFileSync(`/proc/${id}/clear_refs`, "5");
    } catch {
      continue;
    }
  }
}

/** A file about a process; empty when the process has ended. */
function read(id: number, name: string): string {
  try {
    return readFileSync(`/proc/${id}/${name}`, "utf8");
  } catch {
    return "";
  }
}
