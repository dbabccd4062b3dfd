import { mkdtempSync, writeFileSync } from 'node:fs';
import { chmod, mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { callControl, serveControl } from './control.ts';
import { LabError, LabRefusal, LabUnavailable } from './errors.ts';
import { searchPath } from './scripts.ts';
import { missingTools, userNamespaceRemedy } from './start.ts';
import { controlPath, makeStateDir, removeStateDir, sharedStateDir } from './state-dir.ts';

const directories: string[] = [];

function directory(): string {
  const made = mkdtempSync(join(tmpdir(), 'podwall-unit-'));
  directories.push(made);
  return made;
}

afterEach(async () => {
  for (const each of directories.splice(0)) await rm(each, { recursive: true, force: true });
});

describe('missing tools', () => {
  it('are named with their Debian package', () => {
    const empty = directory();
    expect(missingTools([empty])).toContainEqual({ program: 'nft', debianPackage: 'nftables' });
    for (const name of ['ip', 'unshare', 'nsenter', 'mount']) {
      writeFileSync(join(empty, name), '', { mode: 0o755 });
    }
    // Not executable is as good as missing.
    writeFileSync(join(empty, 'nft'), '', { mode: 0o644 });
    expect(missingTools([empty])).toEqual([{ program: 'nft', debianPackage: 'nftables' }]);
  });

  it('are looked for in sbin too, which plain users lack', () => {
    expect(searchPath({ PATH: '/usr/bin:/home/x' })).toBe('/usr/bin:/home/x:/usr/sbin:/sbin:/bin');
  });
});

describe('what would allow user namespaces', () => {
  const cases: [Record<string, string>, string][] = [
    [{}, 'run it as root'],
    [
      { 'kernel/unprivileged_userns_clone': '0' },
      'as root: sysctl kernel.unprivileged_userns_clone=1\nor run it as root',
    ],
    [
      { 'kernel/apparmor_restrict_unprivileged_userns': '1', 'user/max_user_namespaces': '0' },
      'as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0\n' +
        'as root: sysctl user.max_user_namespaces=10000\nor run it as root',
    ],
    [
      { 'kernel/apparmor_restrict_unprivileged_userns': '0', 'user/max_user_namespaces': '9' },
      'run it as root',
    ],
  ];
  it.each(cases)('%j: %s', (settings, remedy) => {
    expect(userNamespaceRemedy((path) => settings[path])).toBe(remedy);
  });
});

describe('the state directory', () => {
  it('is in XDG_RUNTIME_DIR, or beside other temporary files with the user in its name', () => {
    expect(sharedStateDir({ XDG_RUNTIME_DIR: '/run/user/7' })).toBe('/run/user/7/podwall');
    expect(sharedStateDir({ XDG_RUNTIME_DIR: 'relative' })).toMatch(/\/podwall-\d+$/);
  });

  it('is for its owner only; one that others can open is refused', async () => {
    const stateDir = join(directory(), 'state');
    await makeStateDir(stateDir);
    expect((await stat(stateDir)).mode & 0o777).toBe(0o700);
    await chmod(stateDir, 0o755);
    await expect(makeStateDir(stateDir)).rejects.toThrow(
      'is not a directory that only you can open',
    );
  });

  it('must leave room for the name of the socket', async () => {
    const stateDir = join(directory(), 'x'.repeat(100));
    await expect(makeStateDir(stateDir)).rejects.toThrow('too long for a socket');
  });

  it('is removed with what a lab put there, never with what others did', async () => {
    const stateDir = join(directory(), 'state');
    await mkdir(stateDir);
    await writeFile(controlPath(stateDir), '');
    await writeFile(join(stateDir, 'other'), '');
    await removeStateDir(stateDir);
    await expect(stat(controlPath(stateDir))).rejects.toThrow('ENOENT');
    await rm(join(stateDir, 'other'));
    await removeStateDir(stateDir);
    await expect(stat(stateDir)).rejects.toThrow('ENOENT');
    await removeStateDir(stateDir);
  });
});

describe('the control socket', () => {
  it('carries calls, progress and the three kinds of error', async () => {
    const path = join(directory(), 's');
    const refusal = { ref: { kind: 'Pod', name: 'p' }, reason: 'Invalid', messages: ['no'] };
    const server = await serveControl(path, {
      double: async (value, onProgress) => {
        onProgress('half way');
        return Number(value) * 2;
      },
      refuse: () => Promise.reject(new LabRefusal([refusal])),
      lack: () => Promise.reject(new LabUnavailable('why', 'how')),
      fail: () => Promise.reject(new TypeError('broke')),
    });
    const seen: string[] = [];
    expect(await callControl(path, 'double', 21, { onProgress: (text) => seen.push(text) })).toBe(
      42,
    );
    expect(seen).toEqual(['half way']);
    await expect(callControl(path, 'refuse', null)).rejects.toEqual(new LabRefusal([refusal]));
    await expect(callControl(path, 'lack', null)).rejects.toMatchObject({
      reason: 'why',
      remedy: 'how',
    });
    await expect(callControl(path, 'fail', null)).rejects.toEqual(new LabError('broke'));
    await expect(callControl(path, 'toString', null)).rejects.toThrow('knows no call "toString"');
    await expect(serveControl(path, {})).rejects.toThrow('a lab is already running');
    const abort = new AbortController();
    abort.abort(new Error('enough'));
    await expect(callControl(path, 'double', 1, { signal: abort.signal })).rejects.toThrow(
      'enough',
    );
    await new Promise((resolve) => server.close(resolve));
    await expect(callControl(path, 'double', 1)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('that closes without an answer is an error, not silence', async () => {
    const path = join(directory(), 's');
    const server = createServer((socket) => socket.end());
    await new Promise<void>((resolve) => server.listen(path, resolve));
    await expect(callControl(path, 'status', null)).rejects.toThrow(
      'the lab ended while it was asked',
    );
    server.close();
  });
});
