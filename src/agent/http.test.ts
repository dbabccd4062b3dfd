import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { askSocket, openDoor } from './http.ts';
import { createMetrics } from './metrics.ts';

it('serves metrics, health and readiness over TCP, and status over a socket', async () => {
  let ready = false;
  const metrics = createMetrics('1.2.3', 'n1', () => []);
  const doors = { metrics: metrics.exposition, ready: () => ready, status: () => ({ ready }) };
  const door = await openDoor('127.0.0.1:0', doors);
  const get = async (path: string, method = 'GET'): Promise<[number, string]> => {
    const { port } = door.address() as AddressInfo;
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method });
    return [response.status, await response.text()];
  };
  expect(await get('/healthz')).toEqual([200, 'ok\n']);
  expect(await get('/readyz')).toEqual([503, 'not converged yet\n']);
  ready = true;
  metrics.ready(true);
  metrics.client.event?.('pods', 'ADDED');
  expect((await get('/readyz'))[0]).toBe(200);
  const [, text] = await get('/metrics');
  expect(text).toContain('podwall_build_info{version="1.2.3",node="n1"} 1');
  expect(text).toContain('podwall_ready 1');
  expect(text).toContain('podwall_events_total{resource="pods",type="ADDED"} 1');
  expect((await get('/other'))[0]).toBe(404);
  expect((await get('/metrics', 'POST'))[0]).toBe(405);
  door.closeAllConnections();
  door.close();

  const directory = mkdtempSync(join(tmpdir(), 'podwall-door-'));
  const path = join(directory, 'sock');
  // What a killed agent leaves behind must not keep the next one out.
  writeFileSync(path, '');
  const local = await openDoor(path, doors);
  expect(await askSocket(path, '/status')).toEqual({ ready: true });
  local.closeAllConnections();
  local.close();
  await expect(askSocket(join(directory, 'none'), '/status')).rejects.toThrow();
  rmSync(directory, { recursive: true });
  await expect(openDoor('nowhere', doors)).rejects.toThrow('neither host:port nor a path');
});
