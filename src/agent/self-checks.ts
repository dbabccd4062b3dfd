/**
 * What on this node would keep podwall from enforcing, found before anybody relies on it: versions,
 * bridges that bypass netfilter, flowtables, other owners of our conntrack marks, a full conntrack
 * table. Reads only, and never stops the agent: a finding is a sentence for the log.
 */
import { parseAddress } from '../net/address.ts';
import { addressSetFrom, addressSetOf, intersect, isEmptyAddressSet } from '../net/address-set.ts';
import { parseCidr, type Cidr } from '../net/cidr.ts';
import { run, type RunResult } from '../system/exec.ts';

/** `problem`: policies are not enforced as written. `warning`: they may not be. `note`: worth knowing. */
export type Severity = 'problem' | 'warning' | 'note';

export interface Finding {
  readonly check:
    | 'nft'
    | 'kernel'
    | 'bridge'
    | 'flowtable'
    | 'conntrack-mark'
    | 'notrack'
    | 'hook-priority'
    | 'conntrack-fill'
    | 'forwarding'
    | 'other-tables';
  readonly severity: Severity;
  readonly message: string;
  readonly remedy?: string;
}

export interface ForeignChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook?: string;
  readonly priority?: number;
}

export interface Route {
  readonly device: string;
  /** CIDR. */
  readonly to: string;
}

export interface NodeFacts {
  /** Undefined: nft could not be run, and `nftError` says why. */
  readonly nftVersion?: string;
  readonly nftError?: string;
  /** A signal that ended nft when it was asked for the tables. */
  readonly nftCrash?: string;
  readonly kernel: string;
  /** Bridges that have ports. */
  readonly bridges: readonly string[];
  readonly routes: readonly Route[];
  /** Undefined: br_netfilter is not loaded. */
  readonly bridgeNf?: { readonly ipv4: boolean; readonly ipv6: boolean };
  readonly forwarding: { readonly ipv4?: boolean; readonly ipv6?: boolean };
  readonly conntrack?: { readonly count: number; readonly max: number };
  /** Base chains of other tables. */
  readonly chains: readonly ForeignChain[];
  readonly flowtables: readonly string[];
  /** Rules of other tables, a line each, by `family name`; undefined for a table that could not be read. */
  readonly rules: ReadonlyMap<string, readonly string[] | undefined>;
}

export interface CheckScope {
  /** Our table; its twin `_b` counts as ours, too. */
  readonly table: string;
  readonly markMask: number;
  /** This node's pod ranges; empty when the API has not been read yet. */
  readonly podCidrs: readonly string[];
}

const hooks = new Set(['forward', 'input', 'output']);
const ourPriority = -5;

/** Findings in order of severity. Pure. */
export function judgeNode(facts: NodeFacts, scope: CheckScope): Finding[] {
  const found = [
    ...versions(facts),
    ...bridges(facts, scope),
    ...forwarding(facts, scope),
    ...conntrackFill(facts),
    ...flowtables(facts),
    ...otherRules(facts, scope),
    ...hookPriorities(facts),
  ];
  const order: readonly Severity[] = ['problem', 'warning', 'note'];
  return found.toSorted((a, b) => order.indexOf(a.severity) - order.indexOf(b.severity));
}

function versions(facts: NodeFacts): Finding[] {
  const found: Finding[] = [];
  if (facts.nftCrash !== undefined)
    found.push({
      check: 'nft',
      severity: 'problem',
      message: `nft crashes (${facts.nftCrash}) when it looks at this node's tables: a newer nft wrote one of them. Rules that are in force stay, but cannot be changed`,
      remedy:
        "give the agent an nft as new as the newest on the node, or delete the table (with that newer nft: 'nft list tables')",
    });
  else if (facts.nftVersion === undefined)
    found.push({
      check: 'nft',
      severity: 'problem',
      message: `nft cannot be used: ${facts.nftError ?? 'it does not answer'}`,
      remedy: 'install nftables (Debian package nftables) and give the agent CAP_NET_ADMIN',
    });
  else if (older(facts.nftVersion, [1, 0, 1]))
    found.push({
      check: 'nft',
      severity: 'problem',
      message: `nft ${facts.nftVersion} is older than 1.0.1`,
      remedy: 'podwall is tested with nft 1.0.6',
    });
  else if (older(facts.nftVersion, [1, 0, 6]))
    found.push({
      check: 'nft',
      severity: 'note',
      message: `nft ${facts.nftVersion} is older than 1.0.6, with which podwall is tested`,
    });
  if (older(facts.kernel, [5, 13]))
    found.push({
      check: 'kernel',
      severity: 'problem',
      message: `Linux ${facts.kernel} is older than 5.13`,
      remedy: 'nftables of older kernels lacks what podwall relies on',
    });
  return found;
}

function older(version: string, wanted: readonly number[]): boolean {
  const parts = (/\d+(\.\d+)*/.exec(version)?.[0] ?? '').split('.').map(Number);
  for (const [index, number] of wanted.entries()) {
    const part = parts[index] ?? 0;
    if (part !== number) return part < number;
  }
  return false;
}

function cidrs(texts: readonly string[]): Cidr[] {
  return texts.flatMap((text) => {
    const parsed = parseCidr(text);
    return parsed.ok ? [parsed.cidr] : [];
  });
}

function bridges(facts: NodeFacts, { podCidrs }: CheckScope): Finding[] {
  const pods = cidrs(podCidrs);
  const found: Finding[] = [];
  for (const family of [4, 6] as const) {
    const call = family === 4 ? 'bridge-nf-call-iptables' : 'bridge-nf-call-ip6tables';
    if (facts.bridgeNf?.[family === 4 ? 'ipv4' : 'ipv6'] === true) continue;
    const wanted = addressSetFrom(pods.filter((cidr) => cidr.family === family));
    for (const bridge of facts.bridges) {
      const ranges = facts.routes.filter((route) => route.device === bridge);
      const here = cidrs(ranges.map((route) => route.to)).filter(
        (cidr) => cidr.family === family && !isLinkLocal(cidr),
      );
      const holdsPods = here.some(
        (cidr) => !isEmptyAddressSet(intersect(addressSetOf(cidr), wanted)),
      );
      if (podCidrs.length > 0 ? !holdsPods : here.length === 0) continue;
      const state =
        facts.bridgeNf === undefined ? 'br_netfilter is not loaded' : `net.bridge.${call} is 0`;
      found.push({
        check: 'bridge',
        severity: holdsPods ? 'problem' : 'warning',
        message: `${
          holdsPods ? `IPv${family} pods sit` : `if IPv${family} pods sit`
        } on bridge ${bridge}${holdsPods ? ' and' : ':'} ${state}: packets between pods of this node ${
          holdsPods ? 'are' : 'would'
        } not ${holdsPods ? 'seen' : 'be seen'} by nftables, no policy applies to them`,
        remedy:
          facts.bridgeNf === undefined
            ? `modprobe br_netfilter, then sysctl -w net.bridge.${call}=1`
            : `sysctl -w net.bridge.${call}=1`,
      });
    }
  }
  return found;
}

function isLinkLocal(cidr: Cidr): boolean {
  const local = parseCidr(cidr.family === 4 ? '169.254.0.0/16' : 'fe80::/10');
  const all = parseCidr('ff00::/8');
  return [local, all].some(
    (range) =>
      range.ok &&
      range.cidr.family === cidr.family &&
      !isEmptyAddressSet(intersect(addressSetOf(cidr), addressSetOf(range.cidr))),
  );
}

function forwarding(facts: NodeFacts, { podCidrs }: CheckScope): Finding[] {
  const uses = (family: 4 | 6): boolean =>
    cidrs(podCidrs).some((cidr) => cidr.family === family) ||
    (podCidrs.length === 0 && family === 4);
  return ([4, 6] as const).flatMap((family): Finding[] => {
    const on = family === 4 ? facts.forwarding.ipv4 : facts.forwarding.ipv6;
    if (on !== false || !uses(family)) return [];
    const name = family === 4 ? 'net.ipv4.ip_forward' : 'net.ipv6.conf.all.forwarding';
    return [
      {
        check: 'forwarding',
        severity: 'warning',
        message: `${name} is 0: this node does not forward packets of its pods, so there is nothing to enforce on`,
        remedy: `the network plugin usually sets it: sysctl -w ${name}=1`,
      },
    ];
  });
}

function conntrackFill({ conntrack }: NodeFacts): Finding[] {
  if (conntrack === undefined || conntrack.max === 0) return [];
  const fill = conntrack.count / conntrack.max;
  if (fill < 0.8) return [];
  return [
    {
      check: 'conntrack-fill',
      severity: fill < 0.95 ? 'warning' : 'problem',
      message: `the conntrack table is ${Math.floor(fill * 100)} % full (${conntrack.count} of ${conntrack.max}): when it is full the kernel drops new connections, whatever policy says`,
      remedy: 'raise net.netfilter.nf_conntrack_max',
    },
  ];
}

function flowtables(facts: NodeFacts): Finding[] {
  return facts.flowtables.map((name) => ({
    check: 'flowtable',
    severity: 'warning',
    message: `flowtable ${name}: connections it has taken over pass without being looked at, also after a policy forbids them`,
    remedy: 'take pod traffic out of the flowtable',
  }));
}

/** Bits of the connection mark that a rule writes; undefined when it writes none. */
export function markBitsOf(rule: string): number | undefined {
  const set =
    /\bct mark set (.+?)(?= (?:accept|drop|return|jump|goto|counter|comment|log)\b|$)/.exec(
      rule,
    )?.[1];
  if (set === undefined) return /\bCONNMARK\b/.test(rule) ? 0xffffffff : undefined;
  const kept = /^ct mark(?: (?:&|and) (0x[0-9a-f]+))?(?: (?:\||or|\^|xor) (0x[0-9a-f]+))?$/.exec(
    set,
  );
  if (kept === null) return 0xffffffff;
  const and = kept[1] === undefined ? 0 : ~Number(kept[1]);
  return (and | Number(kept[2] ?? 0)) >>> 0;
}

function otherRules(facts: NodeFacts, { markMask }: CheckScope): Finding[] {
  const found: Finding[] = [];
  for (const [table, rules] of facts.rules) {
    if (rules === undefined) {
      found.push({
        check: 'other-tables',
        severity: 'note',
        message: `table ${table} could not be read; whether it touches connection marks is not known`,
      });
      continue;
    }
    const marks = rules.find((rule) => ((markBitsOf(rule) ?? 0) & markMask) !== 0);
    if (marks !== undefined)
      found.push({
        check: 'conntrack-mark',
        severity: 'warning',
        message: `table ${table} writes bits of the connection mark that podwall uses (mask 0x${(markMask >>> 0).toString(16)}): ${marks}`,
        remedy:
          'a connection whose mark is overwritten is judged again for each packet, or, if the value is the one in force, taken for judged',
      });
    if (rules.some((rule) => /\bnotrack\b/.test(rule)))
      found.push({
        check: 'notrack',
        severity: 'warning',
        message: `table ${table} exempts packets from connection tracking (notrack): podwall drops those of pods`,
      });
  }
  return found;
}

function hookPriorities(facts: NodeFacts): Finding[] {
  return facts.chains
    .filter(
      ({ family, hook, priority }) =>
        priority === ourPriority && hooks.has(hook ?? '') && ['ip', 'ip6', 'inet'].includes(family),
    )
    .map(({ family, table, name, hook }) => ({
      check: 'hook-priority',
      severity: 'note',
      message: `chain ${family} ${table} ${name} has our priority (${ourPriority}) in hook ${hook}: which of the two sees a packet first depends on which was loaded first; a packet that it drops is not in podwall's counts`,
    }));
}

// --- reading ----------------------------------------------------------------------------------

/** Everything from one namespace in one process: each file between marks. */
const factScript = `
echo "kernel $(uname -r)"
for f in net/bridge/bridge-nf-call-iptables net/bridge/bridge-nf-call-ip6tables net/ipv4/ip_forward \
  net/ipv6/conf/all/forwarding net/netfilter/nf_conntrack_count net/netfilter/nf_conntrack_max; do
  [ -r /proc/sys/$f ] && echo "sys $f $(cat /proc/sys/$f)"
done
for d in "$1"/class/net/*/bridge; do
  [ -d "$d" ] || continue
  d=\${d%/bridge}
  [ -n "$(ls "$d/brif")" ] && echo "bridge \${d##*/}"
done
[ -r /proc/net/route ] && sed 1d /proc/net/route | while read -r i d g f r u m k x; do echo "route4 $i $d $k"; done
[ -r /proc/net/ipv6_route ] && while read -r d l s m g t r u f i; do echo "route6 $i $d $l"; done </proc/net/ipv6_route
true
`;

export interface ReadFactsOptions {
  /** Network namespace file; default: ours. */
  readonly netns?: string | undefined;
  readonly table: string;
  readonly timeoutMs?: number;
}

/**
 * Reads a node. Other people's tables are read one at a time, each by a process of its own: an nft
 * that meets objects of a newer version may crash (never `list ruleset`).
 */
export async function readFacts(options: ReadFactsOptions): Promise<NodeFacts> {
  const { netns, table } = options;
  const timeoutMs = options.timeoutMs ?? 10_000;
  const env = { ...process.env, HOME: '/nonexistent', LC_ALL: 'C' };
  const inside = (command: string, args: readonly string[]): Promise<RunResult> =>
    netns === undefined
      ? run(command, args, { env, timeoutMs })
      : run('nsenter', [`--net=${netns}`, command, ...args], { env, timeoutMs });
  // sysfs shows the interfaces of the namespace it was mounted in.
  const shell =
    netns === undefined
      ? inside('sh', ['-c', factScript, 'facts', '/sys'])
      : inside('unshare', [
          '--mount',
          'sh',
          '-c',
          `mount -t sysfs podwall /sys 2>/dev/null\n${factScript}`,
          'facts',
          '/sys',
        ]);
  const read = readFactLines((await shell).stdout);
  const base = { ...read, chains: [], flowtables: [], rules: new Map() };

  let nftVersion: string | undefined;
  let listing: RunResult;
  try {
    nftVersion = /v([\d.]+)/.exec((await inside('nft', ['--version'])).stdout)?.[1];
    listing = await inside('nft', ['list', 'tables']);
  } catch (error) {
    return { ...base, nftError: error instanceof Error ? error.message : String(error) };
  }
  if (listing.signal !== null)
    return {
      ...base,
      nftCrash: listing.signal,
      ...(nftVersion === undefined ? {} : { nftVersion }),
    };
  if (listing.code !== 0 || nftVersion === undefined)
    return {
      ...base,
      nftError: listing.stderr.trim().split('\n')[0] || `exit code ${listing.code}`,
    };

  const rules = new Map<string, readonly string[] | undefined>();
  const chains: ForeignChain[] = [];
  const flows: string[] = [];
  for (const line of listing.stdout.split('\n')) {
    const [, family, name] = /^table (\S+) (\S+)$/.exec(line.trim()) ?? [];
    if (family === undefined || name === undefined) continue;
    if (family === 'inet' && (name === table || name === `${table}_b`)) continue;
    const key = `${family} ${name}`;
    try {
      const { code, stdout } = await inside('nft', ['list', 'table', family, name]);
      if (code !== 0) {
        rules.set(key, undefined);
        continue;
      }
      const parts = readForeignTable(family, name, stdout);
      rules.set(key, parts.rules);
      chains.push(...parts.chains);
      flows.push(...parts.flowtables);
    } catch {
      rules.set(key, undefined);
    }
  }
  return { ...read, nftVersion, chains, flowtables: flows, rules };
}

function readFactLines(
  text: string,
): Pick<NodeFacts, 'kernel' | 'bridges' | 'routes' | 'bridgeNf' | 'forwarding' | 'conntrack'> {
  let kernel = '';
  const sys = new Map<string, number>();
  const bridgeNames: string[] = [];
  const routes: Route[] = [];
  for (const line of text.split('\n')) {
    const [what, a = '', b = '', c = ''] = line.split(' ');
    if (what === 'kernel') kernel = a;
    else if (what === 'sys') sys.set(a, Number(b));
    else if (what === 'bridge') bridgeNames.push(a);
    else if (what === 'route4') {
      const to = routeTo4(b, c);
      if (to !== undefined) routes.push({ device: a, to });
    } else if (what === 'route6') {
      const address = parseAddress(b.replaceAll(/(.{4})(?=.)/g, '$1:'));
      if (address !== undefined && b.length === 32)
        routes.push({ device: a, to: `${b.replaceAll(/(.{4})(?=.)/g, '$1:')}/${parseInt(c, 16)}` });
    }
  }
  const bit = (name: string): boolean | undefined => {
    const value = sys.get(name);
    return value === undefined ? undefined : value !== 0;
  };
  const [nf4, nf6] = [
    bit('net/bridge/bridge-nf-call-iptables'),
    bit('net/bridge/bridge-nf-call-ip6tables'),
  ];
  const ipv4 = bit('net/ipv4/ip_forward');
  const ipv6 = bit('net/ipv6/conf/all/forwarding');
  const count = sys.get('net/netfilter/nf_conntrack_count');
  const max = sys.get('net/netfilter/nf_conntrack_max');
  return {
    kernel,
    bridges: bridgeNames,
    routes,
    ...(nf4 === undefined && nf6 === undefined
      ? {}
      : { bridgeNf: { ipv4: nf4 === true, ipv6: nf6 === true } }),
    forwarding: {
      ...(ipv4 === undefined ? {} : { ipv4 }),
      ...(ipv6 === undefined ? {} : { ipv6 }),
    },
    ...(count === undefined || max === undefined ? {} : { conntrack: { count, max } }),
  };
}

/** /proc/net/route prints addresses as the host's integers: little-endian on the machines of today. */
function routeTo4(destination: string, mask: string): string | undefined {
  if (!/^[0-9A-F]{8}$/i.test(destination) || !/^[0-9A-F]{8}$/i.test(mask)) return undefined;
  const bytes = destination.match(/../g)?.map((byte) => parseInt(byte, 16)) ?? [];
  const bits = parseInt(mask, 16).toString(2).replaceAll('0', '').length;
  return `${bytes.toReversed().join('.')}/${bits}`;
}

/** Base chains, flowtables and rules in a listing of somebody's table. */
export function readForeignTable(
  family: string,
  table: string,
  listing: string,
): { chains: ForeignChain[]; flowtables: string[]; rules: string[] } {
  const chains: ForeignChain[] = [];
  const flows: string[] = [];
  const rules: string[] = [];
  let chain: string | undefined;
  for (const raw of listing.split('\n')) {
    const line = raw.trim();
    const flow = /^flowtable (\S+) \{$/.exec(line)?.[1];
    if (flow !== undefined) flows.push(`${family} ${table} ${flow}`);
    const opened = /^(chain|set|map|flowtable|counter|quota|limit) (\S+) \{$/.exec(line);
    if (opened !== null) {
      chain = opened[1] === 'chain' ? opened[2] : undefined;
      continue;
    }
    if (line === '}') chain = undefined;
    if (chain === undefined || line === '') continue;
    const base = /^type \w+ hook (\w+)(?: devices? .*?)? priority (.+?);/.exec(line);
    if (base === null) rules.push(line);
    else {
      const priority = priorityOf(base[2] as string, family);
      chains.push({
        family,
        table,
        name: chain,
        hook: base[1] as string,
        ...(priority === undefined ? {} : { priority }),
      });
    }
  }
  return { chains, flowtables: flows, rules };
}

const namedPriorities: Readonly<Record<string, number>> = {
  raw: -300,
  mangle: -150,
  dstnat: -100,
  filter: 0,
  security: 50,
  srcnat: 100,
};

function priorityOf(text: string, family: string): number | undefined {
  if (family === 'bridge' || family === 'netdev') return undefined;
  const [, name, sign, offset] = /^([a-z]+)(?: ([+-]) (\d+))?$/.exec(text) ?? [];
  if (name === undefined) return /^-?\d+$/.test(text) ? Number(text) : undefined;
  const base = namedPriorities[name];
  if (base === undefined) return undefined;
  return base + (sign === '-' ? -1 : 1) * Number(offset ?? 0);
}

/** {@link readFacts} and {@link judgeNode}; a node that cannot be read is one finding. */
export async function checkNode(
  options: ReadFactsOptions & CheckScope,
): Promise<readonly Finding[]> {
  try {
    return judgeNode(await readFacts(options), options);
  } catch (error) {
    return [
      {
        check: 'other-tables',
        severity: 'note',
        message: `this node could not be checked: ${error instanceof Error ? error.message : String(error)}`,
      },
    ];
  }
}
