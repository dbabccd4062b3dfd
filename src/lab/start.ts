/**
 * Starts a lab: checks the tools, makes the namespaces, runs the daemon in them and waits until it is
 * ready. Must not know what a lab does once it runs.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import {
  accessSync,
  constants,
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  readdirSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, dirname, join, resolve as resolvePath } from 'node:path';
import { createInterface } from 'node:readline';
import { openLab } from './client.ts';
import { completeLabConfig } from './config.ts';
import { callControl, fromWire } from './control.ts';
import type { DaemonNews, DaemonOrder } from './daemon.ts';
import { LabError, LabUnavailable } from './errors.ts';
import { scriptArgs, scriptEnv, searchPath } from './scripts.ts';
import {
  controlPath,
  logPath,
  makePrivateStateDir,
  makeStateDir,
  removeStaleSocket,
  removeStateDir,
  sharedStateDir,
  sweepPrivateStateDirs,
} from './state-dir.ts';
import type { Lab, LabConfig, LabLifetime } from './types.ts';

export interface StartOptions {
  /** Default `detached`. */
  readonly lifetime?: LabLifetime;
  /** Objects are kept by a Kubernetes API on this machine's loopback. Default false. */
  readonly api?: boolean;
  /** Every node gets an agent of its own that enforces; only with `api`. Default false. */
  readonly agents?: boolean;
  /**
   * Keeps the objects in this file; a lab that starts with it has them again, and the shape they were
   * made for. Only with `api`.
   */
  readonly stateFile?: string;
  readonly onProgress?: (text: string) => void;
  /** Aborting while it starts takes everything back and rejects with the reason. */
  readonly signal?: AbortSignal;
}

const tools: readonly { readonly program: string; readonly debianPackage: string }[] = [
  { program: 'ip', debianPackage: 'iproute2' },
  { program: 'nft', debianPackage: 'nftables' },
  { program: 'unshare', debianPackage: 'util-linux' },
  { program: 'nsenter', debianPackage: 'util-linux' },
  { program: 'mount', debianPackage: 'mount' },
];

/** Programs the lab needs and cannot find, with the Debian package of each. */
export function missingTools(
  directories: readonly string[] = searchPath().split(delimiter),
): { readonly program: string; readonly debianPackage: string }[] {
  return tools.filter(
    ({ program }) => !directories.some((directory) => isExecutable(join(directory, program))),
  );
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function checkPlatform(): void {
  if (process.platform !== 'linux') {
    throw new LabUnavailable(
      `it needs Linux network namespaces and this is ${process.platform}`,
      'use a Linux machine or virtual machine',
    );
  }
  const missing = missingTools();
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map((tool) => tool.debianPackage))];
  throw new LabUnavailable(
    `${missing.map((tool) => tool.program).join(', ')} not found`,
    `install the package${packages.length > 1 ? 's' : ''}: apt-get install ${packages.join(' ')}`,
  );
}

/** The API's certificate is made by openssl; only a lab with an API needs it. */
function checkApi(): void {
  const found = searchPath().split(delimiter);
  if (found.some((directory) => isExecutable(join(directory, 'openssl')))) return;
  throw new LabUnavailable('openssl not found', 'install the package: apt-get install openssl');
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/**
 * Runs as the first process of the new namespaces. `ip netns` keeps its names under /run, which must
 * not be the host's; a directory that lies there and is needed is bound back through an open descriptor, whose
 * path `mount` must not resolve: it would come out at the new, empty directory. The shell stays as the
 * process that collects orphans, and ends with the daemon.
 */
const boot = `
set -e
dir=$1; kept=$2; shift 2
exec 9<"$dir" 7<"$kept" 8<&0
mount -t tmpfs -o mode=755,nosuid,nodev podwall-run /run
mkdir -p /run/netns
if [ ! -d "$dir" ]; then
  mkdir -p "$dir"
  mount --no-canonicalize --bind /proc/self/fd/9 "$dir"
fi
if [ ! -d "$kept" ]; then
  mkdir -p "$kept"
  mount --no-canonicalize --bind /proc/self/fd/7 "$kept"
fi
PODWALL_LAB=inside "$@" <&8 7<&- 8<&- 9<&- &
exec 0</dev/null 7<&- 8<&- 9<&-
wait $!
`;

/**
 * Starts the real lab. Throws `LabUnavailable` when this machine or user cannot, `LabError` when a
 * detached lab already runs.
 */
export async function startLab(
  config: Partial<LabConfig> = {},
  options: StartOptions = {},
): Promise<Lab> {
  const { lifetime = 'detached', api = false, agents = false, onProgress, signal } = options;
  signal?.throwIfAborted();
  const stateFile = options.stateFile === undefined ? undefined : resolvePath(options.stateFile);
  const kept = stateFile === undefined ? undefined : await keptShape(stateFile);
  const complete = shapeFor(config, kept, stateFile);
  checkPlatform();
  if (api) checkApi();
  await sweepPrivateStateDirs(async (stateDir) => !(await answers(stateDir)));
  const stateDir = lifetime === 'parent' ? await makePrivateStateDir() : sharedStateDir();
  if (lifetime === 'detached') {
    await makeStateDir(stateDir);
    if (await answers(stateDir)) throw new LabError('a lab is already running');
    await removeStaleSocket(stateDir);
  }
  onProgress?.('making namespaces');
  const door = api ? await openDoor() : undefined;
  const child = spawnDaemon(
    stateDir,
    stateFile === undefined ? stateDir : dirname(stateFile),
    door?.fd,
  );
  door?.close();
  try {
    await becomeReady(
      child,
      {
        config: complete,
        stateDir,
        lifetime,
        api,
        agents: api && agents,
        ...(stateFile === undefined ? {} : { stateFile }),
      },
      options,
    );
    if (!(await answers(stateDir)))
      throw new LabError('the lab runs, but its socket cannot be reached');
  } catch (error) {
    child.kill('SIGKILL');
    // Two that start at once share the directory; the one that lost must not take the other's socket.
    if (lifetime === 'parent' || !(await answers(stateDir))) await removeStateDir(stateDir);
    throw error;
  }
  if (lifetime === 'detached') child.stdin?.destroy();
  // A lab that lives with us must not keep us alive: its end of the pipe closes when we end.
  else unref(child.stdin);
  child.stdout?.destroy();
  child.unref();
  return openLab(stateDir);
}

/** Shape of the lab whose objects a file keeps; undefined when there is no file yet. */
export async function keptShape(stateFile: string): Promise<LabConfig | undefined> {
  // Only now: it knows every kind served, which most commands have no use for.
  const { loadState } = await import('./api/state-file.ts');
  const saved = await loadState(stateFile);
  return saved === undefined ? undefined : completeLabConfig(saved.shape as Partial<LabConfig>);
}

/** Pods stand on nodes and services have families: a kept lab comes back in its own shape. */
function shapeFor(
  wanted: Partial<LabConfig>,
  kept: LabConfig | undefined,
  stateFile = '',
): LabConfig {
  if (kept === undefined) return completeLabConfig(wanted);
  const complete = completeLabConfig({ ...kept, ...wanted });
  for (const part of ['nodes', 'stack'] as const) {
    if (JSON.stringify(complete[part]) === JSON.stringify(kept[part])) continue;
    throw new LabError(
      `${stateFile} keeps a lab with ${part} ${String(kept[part])}, not ${String(complete[part])}; ` +
        `leave out the option, or name another file`,
    );
  }
  return complete;
}

function unref(stream: unknown): void {
  (stream as { unref?: () => void } | null)?.unref?.();
}

/** The detached lab of this user, if one runs. Removes what a killed one left. */
export async function connectLab(): Promise<Lab | undefined> {
  const stateDir = sharedStateDir();
  if (await answers(stateDir)) return openLab(stateDir);
  // Without a socket it may be a lab that is just starting.
  if (existsSync(controlPath(stateDir))) await removeStateDir(stateDir);
  return undefined;
}

/** A daemon holds the socket, ready or not. */
async function answers(stateDir: string): Promise<boolean> {
  try {
    await callControl(controlPath(stateDir), 'status', null);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code !== 'ENOENT' && code !== 'ECONNREFUSED' && code !== 'ENOTDIR';
  }
}

/**
 * The API's socket, made here: a socket stays in the network it was made in, so that kubectl reaches
 * it on this machine's loopback while the process that serves it lives and dies inside the lab.
 */
async function openDoor(): Promise<{ readonly fd: number; close(): void }> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { fd = -1 } = (server as unknown as { _handle?: { fd?: number } })._handle ?? {};
  if (fd < 0) throw new LabError('this Node.js does not tell the descriptor of a socket');
  return { fd, close: () => server.close() };
}

function spawnDaemon(stateDir: string, kept: string, door: number | undefined): ChildProcess {
  const log = openSync(logPath(stateDir), 'a', 0o600);
  const user = isRoot() ? [] : ['--user', '--map-root-user'];
  const namespaces = [
    ...user,
    '--net',
    '--mount',
    '--pid',
    '--fork',
    '--kill-child',
    '--mount-proc',
  ];
  const daemon = [process.execPath, ...scriptArgs('daemon')];
  try {
    return spawn('unshare', [...namespaces, 'sh', '-c', boot, 'sh', stateDir, kept, ...daemon], {
      // Its own session: Ctrl-C in the terminal is for the command, which then says what shall end.
      detached: true,
      // Descriptor 3 is `apiSocketFd`.
      stdio: ['pipe', 'pipe', log, ...(door === undefined ? [] : [door])],
      env: scriptEnv(),
      cwd: '/',
    });
  } finally {
    closeSync(log);
  }
}

function becomeReady(
  child: ChildProcess,
  given: Pick<DaemonOrder, 'config' | 'stateDir' | 'lifetime' | 'api' | 'agents' | 'stateFile'>,
  options: StartOptions,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const { signal, onProgress } = options;
    const abort = (): void => settle(() => reject(signal?.reason as Error));
    const settle = (act: () => void): void => {
      signal?.removeEventListener('abort', abort);
      act();
    };
    if (signal?.aborted === true) return abort();
    signal?.addEventListener('abort', abort, { once: true });
    child.once('error', (error) => settle(() => reject(error)));
    let began = false;
    child.once('exit', () => {
      const log = readLog(given.stateDir);
      settle(() => reject(began ? endedEarly(log) : explainExit(log)));
    });
    child.stdin?.on('error', () => {});
    if (child.stdout === null) return reject(new LabError('the lab has no standard output'));
    createInterface({ input: child.stdout }).on('line', (line) => {
      const news = JSON.parse(line) as DaemonNews;
      if (news.kind === 'hello') {
        began = true;
        const order: DaemonOrder = {
          ...given,
          privileges: isRoot() ? 'root' : 'user namespace',
          hostPid: firstChild(child.pid ?? 0),
        };
        child.stdin?.write(`${JSON.stringify(order)}\n`);
      } else if (news.kind === 'progress') {
        onProgress?.(news.text);
      } else if (news.kind === 'failed') {
        settle(() => reject(fromWire(news.error)));
      } else {
        child.removeAllListeners('exit');
        settle(resolve);
      }
    });
  });
}

/** The process that `unshare` forked: the first one of the new namespaces. */
function firstChild(pid: number): number {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    if (children !== '') return Number(children.split(' ')[0]);
  } catch {
    // Kernels without CONFIG_PROC_CHILDREN: look for it the long way.
  }
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (Number(fields[1]) === pid) return Number(name);
    } catch {
      // Ended meanwhile.
    }
  }
  throw new LabError('the first process of the lab cannot be found in /proc');
}

function readLog(stateDir: string): string {
  try {
    return readFileSync(logPath(stateDir), 'utf8').trim();
  } catch {
    return '';
  }
}

function readSetting(path: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/${path}`, 'utf8').trim();
  } catch {
    return undefined;
  }
}

function endedEarly(log: string): Error {
  return new LabError(`the lab ended while it started: ${log || 'it said nothing'}`);
}

/** The daemon never said hello: nearly always the kernel refused the namespaces. */
function explainExit(log: string): Error {
  const last = log.split('\n').at(-1) ?? '';
  const refused = /permitted|denied|unshare|mount|No space left|Invalid argument/i.test(log);
  if (!refused) return endedEarly(log);
  if (isRoot()) {
    return new LabUnavailable(
      `root may not make namespaces here: ${last}`,
      'in a container: start it with the SYS_ADMIN and NET_ADMIN capabilities (docker run --privileged)',
    );
  }
  return new LabUnavailable(`this user may not make namespaces: ${last}`, userNamespaceRemedy());
}

/** What would let a plain user make a user namespace on this machine. */
export function userNamespaceRemedy(
  read: (path: string) => string | undefined = readSetting,
): string {
  const lines: string[] = [];
  if (read('kernel/unprivileged_userns_clone') === '0') {
    lines.push('as root: sysctl kernel.unprivileged_userns_clone=1');
  }
  const apparmor = read('kernel/apparmor_restrict_unprivileged_userns');
  if (apparmor !== undefined && apparmor !== '0') {
    lines.push('as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0');
  }
  if (read('user/max_user_namespaces') === '0') {
    lines.push('as root: sysctl user.max_user_namespaces=10000');
  }
  lines.push(lines.length === 0 ? 'run it as root' : 'or run it as root');
  return lines.join('\n');
}
