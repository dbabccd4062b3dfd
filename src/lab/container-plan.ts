/**
 * What a container's command means on a machine without its image: a program of the host that is run,
 * a known test server whose ports are answered, or, for everything else, its declared ports answered.
 * Must not start anything.
 */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { Container, Pod } from '../k8s/types.ts';
import { listenPorts } from './store.ts';
import type { LabPort } from './types.ts';

export interface Command {
  readonly container: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Somebody will attach: its standard input stays open. */
  readonly stdin?: true;
  readonly tty?: true;
}

export interface PodPlan {
  readonly commands: readonly Command[];
  /** Ports that the lab answers with the pod's name. */
  readonly ports: readonly LabPort[];
}

/** The file a shell would run for `program`; undefined when this machine has none. */
export function findProgram(program: string, path: string): string | undefined {
  const candidates = program.includes('/')
    ? [program]
    : path.split(delimiter).map((directory) => join(directory, program));
  return candidates.find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return statSync(file).isFile();
    } catch {
      return false;
    }
  });
}

export function isAgnhost(program: string | undefined): boolean {
  return program !== undefined && /(^|\/)agnhost$/.test(program);
}

/** Literal values only: the lab has no config maps to read at start. */
export function environmentOf(container: Container): Record<string, string> {
  const found: Record<string, string> = {};
  for (const { name, value } of container.env ?? []) if (value !== undefined) found[name] = value;
  return found;
}

/** How the containers of a pod are played. `path`: where programs are looked for. */
export function planPod(pod: Pod, path: string): PodPlan {
  const commands: Command[] = [];
  const answered: LabPort[] = [];
  const left: Container[] = [];
  for (const container of pod.spec?.containers ?? []) {
    const { stdin = false, tty = false } = container as { stdin?: boolean; tty?: boolean };
    const given = argvOf(container, path);
    // What images for people do when nothing is asked of them.
    const argv = stdin && given.length === 0 && path !== '' ? ['sh'] : given;
    if (isAgnhost(argv[0])) {
      answered.push(...agnhostPorts(argv.slice(1), environmentOf(container)));
    } else if (argv[0] !== undefined && findProgram(argv[0], path) !== undefined) {
      commands.push({
        container: container.name,
        argv,
        env: environmentOf(container),
        ...(stdin ? { stdin } : {}),
        ...(tty ? { tty } : {}),
      });
    } else {
      left.push(container);
    }
  }
  if (left.length > 0) {
    answered.push(...listenPorts({ ...pod, spec: { ...pod.spec, containers: left } }));
  }
  return { commands, ports: distinct(answered) };
}

/** The command line as far as it is known without the image. */
function argvOf(container: Container, path: string): readonly string[] {
  const { command, args, image = '' } = container;
  if (command !== undefined && command !== null && command.length > 0) {
    return [...command, ...(args ?? [])];
  }
  const first = args?.[0];
  if (first === undefined) return [];
  if (/(^|\/)agnhost(:|@|$)/.test(image)) return ['/agnhost', ...(args ?? [])];
  // Images of distributions have no entry point of their own, others mostly take options.
  const runs = !first.startsWith('-') && findProgram(first, path) !== undefined;
  return runs ? (args ?? []) : [];
}

function distinct(ports: readonly LabPort[]): LabPort[] {
  const seen = new Set<string>();
  return ports.filter(({ protocol, port }) => {
    const key = `${protocol}/${port}`;
    return protocol !== 'SCTP' && !seen.has(key) && seen.add(key);
  });
}

/** Where `agnhost serve-hostname|netexec|porter` would listen. */
export function agnhostPorts(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): LabPort[] {
  const [command, ...rest] = args;
  const flags = readFlags(rest);
  const number = (name: string, preset: number): number => Number(flags.get(name) ?? preset);
  switch (command) {
    case 'serve-hostname': {
      const port = number('port', 9376);
      const udp = isSet(flags, 'udp', false);
      return [{ protocol: udp ? 'UDP' : 'TCP', port }];
    }
    case 'netexec':
      return [
        { protocol: 'TCP', port: number('http-port', 8080) },
        { protocol: 'UDP', port: number('udp-port', 8081) },
      ];
    case 'porter':
      return Object.keys(env).flatMap((name): LabPort[] => {
        const match = /^SERVE_(?:(TCP|UDP|SCTP|TLS)_)?PORT_(\d+)$/.exec(name);
        if (match === null) return [];
        const kind = match[1] ?? 'TCP';
        return [
          {
            protocol: kind === 'UDP' || kind === 'SCTP' ? kind : 'TCP',
            port: Number(match[2]),
          },
        ];
      });
    default:
      return [];
  }
}

/** `--name=value`, `--name value` and `--name`, as Go programs read them. */
export function readFlags(args: readonly string[]): Map<string, string> {
  const flags = new Map<string, string>();
  args.forEach((arg, index) => {
    const match = /^--?([^=]+)(?:=(.*))?$/s.exec(arg);
    if (match?.[1] === undefined) return;
    const next = args[index + 1];
    const value = match[2] ?? (next === undefined || next.startsWith('-') ? 'true' : next);
    flags.set(match[1], value);
  });
  return flags;
}

function isSet(flags: ReadonlyMap<string, string>, name: string, preset: boolean): boolean {
  const value = flags.get(name);
  return value === undefined ? preset : value !== 'false';
}
