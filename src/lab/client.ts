/**
 * A running lab seen from a command: every call goes over the control socket, programs are run
 * straight from here so that terminal, signals and exit code are the caller's. Must not start labs.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { KubeObject } from '../k8s/types.ts';
import { callControl } from './control.ts';
import { LabError } from './errors.ts';
import { searchPath } from './scripts.ts';
import { apiControlPath, controlPath, removeStateDir } from './state-dir.ts';
import type {
  ApplyResult,
  ExecOptions,
  ExecResult,
  Lab,
  LabObject,
  LabPort,
  LabStatus,
  ObjectRef,
  ProbeReport,
  ProbeRequest,
} from './types.ts';

/** How long namespaces may take to end before they are killed. */
const downGraceMs = 5_000;

/** A lab whose daemon listens in `stateDir`. Opens nothing: each call has a connection of its own. */
export function openLab(stateDir: string): Lab {
  const callAt = async <T>(
    path: string,
    method: string,
    params: unknown = null,
    onProgress?: (text: string) => void,
  ): Promise<T> => {
    try {
      return (await callControl(path, method, params, { onProgress })) as T;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ECONNREFUSED') throw new LabError('the lab has ended');
      throw error;
    }
  };
  const call = <T>(
    method: string,
    params: unknown = null,
    onProgress?: (text: string) => void,
  ): Promise<T> => callAt(controlPath(stateDir), method, params, onProgress);
  /** Who keeps the objects: the API where there is one, else the daemon. */
  const keeper = <T>(method: string, params: unknown = null): Promise<T> => {
    const api = apiControlPath(stateDir);
    return callAt(existsSync(api) ? api : controlPath(stateDir), method, params);
  };
  const status = (): Promise<LabStatus> => call('status');
  return {
    simulated: false,
    apply: (objects): Promise<ApplyResult> => keeper('apply', objects.map(asLabObject)),
    delete: (refs: readonly ObjectRef[]): Promise<ApplyResult> => keeper('delete', refs),
    objects: (): Promise<KubeObject[]> => keeper('objects'),
    async get(kind, options = {}) {
      const objects = await keeper<KubeObject[]>('objects');
      return selectObjects(objects, kind, options);
    },
    async exec(endpoint, argv, options = {}): Promise<ExecResult> {
      const { netns, pid } = await call<{ netns: string; pid: number }>('where', endpoint);
      return execInside(pid, netns, argv, options);
    },
    probe: (request: ProbeRequest = {}, onProgress): Promise<ProbeReport> =>
      call('probe', request, onProgress),
    closeListener: (endpoint: string, port: LabPort): Promise<void> =>
      call('closeListener', { endpoint, port }),
    status,
    async down() {
      let pid: number | undefined;
      let unsaved: unknown;
      try {
        const { pid: first, stateFile } = await status();
        pid = first;
        if (stateFile !== undefined) {
          await keeper('save').catch((error: unknown) => (unsaved = error));
        }
        await call('down');
      } catch (error) {
        // Already gone, or going: what is left is the directory.
        if (!(error instanceof LabError)) throw error;
      }
      if (pid !== undefined) await ended(pid);
      await removeStateDir(stateDir);
      if (unsaved !== undefined) {
        const why = unsaved instanceof Error ? unsaved.message : 'the API did not answer';
        throw new LabError(`the lab is down, but its last changes are lost: ${why}`);
      }
    },
  };
}

export function asLabObject(given: KubeObject | LabObject): LabObject {
  return 'object' in given ? given : { object: given };
}

/** Objects of one kind, in the order of namespace and name. */
export function selectObjects(
  objects: readonly KubeObject[],
  kind: string,
  options: { namespace?: string; name?: string },
): KubeObject[] {
  const { namespace, name } = options;
  return objects
    .filter(
      (object) =>
        object.kind === kind &&
        (namespace === undefined || object.metadata.namespace === namespace) &&
        (name === undefined || object.metadata.name === name),
    )
    .toSorted(
      (a, b) =>
        compare(a.metadata.namespace, b.metadata.namespace) ||
        compare(a.metadata.name, b.metadata.name),
    );
}

function compare(a = '', b = ''): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function ended(pid: number): Promise<void> {
  const deadline = Date.now() + downGraceMs;
  while (isAlive(pid)) {
    if (Date.now() > deadline) process.kill(pid, 'SIGKILL');
    await sleep(10);
  }
}

/** Runs in the caller's directory when the lab sees it; a missing program is the shell's 127. */
const runner = 'cd "$1" 2>/dev/null || cd /; shift; exec "$@"';

function execInside(
  pid: number,
  netns: string,
  argv: readonly string[],
  options: ExecOptions,
): Promise<ExecResult> {
  const { stdio = 'capture', stdin = '', env = process.env, signal } = options;
  if (argv.length === 0) return Promise.reject(new LabError('exec needs a command'));
  // A lab of a plain user is entered through its user namespace, by root as well.
  const user = inOtherUserNamespace(pid) ? ['--user', '--preserve-credentials'] : [];
  const enter = [`--target=${pid}`, ...user, '--mount', '--pid', `--net=/proc/${pid}/root${netns}`];
  const args = [...enter, '--', 'sh', '-c', runner, 'podwall', process.cwd(), ...argv];
  return new Promise((resolve, reject) => {
    const child = spawn('nsenter', args, {
      stdio: stdio === 'inherit' ? 'inherit' : 'pipe',
      env: { ...env, PATH: searchPath(env) },
    });
    let stdout = '';
    let stderr = '';
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
    child.stdin?.on('error', () => {});
    child.stdin?.end(stdin);
    const abort = (): void => killTree(child);
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted === true) abort();
    child.on('error', reject);
    child.on('close', (code, exitSignal) => {
      signal?.removeEventListener('abort', abort);
      resolve({ code: code ?? 128 + signalNumber(exitSignal), stdout, stderr });
    });
  });
}

function signalNumber(name: NodeJS.Signals | null): number {
  return name === null ? 0 : constants.signals[name];
}

function inOtherUserNamespace(pid: number): boolean {
  return namespaceId(pid) !== namespaceId('self');
}

function namespaceId(pid: number | 'self'): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/user`);
  } catch {
    return '';
  }
}

/** nsenter waits outside for the program inside; both must end. */
function killTree(child: ChildProcess): void {
  const kill = (pid: number): void => {
    for (const inner of childrenOf(pid)) kill(inner);
    try {
      process.kill(pid, 'SIGTERM');
    } catch {
      // Ended meanwhile.
    }
  };
  if (child.pid !== undefined) kill(child.pid);
}

function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return text === '' ? [] : text.split(' ').map(Number);
  } catch {
    return [];
  }
}
