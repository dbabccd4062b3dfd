/**
 * A lab of a test's own, started and ended by the command line in this process, with a kubeconfig for
 * stock clients.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import type { Io } from '../../src/cli/command.ts';
import { runCli } from '../../src/cli/main.ts';
import { connectLab, LabUnavailable, startLab } from '../../src/lab/index.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Why no lab can run here; undefined when one can. */
export async function whyNoLab(): Promise<string | undefined> {
  try {
    await (await startLab({ outside: [] }, { lifetime: 'parent' })).down();
    return undefined;
  } catch (error) {
    if (error instanceof LabUnavailable) return `${error.reason}; ${error.remedy}`;
    throw error;
  }
}

export interface CliLab {
  /** A directory of this lab alone; removed at the end. */
  readonly runtime: string;
  readonly kubeconfig: string;
  /** What clients need in their environment. */
  readonly env: Readonly<Record<string, string>>;
  podwall(...argv: string[]): Promise<{ readonly code: number; readonly text: string }>;
  /** `podwall lab up` with more arguments; expects success. */
  up(...argv: string[]): Promise<void>;
  end(): Promise<void>;
}

/** Nothing is started before `up`. Labs of one process cannot be used at the same time. */
export function createCliLab(prefix: string): CliLab {
  const runtime = mkdtempSync(join(tmpdir(), prefix));
  const kubeconfig = join(runtime, 'podwall', 'kubeconfig');
  const previous = process.env['XDG_RUNTIME_DIR'];
  const podwall = async (...argv: string[]): Promise<{ code: number; text: string }> => {
    let text = '';
    const io: Io = {
      out: (part) => void (text += part),
      err: (part) => void (text += part),
      stdin: process.stdin,
      isTty: false,
      color: false,
      columns: 100,
      env: process.env,
      cwd: root,
      signal: new AbortController().signal,
    };
    return { code: await runCli(argv, io), text };
  };
  return {
    runtime,
    kubeconfig,
    env: { KUBECONFIG: kubeconfig, HOME: runtime },
    podwall,
    async up(...argv) {
      process.env['XDG_RUNTIME_DIR'] = runtime;
      const up = await podwall('lab', 'up', ...argv);
      expect(up, up.text).toMatchObject({ code: 0 });
    },
    async end() {
      await (await connectLab())?.down();
      if (previous === undefined) delete process.env['XDG_RUNTIME_DIR'];
      else process.env['XDG_RUNTIME_DIR'] = previous;
      rmSync(runtime, { recursive: true, force: true });
    },
  };
}
