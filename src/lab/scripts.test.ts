import { expect, it } from 'vitest';
import { scriptEnv } from './scripts.ts';

it('processes of the lab start without what slows or changes Node, and find the system programs', () => {
  const env = scriptEnv({
    NODE_OPTIONS: '--inspect',
    NODE_EXTRA_CA_CERTS: '/etc/ssl/certs/ca-certificates.crt',
    HOME: '/home/me',
    PATH: '/opt/bin',
  });
  expect(env).toEqual({ HOME: '/home/me', PATH: '/opt/bin:/usr/sbin:/sbin:/usr/bin:/bin' });
});
