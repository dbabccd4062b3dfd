/**
 * A pod runtime without a network: addresses are only numbers, commands run on the host. For tests
 * and for measuring the API alone; it isolates nothing.
 */
import { spawn } from 'node:child_process';
import { connect } from 'node:net';
import { constants } from 'node:os';
import { PassThrough, type Readable } from 'node:stream';
import { stringAt } from './object.ts';
import { spawnOnTerminal } from './pty.ts';
import type { ContainerChange, ExecSession, PodRuntime } from './runtime.ts';

/** A process of the host as a session. Errors of the start reject `exit`. */
function spawnPlain(command: readonly string[]): ExecSession {
  const [program = '', ...args] = command;
  const child = spawn(program, args, { stdio: 'pipe', detached: true });
  const exit = new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      resolve(code ?? 128 + (signal ? constants.signals[signal] : 0));
    });
  });
  exit.catch(() => {});
  return {
    stdin: child.stdin,
    stdout: child.stdout,
    stderr: child.stderr,
    exit,
    kill() {
      if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {
        // Already gone.
      }
    },
  };
}

export interface FakeRuntime extends PodRuntime {
  /** Ends a container as if its process had, for good. */
  exitContainer(exit: { uid: string; container: string; exitCode: number }): void;
  /** Says what a container does. */
  change(change: ContainerChange): void;
  readonly running: ReadonlySet<string>;
}

/** `startMs`: how long a pod takes to become ready. */
export function createFakeRuntime(options: { readonly startMs?: number } = {}): FakeRuntime {
  const running = new Set<string>();
  const listeners: ((change: ContainerChange) => void)[] = [];
  const tell = (change: ContainerChange): void => {
    for (const listener of listeners) listener(change);
  };
  let next = 0;
  return {
    running,
    async start(pod) {
      if (options.startMs) await new Promise((resolve) => setTimeout(resolve, options.startMs));
      next += 1;
      running.add(pod.metadata.uid ?? '');
      const ip = `10.244.${(next >> 8) & 255}.${next & 255}`;
      return { podIPs: [ip], hostIP: stringAt(pod, 'status', 'hostIP') || '172.18.0.2' };
    },
    stop(uid) {
      running.delete(uid);
      return Promise.resolve();
    },
    exec: (_ref, { command, tty }) =>
      Promise.resolve(tty ? spawnOnTerminal(command) : spawnPlain(command)),
    attach: (_ref, { tty }) =>
      Promise.resolve(tty ? spawnOnTerminal(['cat']) : spawnPlain(['cat'])),
    logs(ref, { follow }): Promise<Readable> {
      const log = new PassThrough();
      log.write(`hello from ${ref.name}/${ref.container}\n`);
      if (!follow) log.end();
      return Promise.resolve(log);
    },
    dial: (_ref, port) =>
      new Promise((resolve, reject) => {
        const socket = connect(port, '127.0.0.1', () => {
          resolve(socket);
        });
        socket.once('error', reject);
      }),
    onChange(listener) {
      listeners.push(listener);
    },
    change: tell,
    exitContainer({ uid, container, exitCode }) {
      const now = Date.now();
      const state = { kind: 'terminated', exitCode, startedAt: now, finishedAt: now } as const;
      tell({ uid, container, state, restartCount: 0 });
    },
  };
}
