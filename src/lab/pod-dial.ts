/**
 * Connections to a port inside a pod's network, made from outside it, for port-forward. Must not know
 * who asks.
 */
import { spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { LabError } from './errors.ts';
import { scriptArgs, scriptEnv } from './scripts.ts';

const dialTimeoutMs = 15_000;

/** A connection is made inside by a process that hands it over and ends. */
export function dialInside(netns: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const child = spawn(
      'nsenter',
      [`--net=${netns}`, process.execPath, ...scriptArgs('dialer'), String(port)],
      { stdio: ['ignore', 'ignore', 'pipe', 'ipc'], env: scriptEnv(), timeout: dialTimeoutMs },
    );
    let stderr = '';
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
    child.on('message', (message: { error?: string }, handle) => {
      if (handle instanceof Socket) resolve(handle);
      else reject(new LabError(message.error ?? 'the connection was lost on its way'));
    });
    child.on('error', reject);
    child.on('close', () => reject(new LabError(stderr.trim() || `no connection to port ${port}`)));
  });
}
