/**
 * Where a lab keeps its control socket: one directory per user for the lab that outlives its command,
 * a fresh one for a lab that does not. Must not know what is said over the socket.
 */
import { lstat, mkdir, mkdtemp, readdir, rm, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LabError } from './errors.ts';

/** The kernel's limit for the path of a Unix socket, with its end mark. */
const socketPathLimit = 108;
const privatePrefix = 'podwall-lab-';

/** Not `os.userInfo`: containers run as users that no file names. */
function ownId(): number {
  return process.getuid?.() ?? 0;
}

/** The directory of this user's detached lab. */
export function sharedStateDir(env: NodeJS.ProcessEnv = process.env): string {
  const runtime = env['XDG_RUNTIME_DIR'];
  if (runtime !== undefined && runtime.startsWith('/')) return join(runtime, 'podwall');
  return join(tmpdir(), `podwall-${ownId()}`);
}

export function controlPath(stateDir: string): string {
  return join(stateDir, 'control.sock');
}

/** Where the API's process takes the calls that change objects. */
export function apiControlPath(stateDir: string): string {
  return join(stateDir, 'api.sock');
}

/** Where the API's process takes orders for faults. */
export function faultSocketPath(stateDir: string): string {
  return join(stateDir, 'faults.sock');
}

export function kubeconfigPath(stateDir: string): string {
  return join(stateDir, 'kubeconfig');
}

/** Everything a lab may leave in its directory, besides what somebody else keeps there. */
export function labFiles(stateDir: string): string[] {
  return [
    controlPath(stateDir),
    apiControlPath(stateDir),
    faultSocketPath(stateDir),
    kubeconfigPath(stateDir),
    logPath(stateDir),
  ];
}

export function logPath(stateDir: string): string {
  return join(stateDir, 'daemon.log');
}

/** Makes the directory, for its owner only. Refuses one that somebody else made. */
export async function makeStateDir(stateDir: string): Promise<void> {
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const stats = await lstat(stateDir);
  if (!stats.isDirectory() || stats.uid !== ownId() || (stats.mode & 0o077) !== 0) {
    throw new LabError(`${stateDir} is not a directory that only you can open; remove it`);
  }
  checkLength(stateDir);
}

/** A directory for a lab that ends with its parent. */
export async function makePrivateStateDir(): Promise<string> {
  const stateDir = await mkdtemp(join(tmpdir(), privatePrefix));
  checkLength(stateDir);
  return stateDir;
}

function checkLength(stateDir: string): void {
  if (Buffer.byteLength(controlPath(stateDir)) < socketPathLimit) return;
  throw new LabError(`the path ${stateDir} is too long for a socket; set TMPDIR to a shorter one`);
}

/** Removes what a lab put there, and the directory when nothing else is in it. */
export async function removeStateDir(stateDir: string): Promise<void> {
  for (const file of labFiles(stateDir)) await rm(file, { force: true });
  try {
    await rmdir(stateDir);
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST', 'ENOTDIR'].includes(code)) throw error;
  }
}

export async function removeStaleSocket(stateDir: string): Promise<void> {
  await rm(controlPath(stateDir), { force: true });
  await rm(apiControlPath(stateDir), { force: true });
  await rm(faultSocketPath(stateDir), { force: true });
}

/** Own private directories that `isDead` says have no lab any more: both it and its parent were killed. */
export async function sweepPrivateStateDirs(
  isDead: (stateDir: string) => Promise<boolean>,
): Promise<void> {
  const base = tmpdir();
  for (const name of await readdir(base)) {
    if (!name.startsWith(privatePrefix)) continue;
    const stateDir = join(base, name);
    const stats = await lstat(stateDir).catch(() => undefined);
    // One that is a minute old has had time to get its socket.
    const old = stats !== undefined && Date.now() - stats.mtimeMs > 60_000;
    if (old && stats.uid === ownId() && (await isDead(stateDir))) {
      await removeStateDir(stateDir);
    }
  }
}
