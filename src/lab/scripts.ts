/**
 * Where the lab's own processes find their scripts, built (`dist`) or not (under tsx or vitest).
 * Must not know what the scripts do.
 */
import { statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** `daemon` and `api-main` import the product and live long, the others little but Node. */
export type LabScript = 'daemon' | 'api-main' | 'binder' | 'prober' | 'dialer' | 'agnhost';

const longLived: readonly LabScript[] = ['daemon', 'api-main'];

const sctp = ['sctp-packet', 'sctp-association', 'sctp-socket'];

/** What short-lived scripts import. */
const imports: Readonly<Partial<Record<LabScript, readonly string[]>>> = {
  prober: ['wire', ...sctp],
  agnhost: sctp,
};

const unbuilt = import.meta.url.endsWith('.ts');

function newerBuild(script: LabScript): string | undefined {
  const built = (name: string): URL => new URL(`../../dist/lab/${name}.js`, import.meta.url);
  try {
    const fresh = [script, ...(imports[script] ?? [])].every((name) => {
      const source = new URL(`./${name}.ts`, import.meta.url);
      return statSync(source).mtimeMs < statSync(built(name)).mtimeMs;
    });
    return fresh ? fileURLToPath(built(script)) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Arguments that make `node` run one of the lab's scripts. Unbuilt, the short-lived ones still use
 * their build when it is newer than the source: they start often, and tsx costs 0.3 s each time.
 */
export function scriptArgs(script: LabScript): string[] {
  if (!unbuilt) return [fileURLToPath(new URL(`./${script}.js`, import.meta.url))];
  const built = longLived.includes(script) ? undefined : newerBuild(script);
  if (built !== undefined) return [built];
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
  return ['--import', tsx, fileURLToPath(new URL(`./${script}.ts`, import.meta.url))];
}

/** Arguments that make `node` run this `podwall`'s command line; the verb follows. */
export function commandArgs(): string[] {
  if (!unbuilt) return [fileURLToPath(new URL('../../bin/podwall.js', import.meta.url))];
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
  const main = new URL('../cli/main.ts', import.meta.url).href;
  const script = `const { main } = await import('${main}'); await main(process.argv.slice(1));`;
  return ['--import', tsx, '--input-type=module', '-e', script, '--'];
}

/**
 * The caller's environment without what would change how our Node processes run, and with Debian's
 * sbin. Node 20 reads extra authorities at every start, which costs a bundle of the system's size 55 ms
 * of 90; what the lab talks to has an authority of its own.
 */
export function scriptEnv(env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  const {
    NODE_OPTIONS: _options,
    NODE_CHANNEL_FD: _channel,
    NODE_V8_COVERAGE: _coverage,
    NODE_EXTRA_CA_CERTS: _authorities,
    ...rest
  } = env;
  return { ...rest, PATH: searchPath(env) };
}

/** PATH with the directories where Debian keeps `ip` and `nft`, which plain users often lack. */
export function searchPath(env: NodeJS.ProcessEnv = process.env): string {
  const parts = (env['PATH'] ?? '/usr/bin:/bin').split(':');
  for (const directory of ['/usr/sbin', '/sbin', '/usr/bin', '/bin']) {
    if (!parts.includes(directory)) parts.push(directory);
  }
  return parts.join(':');
}
