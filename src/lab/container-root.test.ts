import { expect, it } from 'vitest';
import { containerRootScript } from './container-root.ts';

const mountinfo = [
  '22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw',
  '23 22 0:20 / /proc rw,nosuid,nodev,noexec - proc proc rw',
  '24 22 0:5 / /dev rw,nosuid - devtmpfs udev rw',
  '25 22 8:2 / /home/o\\047hara\\040x rw,nosuid,nodev - ext4 /dev/sda2 rw',
  '26 22 0:30 / /tmp/private rw - tmpfs tmpfs rw',
  '',
].join('\n');

it('makes everything read-only but devices, and keeps the flags that the kernel holds on to', () => {
  const script = containerRootScript(mountinfo);
  expect(script).toContain("mount -o remount,bind,ro,relatime '/'");
  expect(script).toContain("mount -o remount,bind,ro,nosuid,nodev '/home/o'\\''hara x'");
  expect(script).not.toMatch(/remount.*'\/(proc|dev)'/);
  expect(script).not.toContain('/tmp/private');
  expect(script).toMatch(/mount -t tmpfs .* \/tmp$/m);
});
