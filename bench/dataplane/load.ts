/**
 * What it takes to load a ruleset: time of one `nft -f`, and kernel memory. Must not know what the
 * rulesets mean.
 */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { inside, must } from './bed.ts';

export interface Load {
  readonly milliseconds: number;
  /** MB: rough, the whole machine's difference. */
  readonly kernelMemory: number;
}

/** Kernel memory that cannot be reclaimed, in MB. */
async function kernelMemory(): Promise<number> {
  const text = await readFile('/proc/meminfo', 'utf8');
  const of = (name: string): number => Number(new RegExp(`${name}: +(\\d+)`).exec(text)?.[1] ?? 0);
  return (of('SUnreclaim') + of('Percpu') + of('VmallocUsed')) / 1024;
}

export function median(list: readonly number[]): number {
  const sorted = [...list].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? NaN;
}

/** Loads each script in turn into an empty namespace, `rounds` times. Medians. */
export async function measureLoads(
  scripts: Readonly<Record<string, string>>,
  rounds: number,
): Promise<Record<string, Load>> {
  const namespace = 'load';
  const seen: Record<string, Load[]> = {};
  for (let round = 0; round < rounds; round++)
    for (const [name, script] of Object.entries(scripts)) {
      const known = seen[name]?.[0];
      // A minute each is too long to wait for again.
      if (known !== undefined && known.milliseconds > 10_000) continue;
      await must('ip', ['netns', 'add', namespace]);
      await sleep(300);
      const before = await kernelMemory();
      const start = performance.now();
      await inside(namespace, ['nft', '-f', '-'], script);
      const milliseconds = performance.now() - start;
      (seen[name] ??= []).push({ milliseconds, kernelMemory: (await kernelMemory()) - before });
      await must('ip', ['netns', 'del', namespace]);
    }
  return Object.fromEntries(
    Object.entries(seen).map(([name, list]) => [
      name,
      {
        milliseconds: median(list.map(({ milliseconds }) => milliseconds)),
        kernelMemory: median(list.map((load) => load.kernelMemory)),
      },
    ]),
  );
}
