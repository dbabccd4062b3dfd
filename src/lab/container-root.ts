/**
 * What programs of containers see of this machine: its files, read-only, with a /tmp and a /run of
 * their own. A command meant for an image must not change the host. No sandbox: who is root there can
 * undo it. Pure: must not run anything.
 */

interface MountPoint {
  readonly path: string;
  /** Options of the mount, not of its file system. */
  readonly options: readonly string[];
}

/** Kept by the kernel for mounts of a user namespace: a remount must repeat them. */
const locked = ['nosuid', 'nodev', 'noexec', 'noatime', 'nodiratime', 'relatime'];

/** `\040` and its like are how the kernel writes blanks. */
function unescape(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, code: string) =>
    String.fromCharCode(Number.parseInt(code, 8)),
  );
}

/** Mount points of a `/proc/PID/mountinfo`. */
export function readMountinfo(text: string): MountPoint[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const fields = line.split(' ');
      return { path: unescape(fields[4] ?? ''), options: (fields[5] ?? '').split(',') };
    });
}

const under = (path: string, directory: string): boolean =>
  path === directory || path.startsWith(`${directory}/`);

/** Directories that are the container's own, and file systems that are no files of the host. */
const own = ['/tmp', '/var/tmp', '/run'];
const left = ['/proc', '/dev'];

const quote = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;

/** Shell text for a fresh mount namespace: makes it what containers see. */
export function containerRootScript(mountinfo: string): string {
  const points = readMountinfo(mountinfo).filter(
    ({ path }) => ![...own, ...left].some((directory) => under(path, directory)),
  );
  return [
    'set -e',
    // One that cannot be seen (covered by another) cannot be remounted, nor written.
    ...points.map(({ path, options }) => {
      const flags = ['remount', 'bind', 'ro', ...options.filter((one) => locked.includes(one))];
      return `mount -o ${flags.join(',')} ${quote(path)} || ! [ -w ${quote(path)} ]`;
    }),
    ...own.map(
      (path) => `[ ! -d ${path} ] || mount -t tmpfs -o mode=1777,nosuid,nodev podwall ${path}`,
    ),
    '',
  ].join('\n');
}
