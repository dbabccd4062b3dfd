// @ts-check
/**
 * Bootstrap behind `npm run demo` and `npm test`: installs and builds whatever is missing, says so,
 * and then hands over. Plain JavaScript on Node's own modules, because it runs before anything is
 * installed or compiled; it must not know what the commands do.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const stamp = join(root, 'node_modules', '.podwall-installed');

/** Debian package by the program it brings. */
const tools = { ip: 'iproute2', nft: 'nftables', unshare: 'util-linux', nsenter: 'util-linux' };

/** @param {string} text */
function say(text) {
  process.stderr.write(`podwall: ${text}\n`);
}

/** @param {string} text @param {number} code @returns {never} */
function stop(text, code = 2) {
  say(text);
  process.exit(code);
}

/**
 * Output goes to stderr, so that `npm run demo -- -o json | jq` sees data only.
 * @param {string} command @param {string[]} args @param {NodeJS.ProcessEnv} [env]
 */
function quiet(command, args, env = process.env) {
  return spawnSync(command, args, { cwd: root, env, stdio: ['ignore', 2, 2] });
}

/** @param {string} program */
function onPath(program) {
  const places = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return places.some((place) => place !== '' && existsSync(join(place, program)));
}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    stop(`needs Node.js 20.19 or later; this is ${process.versions.node}`);
  }
}

function installNpmPackages() {
  const lock = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
  const done = existsSync(stamp) ? readFileSync(stamp, 'utf8') : '';
  if (done === `${lock} ${process.versions.modules}`) return;
  say('installing npm packages (npm ci) …');
  const result = quiet('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
  if (result.status !== 0)
    stop('npm ci failed: see the lines above; is the npm registry reachable?');
  writeFileSync(stamp, `${lock} ${process.versions.modules}`);
}

function installDebianPackages() {
  const missing = Object.entries(tools).filter(([program]) => !onPath(program));
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map(([, name]) => name))];
  const programs = missing.map(([program]) => program).join(', ');
  if (process.getuid?.() !== 0 || !onPath('apt-get')) {
    say(`not found: ${programs}. Install with: sudo apt-get install ${packages.join(' ')}`);
    return;
  }
  say(`installing Debian packages: ${packages.join(' ')} (for ${programs}) …`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const install = ['install', '-y', '-q', '--no-install-recommends', ...packages];
  if (quiet('apt-get', install, env).status === 0) return;
  quiet('apt-get', ['update', '-q'], env);
  if (quiet('apt-get', install, env).status !== 0) {
    say(`apt-get could not install ${packages.join(' ')}; going on without`);
  }
}

function build() {
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  if (!existsSync(join(root, 'dist', 'cli', 'main.js'))) say('building (tsc -b) …');
  mkdirSync(join(root, '.build'), { recursive: true });
  const result = quiet(process.execPath, [tsc, '-b']);
  if (result.status !== 0) stop('the build failed: see the lines above', 1);
}

/**
 * Runs in the foreground and ends as the program ends; Ctrl-C reaches it through the terminal.
 * @param {string[]} args @param {NodeJS.ProcessEnv} [env] @returns {number}
 */
function node(args, env = process.env) {
  const ignore = () => {};
  process.on('SIGINT', ignore);
  const result = spawnSync(process.execPath, args, { cwd: root, env, stdio: 'inherit' });
  process.off('SIGINT', ignore);
  if (result.error) stop(result.error.message);
  if (result.status !== null) return result.status;
  return 128 + (result.signal ? constants.signals[result.signal] : 1);
}

/** @param {string} name */
function local(name) {
  /** @type {Record<string, string>} */
  const files = {
    vitest: 'vitest/vitest.mjs',
    tsx: 'tsx/dist/cli.mjs',
    oxlint: 'oxlint/bin/oxlint',
    prettier: 'prettier/bin/prettier.cjs',
  };
  return join(root, 'node_modules', files[name] ?? name);
}

const [task = 'demo', ...rest] = process.argv.slice(2);
if (!['demo', 'test', 'bench', 'soak'].includes(task)) stop(`no such task: ${task}`);
checkNode();
installNpmPackages();
installDebianPackages();
build();
// Debian keeps nft and ip in /usr/sbin, which an ordinary user's PATH lacks.
const env = {
  ...process.env,
  PATH: `${process.env.PATH ?? ''}${delimiter}/usr/sbin${delimiter}/sbin`,
};
switch (task) {
  case 'demo':
    process.exit(node([join(root, 'bin', 'podwall.js'), 'demo', ...rest], env));
    break;
  case 'test': {
    if (rest.length === 0) {
      const lint = node([local('oxlint'), '--type-aware', '--quiet', 'src', 'test', 'bench'], env);
      const format = node([local('prettier'), '--check', '--log-level=warn', '.'], env);
      if (lint !== 0 || format !== 0) {
        stop(lint !== 0 ? 'lint found faults' : 'unformatted files: npm run format', 1);
      }
    }
    process.exit(node([local('vitest'), 'run', ...rest], env));
    break;
  }
  case 'bench':
    process.exit(node([local('tsx'), join(root, 'bench', 'main.ts'), ...rest], env));
    break;
  case 'soak':
    process.exit(node([local('vitest'), 'run', ...rest], { ...env, PODWALL_SOAK: '1' }));
}
