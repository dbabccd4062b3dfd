/**
 * Programs inside a pod: started in its network, on pipes or on a terminal, and ended with all their
 * children. Must not know which program or why.
 */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { spawnOnTerminal } from './api/pty.ts';
import type { ExecSession } from './api/runtime.ts';
import { containerRootScript } from './container-root.ts';
import { LabError } from './errors.ts';

export interface ProcessPlace {
  /** Path of the network namespace. */
  readonly netns: string;
  /** Path of the mount namespace; absent: this one. */
  readonly root?: string | undefined;
  /** Namespace of the pod, and what its /etc/resolv.conf says. */
  readonly resolver: { readonly namespace: string; readonly text: string };
  /** What `hostname` says there. */
  readonly hostname: string;
  readonly env: Readonly<Record<string, string>>;
}

export interface PodProcess extends ExecSession {
  /** The program itself has ended; children may still hold its output open, which `exit` waits for. */
  readonly ended: Promise<number>;
  /** To the program and everything of its process group. */
  signal(name: NodeJS.Signals): void;
}

/**
 * Puts a file of the pod's namespace over /etc/resolv.conf, where a link leads included, and gives
 * the pod's host name. What cannot be done here is left as it is.
 */
const asInPod = `
file=/run/resolv.$1
[ -e "$file" ] || printf %s "$2" > "$file"
target=$(readlink -f /etc/resolv.conf)
[ -e "$target" ] || { mkdir -p "\${target%/*}" && : > "$target"; } 2>/dev/null
mount --bind "$file" "$target" 2>/dev/null
echo "$3" 2>/dev/null > /proc/sys/kernel/hostname
shift 3
exec "$@"`;

/** What runs a program at `place`; the program's own arguments follow. */
function entering(place: ProcessPlace): string[] {
  const mount = place.root === undefined ? [] : [`--mount=${place.root}`];
  const { hostname, resolver } = place;
  const enter = ['nsenter', `--net=${place.netns}`, ...mount, '--'];
  const own = ['unshare', '--mount', '--uts', 'sh', '-c', asInPod, 'sh'];
  return [...enter, ...own, resolver.namespace, resolver.text, hostname];
}

/**
 * Makes the mount namespace of containers and returns its path. It lives as long as this process: a
 * process of its own waits in it for the end of ours.
 */
export async function holdContainerRoot(): Promise<string> {
  const script = containerRootScript(readFileSync('/proc/self/mountinfo', 'utf8'));
  const wait = 'echo ready; exec cat';
  const child = spawn(
    'unshare',
    ['--mount', '--propagation', 'private', 'sh', '-c', `${script}${wait}`],
    { stdio: ['pipe', 'pipe', 'pipe'], cwd: '/' },
  );
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => reject(new LabError(`no view for containers: ${stderr.trim()}`)));
    child.stdout.once('data', () => resolve());
  });
  // unshare becomes the shell, and that becomes the one who waits.
  return `/proc/${child.pid ?? 0}/ns/mnt`;
}

/** Starts a program in a pod. It is the first of its process group. */
export function startInPod(
  place: ProcessPlace,
  argv: readonly string[],
  options: { readonly tty?: boolean } = {},
): PodProcess {
  const command = [...entering(place), ...argv];
  const env = { ...place.env };
  if (options.tty === true) {
    const session = spawnOnTerminal(command, { env, cwd: '/' });
    // A shell that waits at its prompt ignores SIGTERM; that its terminal goes away it understands.
    const signal = (name: NodeJS.Signals): void => {
      session.signal(name);
      if (name === 'SIGTERM') session.signal('SIGHUP');
    };
    return { ...session, ended: session.exit, signal };
  }
  const [program = '', ...args] = command;
  const child = spawn(program, args, { stdio: 'pipe', detached: true, env, cwd: '/' });
  const codeAt = (event: 'exit' | 'close'): Promise<number> => {
    const found = new Promise<number>((resolve, reject) => {
      child.on('error', reject);
      child.on(event, (code: number | null, signal: NodeJS.Signals | null) => {
        resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
      });
    });
    // Whoever wants to know asks; nobody has to.
    found.catch(() => {});
    return found;
  };
  return {
    stdin: child.stdin,
    stdout: child.stdout,
    stderr: child.stderr,
    ended: codeAt('exit'),
    exit: codeAt('close'),
    kill: () => signalGroup(child.pid, 'SIGKILL'),
    signal: (name) => signalGroup(child.pid, name),
  };
}

/** Signals a whole process group, if it is still there. */
function signalGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // Ended meanwhile.
  }
}

/** What a program said before anybody looked, for the first who does. */
export interface Backlog {
  /** What was kept so far; nothing is kept from now on. */
  take(): Buffer;
}

/** Bytes kept for the first who attaches. */
const backlogBytes = 65_536;

/** Keeps the first output of a program that somebody will attach to: its prompt, mostly. */
export function keepBacklog(main: PodProcess): Backlog {
  let kept = Buffer.alloc(0);
  const keep = (chunk: Buffer): void => {
    kept = Buffer.concat([kept, chunk]).subarray(-backlogBytes);
  };
  main.stdout.on('data', keep);
  return {
    take() {
      main.stdout.off('data', keep);
      const bytes = kept;
      kept = Buffer.alloc(0);
      return bytes;
    },
  };
}

/**
 * A process that goes on when the one who looks at it leaves; `once`: its input ends with theirs. Its
 * exit code is not theirs either: they read it in the status.
 */
export function shareProcess(
  main: PodProcess,
  options: { readonly stdin: boolean; readonly once: boolean; readonly backlog?: Backlog },
): ExecSession {
  const stdin = new PassThrough();
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const early = options.backlog?.take();
  if (early !== undefined && early.length > 0) stdout.write(early);
  if (options.stdin) stdin.pipe(main.stdin, { end: options.once });
  main.stdout.pipe(stdout);
  main.stderr.pipe(stderr);
  return {
    stdin,
    stdout,
    stderr,
    exit: main.exit.then(
      () => 0,
      () => 0,
    ),
    resize: (columns, rows) => main.resize?.(columns, rows),
    kill() {
      stdin.unpipe(main.stdin);
      main.stdout.unpipe(stdout);
      main.stderr.unpipe(stderr);
      // A pipe that stood still would stop the process.
      main.stdout.resume();
      main.stderr.resume();
      stdout.end();
      stderr.end();
    },
  };
}

/** In the environment of every program of a pod: whose it is, also when it left its process group. */
export const podMark = 'PODWALL_POD';

/**
 * Kills what still runs for a pod that has no network of its own to be found by. A program that
 * cleared its environment is not found.
 */
export function endMarked(uid: string): void {
  const mark = Buffer.from(`${podMark}=${uid}\0`);
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (readFileSync(`/proc/${name}/environ`).includes(mark))
        process.kill(Number(name), 'SIGKILL');
    } catch {
      // Ended meanwhile.
    }
  }
}

/** Asks programs to end, and ends those that are left when the grace is over. */
export async function endProcesses(
  processes: ReadonlySet<PodProcess>,
  graceMs: number,
): Promise<void> {
  if (processes.size === 0) return;
  const all = [...processes];
  for (const one of all) one.signal('SIGTERM');
  const done = Promise.all(all.map((one) => one.ended.catch(() => 0)));
  const patience = sleep(graceMs, 'late' as const, { ref: false });
  // The daemon kills whatever is left in the pod's network.
  if ((await Promise.race([done, patience])) === 'late') for (const one of all) one.kill();
}
