/**
 * Every kubectl at hand against the lab's API with the fake runtime: a matrix of commands and what
 * they must print. Clients that are not on the machine are named, not silently left out.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createFakeRuntime } from '../../src/lab/api/fake-runtime.ts';
import { writeKubeconfig } from '../../src/lab/api/kubeconfig.ts';
import { type LabApi, startLabApi } from '../../src/lab/api/start.ts';
import {
  findKubectls,
  forwardedTexts,
  minorOf,
  reportMissing,
  run,
  sizeInPod,
  steps,
} from './kubectl-steps.ts';

const kubectls = findKubectls();
reportMissing(kubectls);
const folder = mkdtempSync(join(tmpdir(), 'podwall-kubectl-'));
const kubeconfig = join(folder, 'kubeconfig');
const env = { KUBECONFIG: kubeconfig, HOME: folder };
let api: LabApi;
let web: Server;

beforeAll(async () => {
  api = await startLabApi({ runtime: createFakeRuntime(), seed: 7 });
  await writeKubeconfig(kubeconfig, {
    server: api.url,
    authority: api.certificate.cert,
    token: api.token,
  });
  web = createServer((_request, response) => response.end('HELLO-PF'));
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
});

afterAll(async () => {
  await api.stop();
  web.close();
  rmSync(folder, { recursive: true, force: true });
});

describe.each(kubectls)('%s', (kubectl) => {
  const minor = minorOf(kubectl);
  const ns = `k${kubectls.indexOf(kubectl)}`;

  for (const step of steps(ns, folder)) {
    it(step.name, async ({ skip }) => {
      if (step.from !== undefined && minor !== undefined && minor < step.from)
        skip(`kubectl 1.${minor} does not know the version of the API this asks for`);
      const outcome = await run(kubectl, step.args, { ...step, env: { ...env, ...step.env } });
      expect(outcome.text).toMatch(step.prints);
      expect(outcome.code).toBe(step.code ?? 0);
    });
  }
});

describe.each(kubectls)('%s, with a helper', (kubectl) => {
  const ns = `h${kubectls.indexOf(kubectl)}`;

  beforeAll(async () => {
    await run(kubectl, ['create', 'ns', ns], { env });
    await run(kubectl, ['run', 'p', '-n', ns, '--image=nginx'], { env });
    const ready = ['--for=condition=Ready', 'pod/p', '--timeout=20s'];
    await run(kubectl, ['wait', '-n', ns, ...ready], { env });
  });

  it('exec -it has a terminal of the size of the client', async () => {
    expect(await sizeInPod(kubectl, `-n ${ns} p`, env)).toMatch(/40 100/);
  });

  it('port-forward carries several connections', async () => {
    const target = (web.address() as AddressInfo).port;
    const texts = await forwardedTexts(kubectl, ['-n', ns, 'pod/p', `:${target}`], 3, env);
    expect(texts).toEqual(['HELLO-PF', 'HELLO-PF', 'HELLO-PF']);
  });
});
