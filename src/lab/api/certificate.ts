/**
 * A self-signed certificate for loopback, made with openssl.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { isIP } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

export interface Certificate {
  /** PEM; it is its own authority. */
  readonly cert: string;
  readonly key: string;
}

const run = promisify(execFile);

/** For loopback and `hosts`, addresses or names. Error: when openssl is missing or fails, its message. */
export async function createCertificate(hosts: readonly string[] = []): Promise<Certificate> {
  const plain = hosts.map((host) => host.replace(/^\[|\]$/g, ''));
  const names = plain.map((host) => `,${isIP(host) === 0 ? 'DNS' : 'IP'}:${host}`).join('');
  const folder = await mkdtemp(join(tmpdir(), 'podwall-tls-'));
  try {
    const cert = join(folder, 'cert.pem');
    const key = join(folder, 'key.pem');
    const request = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650';
    await run('openssl', [
      ...request.split(' '),
      '-subj',
      '/CN=podwall-lab',
      '-keyout',
      key,
      '-out',
      cert,
      '-addext',
      `subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc${names}`,
    ]);
    return { cert: await readFile(cert, 'utf8'), key: await readFile(key, 'utf8') };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
