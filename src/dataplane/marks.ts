/**
 * Clears bits of the marks of all tracked connections, so that epochs can begin again. Must not know
 * what the bits mean.
 */
import { run } from '../system/exec.ts';

/**
 * A sweeper for the network namespace, by `conntrack` of conntrack-tools. It throws when marks may be
 * left; sweeping again does no harm.
 */
export function conntrackSweeper(
  options: { readonly netns?: string | undefined } = {},
): (mask: number) => Promise<void> {
  const sweep = async (family: 'ipv4' | 'ipv6', mask: number): Promise<void> => {
    // The family must be named: the kernel does not update an entry of an unspecified one.
    const mark = `0/0x${(mask >>> 0).toString(16)}`;
    const inside = options.netns === undefined ? [] : ['nsenter', `--net=${options.netns}`];
    // It prints each connection that it changes: nobody needs that.
    const script = ['-c', 'exec "$@" >/dev/null', 'sh'];
    const { code, stderr } = await run(
      'sh',
      [...script, ...inside, 'conntrack', '-U', '-f', family, '--mark', mark],
      { env: { ...process.env, LC_ALL: 'C' }, timeoutMs: 600_000 },
    );
    if (code === 127)
      throw new Error(
        'conntrack is not installed: it is in the Debian and Ubuntu package conntrack (apt-get install conntrack)',
      );
    // 1 is also what it says when there was nothing to change.
    if (code !== 0 && !/\b0 flow entries have been updated/.test(stderr))
      throw new Error(`conntrack ended with ${code}: ${stderr.trim().split('\n')[0] ?? ''}`);
  };
  return async (mask) => {
    await sweep('ipv4', mask);
    await sweep('ipv6', mask);
  };
}
