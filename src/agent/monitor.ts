/**
 * Listens to `nft monitor` and says when our table was touched. Must not know who touched it; the
 * loop decides.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { createBackoff } from '../client/backoff.ts';
import { systemClock } from '../system/clock.ts';

export interface MonitorOptions {
  readonly table: string;
  /** Network namespace file to listen in. */
  readonly netns?: string | undefined;
  /** One line of nft monitor that names our table (or its twin `_b`). */
  readonly onTouched: (line: string) => void;
  readonly onTrouble?: (message: string) => void;
  readonly signal: AbortSignal;
}

/** Runs until the signal; starts nft anew when it ends. Without nft monitor only the audit finds drift. */
export async function watchTable(options: MonitorOptions): Promise<void> {
  const backoff = createBackoff();
  const touched = new RegExp(`\\binet ${options.table}(_b)?\\b`);
  const [program, args] =
    options.netns === undefined
      ? ['nft', ['monitor']]
      : ['nsenter', [`--net=${options.netns}`, 'nft', 'monitor']];
  while (!options.signal.aborted) {
    await new Promise<void>((resolve) => {
      const child = spawn(program, args, {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, HOME: '/nonexistent', LC_ALL: 'C' },
      });
      const kill = (): void => void child.kill('SIGKILL');
      options.signal.addEventListener('abort', kill, { once: true });
      let words = '';
      child.stderr.on('data', (data: Buffer) => {
        words = (words + data.toString('utf8')).slice(-500);
      });
      createInterface({ input: child.stdout }).on('line', (line) => {
        if (touched.test(line)) options.onTouched(line);
      });
      const end = (why: string): void => {
        options.signal.removeEventListener('abort', kill);
        if (!options.signal.aborted)
          options.onTrouble?.(`nft monitor ended: ${words.trim() || why}`);
        resolve();
      };
      child.once('error', (error) => end(error.message));
      child.once('close', (code, signal) => end(`exit ${code ?? signal}`));
    });
    if (!options.signal.aborted) await systemClock.sleep(backoff.next(), options.signal);
  }
}
