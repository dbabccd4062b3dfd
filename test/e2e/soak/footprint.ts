/**
 * What a lab holds of the machine: processes, network namespaces, links, mounts, descriptors, memory.
 * Must not know what the lab was asked to do.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { Lab, LabStatus } from '../../../src/lab/index.ts';

export interface Footprint {
  /** Command lines, sorted. */
  readonly processes: readonly string[];
  readonly namespaces: readonly string[];
  /** Links of each node, sorted. */
  readonly links: readonly string[];
  readonly mounts: number;
  /** Identity of the program each node enforces. */
  readonly programs: readonly string[];
  /** Open descriptors by process. */
  readonly descriptors: Readonly<Record<string, number>>;
  /** Resident megabytes by process. */
  readonly memory: Readonly<Record<string, number>>;
}

function processesOf(first: number): number[] {
  const inside = readlinkSync(`/proc/${first}/ns/pid`);
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readlinkSync(`/proc/${pid}/ns/pid`) === inside;
      } catch {
        return false;
      }
    });
}

const read = (path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
};

function openFiles(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    // Ended meanwhile.
    return 0;
  }
}

/** `daemon`, `api-main`, … for the lab's own long-lived processes; else the command line. */
function nameOf(pid: number): string {
  const line = read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim();
  return /\/lab\/([\w-]+)\.[jt]s/.exec(line)?.[1] ?? line;
}

export async function footprint(lab: Lab, status: LabStatus): Promise<Footprint> {
  const first = status.pid ?? 0;
  const pids = processesOf(first);
  const descriptors: Record<string, number> = {};
  const memory: Record<string, number> = {};
  for (const pid of pids) {
    const name = nameOf(pid);
    if (name !== 'daemon' && name !== 'api-main') continue;
    // A child that is just being made carries the same name for a moment.
    descriptors[name] = Math.max(descriptors[name] ?? 0, openFiles(pid));
    const resident = /VmRSS:\s+(\d+) kB/.exec(read(`/proc/${pid}/status`))?.[1] ?? '0';
    memory[name] = Math.max(memory[name] ?? 0, Math.round(Number(resident) / 1024));
  }
  const links: string[] = [];
  for (const node of status.config.nodes) {
    const { stdout } = await lab.exec(node, ['ip', '-o', 'link']);
    for (const match of stdout.matchAll(/^\d+: ([^:@]+)/gm)) links.push(`${node} ${match[1]}`);
  }
  const { nodes } = await lab.status();
  return {
    processes: pids
      .map(nameOf)
      .filter((name) => name !== '')
      .toSorted(),
    namespaces: readdirSync(`/proc/${first}/root/run/netns`).toSorted(),
    links: links.toSorted(),
    mounts: read(`/proc/${first}/mountinfo`).split('\n').length,
    programs: nodes.map(({ revision }) => revision),
    descriptors,
    memory,
  };
}
