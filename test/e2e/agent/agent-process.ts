/**
 * `podwall agent` as a process over a node of a bed and a fake API. Must not know what a test wants of
 * it.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { AgentStatus } from '../../../src/agent/agent.ts';
import { askSocket } from '../../../src/agent/http.ts';
import type { FakeApi } from '../../client/fake-api.ts';

export interface AgentProcess {
  readonly child: ChildProcess;
  readonly log: { msg: string; [key: string]: unknown }[];
  status(): Promise<AgentStatus>;
  /** Waits for a line of the log that contains the text. */
  says(text: string, ms?: number): Promise<void>;
  /** Waits until it has ended by itself or by `end`. */
  readonly ended: Promise<void>;
  end(signal: NodeJS.Signals): Promise<void>;
}

export interface AgentStart {
  readonly node: string;
  /** Network namespace file. */
  readonly netns: string;
  readonly api: FakeApi;
  readonly flags?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
}

export interface AgentHome {
  start(options: AgentStart): AgentProcess;
  /** Ends what still runs and removes all files. */
  close(): Promise<void>;
}

const converged = 'the kernel is equal to the cluster';
export { converged };

export function agentHome(): AgentHome {
  const directory = mkdtempSync(join(tmpdir(), 'podwall-agent-'));
  const running = new Set<AgentProcess>();
  let serial = 0;
  return {
    start: ({ node, netns, api, flags = [], env = {} }) => {
      const name = join(directory, `${node}-${++serial}`);
      const kubeconfig = `${name}.conf`;
      const socket = `${name}.sock`;
      writeFileSync(
        kubeconfig,
        JSON.stringify({
          apiVersion: 'v1',
          kind: 'Config',
          'current-context': 'test',
          clusters: [{ name: 'c', cluster: { server: api.url } }],
          users: [{ name: 'u', user: { token: api.token ?? 'none' } }],
          contexts: [{ name: 'test', context: { cluster: 'c', user: 'u' } }],
        }),
      );
      const child = spawn(
        process.execPath,
        [
          '--import',
          import.meta.resolve('tsx'),
          new URL('../cli-process.ts', import.meta.url).pathname,
          'agent',
          '--node',
          node,
          '--netns',
          netns,
          '--kubeconfig',
          kubeconfig,
          '--socket',
          socket,
          '--listen',
          '',
          '--state-file',
          join(directory, `${node}.state`),
          ...flags,
        ],
        { stdio: ['ignore', 'inherit', 'pipe'], env: { ...process.env, ...env } },
      );
      const log: AgentProcess['log'] = [];
      let heard: () => void = () => {};
      createInterface({ input: child.stderr as NodeJS.ReadableStream }).on('line', (line) => {
        try {
          log.push(JSON.parse(line) as { msg: string });
        } catch {
          log.push({ msg: line });
        }
        heard();
      });
      const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
      const agent: AgentProcess = {
        child,
        log,
        ended,
        status: async () => (await askSocket(socket, '/status')) as AgentStatus,
        says: (text, ms = 30_000) =>
          new Promise((resolve, reject) => {
            const look = (): void => {
              if (!log.some(({ msg }) => msg.includes(text))) return;
              clearTimeout(timer);
              resolve();
            };
            const timer = setTimeout(
              () =>
                reject(
                  new Error(
                    `the agent of ${node} did not say within ${ms} ms: ${text}\n${log.map((line) => JSON.stringify(line)).join('\n')}`,
                  ),
                ),
              ms,
            );
            heard = look;
            look();
          }),
        end: async (signal) => {
          if (child.exitCode === null && child.signalCode === null) {
            child.kill(signal);
            await ended;
          }
          running.delete(agent);
        },
      };
      running.add(agent);
      return agent;
    },
    close: async () => {
      for (const agent of running) await agent.end('SIGKILL');
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
