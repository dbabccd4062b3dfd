/**
 * The API's process as its daemon sees it: how it is started, what it says, and that its end is
 * noticed. Must not know what the API serves.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { toWire } from './control.ts';
import { LabError } from './errors.ts';
import { scriptArgs, scriptEnv } from './scripts.ts';
import type { ApiStatus, LabConfig } from './types.ts';

/** What the daemon writes on the API's standard input, one line. */
export interface ApiOrder {
  readonly config: LabConfig;
  readonly stateDir: string;
  /** Nodes have agents, which reach the API over the lab's own network. */
  readonly agents: boolean;
  /** Objects are kept in this file; absent: only as long as the lab lives. */
  readonly stateFile?: string;
}

/** What the API writes on standard output, one line. */
export type ApiNews =
  | { readonly kind: 'ready'; readonly status: Omit<ApiStatus, 'pid'> }
  | { readonly kind: 'failed'; readonly error: ReturnType<typeof toWire> };

/** Written for the agents, where only the lab's processes see it. */
export const agentKubeconfig = '/run/podwall-agents.kubeconfig';

/** The agents' token, beside the kubeconfig that names it: it may be replaced while they run. */
export const agentTokenFile = '/run/podwall-agents.token';

/** Where the socket that listens on the host's loopback is inherited. */
export const apiSocketFd = 3;

function spawnApi(): ChildProcess {
  return spawn(process.execPath, scriptArgs('api-main'), {
    stdio: ['pipe', 'pipe', 'inherit', apiSocketFd],
    env: scriptEnv(),
    cwd: '/',
  });
}

/**
 * Starts the API. Resolves when it answers; `onEnd` is called when it ends after that. It needs no
 * supervision in the other direction: it dies with the daemon's process namespace.
 */
export function startApi(
  order: ApiOrder,
  onEnd: (code: number | null) => void,
  child: ChildProcess = spawnApi(),
): Promise<ApiStatus> {
  const { stdin, stdout } = child;
  return new Promise((resolve, reject) => {
    if (stdin === null || stdout === null) return reject(new LabError('the API has no pipes'));
    let ready = false;
    child.once('error', reject);
    child.once('exit', (code) => {
      if (ready) onEnd(code);
      else reject(new LabError('the API ended while it started'));
    });
    stdin.on('error', () => {});
    createInterface({ input: stdout }).on('line', (line) => {
      const news = JSON.parse(line) as ApiNews;
      if (news.kind === 'failed') return reject(new LabError(`the API: ${news.error.message}`));
      ready = true;
      resolve({ ...news.status, pid: child.pid ?? 0 });
    });
    stdin.write(`${JSON.stringify(order)}\n`);
  });
}
