/**
 * What a container's command means on a machine without its image: a program of the host that is run,
 * a known test server whose ports are answered, or, for everything else, its declared ports answered.
 * Must not start anything.
 */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { Container, Pod } from '../k8s/types.ts';
import { environmentOf } from './container-env.ts';
import { listenPorts } from './store.ts';
import type { Answer } from './answers.ts';
import type { LabListener } from './types.ts';

export interface Command {
  readonly container: string;
  readonly argv: readonly string[];
  /** Somebody will attach: its standard input stays open. */
  readonly stdin?: true;
  readonly tty?: true;
}

/** One init container, in its turn. */
export interface InitPlan {
  readonly container: string;
  /** Goes on beside the others (`restartPolicy: Always`) instead of ending before them. */
  readonly sidecar: boolean;
  /** Absent: taken as done, or as running for a sidecar. */
  readonly command?: Command;
  /** Why there is no command. */
  readonly note?: string;
}

export interface PodPlan {
  readonly init: readonly InitPlan[];
  readonly commands: readonly Command[];
  /** Ports that the lab answers. */
  readonly ports: readonly LabListener[];
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

/** How the containers of a pod are played. `path`: where programs are looked for. */
export function planPod(pod: Pod, path: string): PodPlan {
  const commands: Command[] = [];
  const answered: LabListener[] = [];
  const { hostname } = (pod.spec ?? {}) as { hostname?: string };
  const name = hostname ?? pod.metadata.name ?? '';
  const left: Container[] = [];
  for (const container of pod.spec?.containers ?? []) {
    const argv = argvOf(container, path);
    const command = planCommand(container, path);
    if (isAgnhost(argv[0])) {
      answered.push(
        ...agnhostPorts(argv.slice(1), environmentOf(container), name).map((port) => ({
          ...port,
          container: container.name,
        })),
      );
    } else if (command === undefined) left.push(container);
    else commands.push(command);
  }
  if (left.length > 0) {
    answered.push(...listenPorts({ ...pod, spec: { ...pod.spec, containers: left } }));
  }
  const init = (pod.spec?.initContainers ?? []).map((one) => planInit(one, path));
  return { init, commands, ports: distinct(answered) };
}

/** The program of this machine that a container runs; undefined when there is none. */
export function planCommand(container: Container, path: string): Command | undefined {
  const { stdin = false, tty = false } = container as { stdin?: boolean; tty?: boolean };
  const given = argvOf(container, path);
  // What images for people do when nothing is asked of them.
  const argv = stdin && given.length === 0 && path !== '' ? ['sh'] : given;
  if (argv[0] === undefined || findProgram(argv[0], path) === undefined) return undefined;
  return {
    container: container.name,
    argv,
    ...(stdin ? { stdin } : {}),
    ...(tty ? { tty } : {}),
  };
}

/** An init container that prepares a volume has nothing to prepare here. */
function planInit(container: Container, path: string): InitPlan {
  const { volumeMounts } = container as { volumeMounts?: readonly unknown[] | null };
  const sidecar = container.restartPolicy === 'Always';
  const plan = { container: container.name, sidecar };
  if ((volumeMounts ?? []).length > 0) {
    return { ...plan, note: 'not run, because it mounts volumes, which the lab has not' };
  }
  const command = planCommand(container, path);
  if (command !== undefined) return { ...plan, command };
  const [program] = argvOf(container, path);
  const missing = program === undefined ? 'its image' : `the program ${program}`;
  return { ...plan, note: `not run, because this machine lacks ${missing}` };
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

function distinct(ports: readonly LabListener[]): LabListener[] {
  const seen = new Set<string>();
  return ports.filter(({ protocol, port }) => {
    const key = `${protocol}/${port}`;
    return !seen.has(key) && seen.add(key);
  });
}

/** Where `agnhost serve-hostname|netexec|porter` would listen, and what they would say. */
export function agnhostPorts(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  name: string,
): LabListener[] {
  const [command, ...rest] = args;
  const flags = readFlags(rest);
  const listener = (
    protocol: LabListener['protocol'],
    flag: string,
    preset: number,
    answer: Answer,
  ): LabListener[] => {
    const port = Number(flags.get(flag) ?? preset);
    return port > 0 && port < 65_536 ? [{ protocol, port, answer }] : [];
  };
  switch (command) {
    case 'serve-hostname': {
      const [tcp, udp] = [isSet(flags, 'tcp', false), isSet(flags, 'udp', false)];
      const http = isSet(flags, 'http', true);
      // It ends with an error instead of serving both.
      if (http && (tcp || udp)) return [];
      const answer = { kind: 'hostname', name } as const;
      return [
        ...(http ? listener('TCP', 'port', 9376, answer) : []),
        ...(tcp ? listener('TCP', 'port', 9376, { ...answer, raw: true }) : []),
        ...(udp ? listener('UDP', 'port', 9376, answer) : []),
      ];
    }
    case 'netexec': {
      const override = flags.get('http-override');
      const answer = { kind: 'netexec', name } as const;
      return [
        ...listener('TCP', 'http-port', 8080, {
          ...answer,
          ...(override === undefined ? {} : { override }),
        }),
        ...listener('UDP', 'udp-port', 8081, answer),
        ...listener('SCTP', 'sctp-port', -1, answer),
      ];
    }
    case 'porter': {
      const json = isSet(flags, 'json-response', false);
      return Object.entries(env).flatMap(([variable, text]): LabListener[] => {
        const match = /^SERVE_(?:(TCP|UDP|SCTP|TLS)_)?PORT_(\d+)$/.exec(variable);
        if (match === null) return [];
        const kind = match[1] ?? 'TCP';
        return [
          {
            protocol: kind === 'UDP' || kind === 'SCTP' ? kind : 'TCP',
            port: Number(match[2]),
            answer: { kind: 'text', text, ...(json ? { json } : {}) },
          },
        ];
      });
    }
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
    const value = match[2] ?? (next === undefined || /^-(?!\d)/.test(next) ? 'true' : next);
    flags.set(match[1], value);
  });
  return flags;
}

function isSet(flags: ReadonlyMap<string, string>, name: string, preset: boolean): boolean {
  const value = flags.get(name);
  return value === undefined ? preset : value !== 'false';
}
