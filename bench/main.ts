/**
 * `npm run bench -- SUITE… [options]`: runs suites of benchmarks by name, one after the other, each in
 * processes of its own. Without a name: engine. Options go to every script of the suites.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Scripts of a suite, in order. */
const suites: Readonly<Record<string, readonly string[]>> = {
  engine: ['engine.ts'],
  dataplane: ['dataplane.ts'],
  agent: ['agent-round.ts', 'agent-latency.ts', 'agent-memory.ts', 'client-memory.ts'],
  lab: ['lab-api.ts'],
};

function runScript(script: string, options: readonly string[]): Promise<number> {
  const path = fileURLToPath(new URL(script, import.meta.url));
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--import', 'tsx', path, ...options], {
      stdio: 'inherit',
    });
    child.on('error', (error) => {
      process.stderr.write(`${script}: ${error.message}\n`);
      resolve(1);
    });
    child.on('close', (code) => resolve(code ?? 1));
  });
}

const given = process.argv.slice(2);
const firstOption = given.findIndex((word) => word.startsWith('-'));
const asked = firstOption < 0 ? given : given.slice(0, firstOption);
const options = firstOption < 0 ? [] : given.slice(firstOption);
const unknown = asked.filter((name) => suites[name] === undefined);
if (unknown.length > 0) {
  process.stderr.write(
    `no such suite: ${unknown.join(', ')}; suites are ${Object.keys(suites).join(', ')}\n`,
  );
  process.exitCode = 2;
} else {
  for (const name of asked.length === 0 ? ['engine'] : asked)
    for (const script of suites[name] ?? []) {
      process.stderr.write(`--- ${name}: ${script}\n`);
      // Every script runs; the first failure decides the exit code.
      const code = await runScript(script, options);
      if (code !== 0) process.exitCode ??= code;
    }
}
