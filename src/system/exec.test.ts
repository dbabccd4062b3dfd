import { describe, expect, it } from 'vitest';
import { ExecError, isMissingProgram, run } from './exec.ts';

const node = process.execPath;

async function failure(promise: Promise<unknown>): Promise<ExecError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof ExecError)) throw new Error(`expected an ExecError, got ${String(error)}`);
  return error;
}

describe('run', () => {
  it('hands back output and exit code, and does not throw for a failing one', async () => {
    const result = await run(node, [
      '-e',
      'process.stdout.write("out"); process.stderr.write("err"); process.exitCode = 3',
    ]);
    expect(result).toEqual({ code: 3, signal: null, stdout: 'out', stderr: 'err' });
  });

  it('writes input, and gives an empty standard input without', async () => {
    const cat = ['-e', 'process.stdin.pipe(process.stdout)'];
    expect((await run(node, cat, { input: 'häй' })).stdout).toBe('häй');
    expect((await run(node, cat)).stdout).toBe('');
  });

  it('does not mind a program that ends without reading its input', async () => {
    const result = await run(node, ['-e', 'process.exit(0)'], { input: 'x'.repeat(1 << 22) });
    expect(result.code).toBe(0);
  });

  it('decodes a character that is split between two chunks', async () => {
    const script =
      'process.stdout.write(Buffer.from([0xe2])); setTimeout(() => process.stdout.write(Buffer.from([0x82, 0xac])), 50)';
    expect((await run(node, ['-e', script])).stdout).toBe('€');
  });

  it('says when there is no such program', async () => {
    const error = await failure(run('podwall-no-such-program', []));
    expect(error.code).toBe('ENOENT');
    expect(error.cause).toBeInstanceOf(Error);
    expect(isMissingProgram(error)).toBe(true);
  });

  it('turns arguments that cannot be passed into an ExecError', async () => {
    expect((await failure(run(node, ['a\0b']))).code).toBe('ERR_INVALID_ARG_VALUE');
  });

  it('passes on the signal that ended a program', async () => {
    const result = await run(node, [
      '-e',
      'process.kill(process.pid, "SIGTERM"); setTimeout(() => {}, 9000)',
    ]);
    expect(result).toMatchObject({ code: null, signal: 'SIGTERM' });
  });

  it('stops a program that takes too long', async () => {
    const error = await failure(
      run(node, ['-e', 'process.stderr.write("busy"); setTimeout(() => {}, 60000)'], {
        timeoutMs: 500,
      }),
    );
    expect(error).toMatchObject({ code: 'ETIMEDOUT', stderr: 'busy' });
  });

  it('does not wait for a grandchild that keeps the pipes open', async () => {
    const started = Date.now();
    const error = await failure(
      run('sh', ['-c', 'trap "" TERM; sleep 20 & wait; sleep 20'], { timeoutMs: 200 }),
    );
    expect(error.code).toBe('ETIMEDOUT');
    expect(Date.now() - started).toBeLessThan(10_000);
  });

  it('stops on abort, with the reason as cause', async () => {
    const controller = new AbortController();
    const running = failure(
      run(node, ['-e', 'setTimeout(() => {}, 60000)'], { signal: controller.signal }),
    );
    controller.abort(new Error('enough'));
    const error = await running;
    expect(error.code).toBe('ABORT_ERR');
    expect(error.cause).toEqual(new Error('enough'));
    expect((await failure(run(node, [], { signal: controller.signal }))).code).toBe('ABORT_ERR');
  });

  it('stops a program that prints too much', async () => {
    const script = 'setInterval(() => process.stdout.write("x".repeat(1000)), 1)';
    expect((await failure(run(node, ['-e', script], { maxOutput: 5000 }))).code).toBe('EMSGSIZE');
  });
});
