/**
 * The log of one container: its last lines with their times, and followers of what comes. Must not
 * know where the lines come from.
 */
import { PassThrough, type Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import type { LogOptions } from './api/runtime.ts';

export interface PodLog {
  /** One line without its end, of now unless `at` says when. */
  add(line: string, at?: number): void;
  /** What a program wrote; lines are put together again. */
  take(stream: Readable): void;
  read(options: LogOptions): Readable;
  /** No more will come: followers see the end. */
  end(): void;
}

/** The logs of the runs of one container: of this one and of the one before. */
export interface ContainerLog {
  current(): PodLog;
  previous(): PodLog | undefined;
  /** A new run begins. */
  next(): PodLog;
}

export function createContainerLog(): ContainerLog {
  let current = createPodLog();
  let previous: PodLog | undefined;
  return {
    current: () => current,
    previous: () => previous,
    next() {
      current.end();
      previous = current;
      current = createPodLog();
      return current;
    },
  };
}

/** Lines kept of each container. */
const linesKept = 2_000;

export function createPodLog(): PodLog {
  let lines: { readonly at: number; readonly text: string }[] = [];
  const followers = new Set<(line: { at: number; text: string }) => void>();
  const ends = new Set<() => void>();
  let over = false;
  const add = (text: string, at: number = Date.now()): void => {
    const line = { at, text };
    lines.push(line);
    if (lines.length > linesKept * 2) lines = lines.slice(-linesKept);
    for (const follow of followers) follow(line);
  };
  return {
    add,
    take(stream) {
      let rest = '';
      // The stream may be read by others, too, who want bytes.
      const decoder = new StringDecoder('utf8');
      stream.on('data', (chunk: Buffer) => {
        const parts = (rest + decoder.write(chunk)).split('\n');
        rest = parts.pop() ?? '';
        for (const part of parts) add(part);
      });
      stream.on('end', () => {
        if (rest !== '') add(rest);
      });
      stream.on('error', () => {});
    },
    read(options) {
      const out = new PassThrough();
      const since = Date.now() - (options.sinceSeconds ?? Infinity) * 1000;
      let room = options.limitBytes ?? Infinity;
      const write = ({ at, text }: { at: number; text: string }): void => {
        const stamp = options.timestamps ? `${new Date(at).toISOString()} ` : '';
        const bytes = Buffer.from(`${stamp}${text}\n`).subarray(0, Math.max(0, room));
        room -= bytes.length;
        if (bytes.length > 0) out.write(bytes);
      };
      const recent = lines.filter(({ at }) => at >= since).slice(-linesKept);
      const { tailLines } = options;
      for (const line of tailLines === undefined
        ? recent
        : recent.slice(recent.length - Math.min(tailLines, recent.length))) {
        write(line);
      }
      if (!options.follow || over) {
        out.end();
        return out;
      }
      const finish = (): void => {
        out.end();
      };
      followers.add(write);
      ends.add(finish);
      out.on('close', () => {
        followers.delete(write);
        ends.delete(finish);
      });
      return out;
    },
    end() {
      over = true;
      for (const finish of ends) finish();
    },
  };
}
