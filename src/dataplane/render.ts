/**
 * nftables text for nft 1.0.6 and later: the frame, the objects of a program, and the whole of both
 * for readers. Must not know what the kernel holds at present.
 *
 * Rules match the tuple of the connection, not the packet: `ct original saddr` is who opened it,
 * `ct reply saddr` who answers after destination NAT, `ct reply proto-src` the port that answers. So
 * Services do not matter, and a reply is judged by the same rules as the packet it answers.
 *
 * In `forward`, the packets of a new connection carry the same three values themselves: destination
 * NAT is done, source NAT is still to come. To read them there is cheaper, 15 ns an address and 39 ns
 * a port. So each chain, port map and dispatch map of a program stands in the table twice: as a form
 * that reads the connection, for every packet, and as one that reads the packet (`_n`), for those.
 */
import type { Family } from '../net/address.ts';
import type {
  AddressGroup,
  Chain,
  Condition,
  DataplaneOptions,
  End,
  NodeProgram,
  PortMap,
  Rule,
} from './model.ts';
import { frameChains } from './model.ts';
import { nameOf } from './naming.ts';
import type { Direction } from '../policy/compiled.ts';

/** What a form reads: the connection of any packet, or a new connection's packet in `forward`. */
export type Form = 'connection' | 'packet';

export const forms: readonly Form[] = ['connection', 'packet'];

const PACKET_FORM = '_n';

/** Name of a chain or map in a form; frame chains that serve both have one name. */
export function inForm(form: Form, name: string): string {
  return form === 'packet' && (/^[eikp]_/.test(name) || name === frameChains.ingress)
    ? name + PACKET_FORM
    : name;
}

/** Undoes {@link inForm}. */
export function formOf(name: string): { readonly form: Form; readonly name: string } {
  return name.endsWith(PACKET_FORM)
    ? { form: 'packet', name: name.slice(0, -PACKET_FORM.length) }
    : { form: 'connection', name };
}

/** Sets and maps of the frame. */
export function dispatchMap(
  direction: Direction,
  family: Family,
  form: Form = 'connection',
): string {
  const suffix = form === 'packet' ? PACKET_FORM : '';
  return `${direction === 'Egress' ? 'eg' : 'in'}${family}${suffix}`;
}

/** An element of that map. */
export function dispatchElement(address: string, target: string, form: Form): string {
  return `${address} : goto ${inForm(form, target)}`;
}

/**
 * A stated size lets the kernel take its table of fixed size, a fifth cheaper to look up and asked
 * twice for each new connection. Kubernetes is far from that many pods on a node; more are refused.
 */
const MAX_LOCAL_PODS = 8192;

/** Hash set of the known local pods of a family. */
export function localGroup(family: Family): string {
  return `local${family}`;
}

/** Pairs (pod, itself), filled only where a pod may reach itself through a Service. */
export function selfGroup(family: Family): string {
  return `self${family}`;
}

/** Denied flows; `audited`: those that were let pass all the same. */
export function observedGroup(
  direction: Direction,
  family: Family,
  ported: boolean,
  audited = false,
): string {
  return `${audited ? 'a' : ''}${direction === 'Egress' ? 'oe' : 'oi'}${family}${ported ? '' : 'x'}`;
}

/** Denied packets by protocol, all of them: one small set tells whether there is anything to read. */
export const observedTotal = 'oall';

/** The single element of this set is the current epoch. */
export const epochGroup = 'epoch';

export const families: readonly Family[] = [4, 6];

const ip = { 4: 'ip', 6: 'ip6' } as const;
const type = { 4: 'ipv4_addr', 6: 'ipv6_addr' } as const;

/** How a form reads an end's address. */
const address: Readonly<Record<Form, (end: End, family: Family) => string>> = {
  connection: (end, family) => `ct ${end === 'source' ? 'original' : 'reply'} ${ip[family]} saddr`,
  packet: (end, family) => `${ip[family]} ${end === 'source' ? 'saddr' : 'daddr'}`,
};

/** How a form reads the destination port, behind `meta l4proto`. */
const port: Readonly<Record<Form, string>> = {
  connection: 'ct reply proto-src',
  packet: 'th dport',
};

/** Highest epoch that fits; 0 means "never judged". */
export function maxEpoch(options: DataplaneOptions): number {
  return (options.markMask >>> shiftOf(options)) >>> 0;
}

function shiftOf(options: DataplaneOptions): number {
  return Math.clz32((options.markMask & -options.markMask) >>> 0) ^ 31;
}

/** @throws RangeError when the mask is not one run of 8 to 24 bits. */
export function checkOptions(options: DataplaneOptions): void {
  const max = maxEpoch(options);
  if (max < 255 || max > 0xffffff || (max & (max + 1)) !== 0)
    throw new RangeError(
      `mark mask 0x${(options.markMask >>> 0).toString(16)} is not one run of 8 to 24 bits`,
    );
  if (!/^[a-z][a-z0-9_]{0,60}$/.test(options.table))
    throw new RangeError(
      `table name ${JSON.stringify(options.table)} is not of the form [a-z][a-z0-9_]*`,
    );
}

function hex(value: number): string {
  return `0x${(value >>> 0).toString(16)}`;
}

/**
 * The two chains that hold the epoch. They are rewritten in place (flush and refill in one
 * transaction) whenever something may have been revoked. `strict`: no connection is taken for
 * granted, every packet is judged; used when epochs have run out and old marks were not swept.
 */
export function epochChains(
  options: DataplaneOptions,
  epoch: number,
): { readonly c_est: readonly string[]; readonly c_ok: readonly string[] } {
  const { markMask } = options;
  if (epoch === 0) return { c_est: [], c_ok: ['accept'] };
  const value = (epoch << shiftOf(options)) >>> 0;
  return {
    c_est: [`ct state established ct mark & ${hex(markMask)} == ${hex(value)} accept`],
    c_ok: [`ct mark set ct mark & ${hex(~markMask)} | ${hex(value)} accept`],
  };
}

export interface Frame {
  /** Hash of everything in the frame that cannot be changed in place. */
  readonly id: string;
  /** Sets, maps and chains that no packet reaches yet. */
  readonly body: readonly string[];
  /** Base chains: from here on packets are judged. */
  readonly hooks: readonly string[];
}

function chainText(name: string, rules: readonly string[]): string {
  return `  chain ${name} {\n${rules.map((rule) => `    ${rule}\n`).join('')}  }`;
}

/** The chains that name this node's pod ranges; rewritten in place when those change. */
export function rangeChains(
  program: Pick<NodeProgram, 'podCidrs' | 'options' | 'frame'>,
): Readonly<Record<string, readonly string[]>> {
  const { podCidrs, options } = program;
  const each = (rule: (family: Family, cidr: string) => string): string[] =>
    families.flatMap((family) => podCidrs[family].map((cidr) => rule(family, cidr)));
  const unknown = options.unknownPod === 'deny';
  const egress = (form: Form): string[] => [
    ...families.flatMap((family) => {
      const source = address[form]('source', family);
      return [`${source} vmap @${dispatchMap('Egress', family, form)}`];
    }),
    ...(unknown
      ? each((family, cidr) => `${address[form]('source', family)} ${cidr} goto u_eg`)
      : []),
    `goto ${inForm(form, frameChains.ingress)}`,
  ];
  const ingress = (form: Form): string[] => [
    ...families.map(
      (family) =>
        `${address[form]('destination', family)} vmap @${dispatchMap('Ingress', family, form)}`,
    ),
    ...(unknown
      ? each((family, cidr) => `${address[form]('destination', family)} ${cidr} goto u_in`)
      : []),
    'goto c_ok',
  ];
  return {
    c_eg: egress('connection'),
    c_eg_n: [
      ...(options.midStream === 'drop'
        ? ['tcp flags & (fin|syn|rst|ack) != syn goto c_midstream']
        : []),
      ...egress('packet'),
    ],
    c_in: ingress('connection'),
    c_in_n: ingress('packet'),
    // Packets without a usable connection: only the packet's own addresses tell whether a pod is meant.
    c_loose: [
      ...families.flatMap((family) =>
        ['saddr', 'daddr'].map((end) => `${ip[family]} ${end} @${localGroup(family)} goto d_loose`),
      ),
      ...(unknown
        ? each((family, cidr) => `${ip[family]} saddr ${cidr} goto d_loose`).concat(
            each((family, cidr) => `${ip[family]} daddr ${cidr} goto d_loose`),
          )
        : []),
      'accept',
    ],
    c_pods: [
      ...families.map(
        (family) => `ct original ${ip[family]} saddr @${localGroup(family)} goto c_guard`,
      ),
      ...(unknown
        ? each((family, cidr) => `ct original ${ip[family]} saddr ${cidr} goto c_guard`)
        : []),
    ],
  };
}

/** Equal for programs whose {@link rangeChains} name the same ranges. */
export function rangesKey(program: Pick<NodeProgram, 'podCidrs' | 'options'>): string {
  const { podCidrs, options } = program;
  return options.unknownPod === 'allow' ? '' : [...podCidrs[4], ...podCidrs[6]].sort().join(' ');
}

/** The frame of a table. `epoch` is what connections are marked with from the start. */
export function frameOf(
  program: Pick<NodeProgram, 'podCidrs' | 'options' | 'frame'>,
  epoch: number,
): Frame {
  const { options, frame } = program;
  const observed = options.observe
    ? (['Egress', 'Ingress'] as const).flatMap((direction) =>
        [false, true].flatMap((audited) =>
          families.flatMap((family) => [
            `  set ${observedGroup(direction, family, true, audited)} { type ${type[family]} . ${type[family]} . inet_proto . inet_service; size 65536; flags dynamic,timeout; timeout 10m; }`,
            `  set ${observedGroup(direction, family, false, audited)} { type ${type[family]} . ${type[family]} . inet_proto; size 65536; flags dynamic,timeout; timeout 10m; }`,
          ]),
        ),
      )
    : [];
  const sets = [
    ...families.flatMap((family) => [
      ...(['Egress', 'Ingress'] as const).flatMap((direction) =>
        forms.map(
          (form) =>
            `  map ${dispatchMap(direction, family, form)} { type ${type[family]} : verdict; size ${MAX_LOCAL_PODS}; }`,
        ),
      ),
      `  set ${localGroup(family)} { type ${type[family]}; }`,
      ...(frame.selfThroughService === 'allow'
        ? [`  set ${selfGroup(family)} { type ${type[family]} . ${type[family]}; }`]
        : []),
    ]),
    `  set ${epochGroup} { type mark; }`,
    ...(options.observe
      ? [`  set ${observedTotal} { type inet_proto; size 256; flags dynamic; }`]
      : []),
    ...observed,
  ];
  const auditing = options.mode === 'audit';
  // A limit that is reached, or a set that is full, ends this rule only; the verdict is a rule of its own.
  const limit =
    options.observeLimit > 0
      ? `limit rate ${options.observeLimit}/second burst ${options.observeLimit} packets `
      : '';
  const record = (direction: Direction, audited: boolean): string[] =>
    options.observe
      ? [
          `update @${observedTotal} { meta l4proto counter }`,
          ...families.flatMap((family) => [
            ...['tcp', 'udp', 'sctp'].map(
              (protocol) =>
                `meta nfproto ipv${family} meta l4proto ${protocol} ${limit}update @${observedGroup(direction, family, true, audited)} { ${ip[family]} saddr . ${ip[family]} daddr . meta l4proto . th dport counter }`,
            ),
            `meta nfproto ipv${family} meta l4proto != tcp meta l4proto != udp meta l4proto != sctp ${limit}update @${observedGroup(direction, family, false, audited)} { ${ip[family]} saddr . ${ip[family]} daddr . meta l4proto counter }`,
          ]),
        ]
      : [];
  const audit = (direction: Direction): string[] => [
    ...record(direction, true),
    `counter goto ${direction === 'Egress' ? 'c_in' : 'c_ok'}`,
  ];
  const denial = (direction: Direction): string[] =>
    auditing
      ? audit(direction)
      : [
          ...record(direction, false),
          ...(options.deny === 'reject'
            ? [
                'meta l4proto tcp counter reject with tcp reset',
                'counter reject with icmpx admin-prohibited',
              ]
            : []),
          'counter drop',
        ];
  const exemptions = (direction: Direction): string[] => {
    const target = direction === 'Egress' ? frameChains.ingress : frameChains.accept;
    return [
      ...(frame.selfThroughService === 'allow'
        ? families.map((family) => {
            const read = address.connection;
            return `${read('source', family)} . ${read('destination', family)} @${selfGroup(family)} goto ${target}`;
          })
        : []),
      ...(direction === 'Egress' && frame.podToOwnNode === 'allow'
        ? [`fib daddr type local goto ${target}`]
        : []),
    ];
  };
  const exempting: Record<string, readonly string[]> =
    frame.selfThroughService === 'allow' || frame.podToOwnNode === 'allow'
      ? {
          // Not by way of the other chains: the kernel limits how many may follow each other.
          x_eg: [...exemptions('Egress'), ...denial('Egress')],
          x_in: [...exemptions('Ingress'), ...denial('Ingress')],
          xa_eg: [...exemptions('Egress'), ...audit('Egress')],
          xa_in: [...exemptions('Ingress'), ...audit('Ingress')],
        }
      : {};
  const epochs = epochChains(options, epoch);
  const last = auditing ? 'counter accept' : 'counter drop';
  const chains: Record<string, readonly string[]> = {
    d_eg: denial('Egress'),
    d_in: denial('Ingress'),
    a_eg: audit('Egress'),
    a_in: audit('Ingress'),
    ...exempting,
    d_loose: [last],
    // A pod's gateway may stand inside the pod range: it is the node, not an unknown pod.
    u_in: ['fib daddr type local goto c_ok', 'counter goto d_in'],
    // The node itself may talk to its pods from that gateway address: these are the answers.
    u_eg: ['ct direction reply fib daddr type local goto c_ok', 'counter goto d_eg'],
    c_est: epochs.c_est,
    c_ok: epochs.c_ok,
    ...rangeChains(program),
    c_nd: [
      'icmpv6 type 133-137 accept',
      'icmpv6 type 130-132 accept',
      'icmpv6 type 143 accept',
      'goto c_loose',
    ],
    // Related ICMP belongs to a connection that was let pass once: path MTU discovery lives on it.
    c_other: [
      'ct state related meta l4proto icmp accept',
      'ct state related meta l4proto ipv6-icmp accept',
      'ct state related goto c_eg',
      'meta l4proto ipv6-icmp goto c_nd',
      'goto c_loose',
    ],
    c_midstream: [
      ...families.flatMap((family) => [
        `ct original ${ip[family]} saddr @${localGroup(family)} goto d_loose`,
        `ct reply ${ip[family]} saddr @${localGroup(family)} goto d_loose`,
      ]),
      'goto c_eg',
    ],
    c_eval: [
      ...(options.midStream === 'drop'
        ? ['meta l4proto tcp ct state new tcp flags & (fin|syn|rst|ack) != syn goto c_midstream']
        : []),
      'ct state new,established goto c_eg',
      'goto c_other',
    ],
    // Whoever comes back from c_eval ran off a chain that is being changed: deny.
    c_guard: ['jump c_eval', last],
  };
  const hook = (name: string): string =>
    `    type filter hook ${name} priority filter - 5; policy accept;\n`;
  const hooks = [
    // New connections first. Whoever comes back from there ran off a chain, and never gets a second try.
    `  chain h_forward {\n${hook('forward')}    ct state new jump c_eg_n\n    jump c_est\n    ct state new ${last}\n    jump c_eval\n    ${last}\n  }`,
    `  chain h_input {\n${hook('input')}    iifname "lo" accept\n    jump c_est\n    jump c_pods\n  }`,
    // What the node itself sends is free (S160); what it sends in a pod's name (IPVS, proxies) is not.
    // A refusal of ours is such a packet too, and opens nothing.
    `  chain h_output {\n${hook('output')}    oifname "lo" accept\n    fib saddr type local accept\n${
      options.deny === 'reject' ? '    tcp flags & (syn|rst) == rst accept\n' : ''
    }    jump c_est\n    goto c_guard\n  }`,
  ];
  // The pod ranges and the epoch change in place, everything else makes another frame.
  const variable = new Set(['c_est', 'c_ok', ...Object.keys(rangeChains(program))]);
  const fixed = Object.entries(chains).filter(([name]) => !variable.has(name));
  const plain = rangeChains({ ...program, podCidrs: { 4: [], 6: [] } });
  const id = nameOf(
    'frame',
    JSON.stringify([sets, fixed, plain, hooks, options.unknownPod, options.markMask]),
  );
  return {
    id,
    body: [
      `  chain ${id} { }`,
      ...sets,
      ...Object.entries(chains).map(([name, rules]) => chainText(name, rules)),
    ],
    hooks,
  };
}

// --- objects of a program ---------------------------------------------------------------------

/** Elements per line: nft's parser is slow on very long lines. */
const PER_LINE = 64;

/** `{ a, b, c }` over lines of bounded length. */
export function braces(elements: Iterable<string>): string {
  const list = [...elements];
  if (list.length <= PER_LINE) return `{ ${list.join(', ')} }`;
  const lines: string[] = [];
  for (let i = 0; i < list.length; i += PER_LINE)
    lines.push(list.slice(i, i + PER_LINE).join(', '));
  return `{\n      ${lines.join(',\n      ')}\n    }`;
}

export function groupText(group: AddressGroup): string {
  const flags = group.kind === 'ranges' ? ' flags interval;' : '';
  const elements = group.elements.size === 0 ? '' : ` elements = ${braces(group.elements)};`;
  return `  set ${group.name} { type ${type[group.family]};${flags}${elements} }`;
}

/** Both forms. The size, which never changes, gives the kernel's table of fixed size. */
export function portMapText(map: PortMap): string {
  return forms
    .map((form) => {
      const elements = [...map.entries].map(
        ([port, target]) => `${port} : goto ${inForm(form, target)}`,
      );
      return `  map ${inForm(form, map.name)} { type inet_service : verdict; size ${map.entries.size}; elements = ${braces(elements)}; }`;
    })
    .join('\n');
}

export function programChainText(chain: Chain, form: Form): string {
  return chainText(
    inForm(form, chain.name),
    chain.rules.map((rule) => ruleText(rule, form)),
  );
}

export function ruleText(rule: Rule, form: Form): string {
  if (rule.kind === 'ports')
    return `meta l4proto ${rule.protocol.toLowerCase()} ${port[form]} vmap @${inForm(form, rule.map)}`;
  return [
    ...rule.when.map((condition) => conditionText(condition, form)),
    `goto ${inForm(form, rule.target)}`,
  ].join(' ');
}

function conditionText(condition: Condition, form: Form): string {
  switch (condition.kind) {
    case 'protocol':
      return `meta l4proto ${condition.protocol.toLowerCase()}`;
    case 'port':
      return `${port[form]} ${
        condition.from === condition.to ? condition.from : `${condition.from}-${condition.to}`
      }`;
    case 'group':
      return `${address[form](condition.end, condition.family)} @${condition.group}`;
    case 'addresses':
      // Every address: nft takes no such range.
      if (
        /^(0\.0\.0\.0|::)$/.test(condition.from) &&
        /^(255\.255\.255\.255|ffff(:ffff){7})$/.test(condition.to)
      )
        return `meta nfproto ipv${condition.family}`;
      return `${address[form](condition.end, condition.family)} ${
        condition.from === condition.to ? condition.from : `${condition.from}-${condition.to}`
      }`;
  }
}

function dispatchElements(
  program: NodeProgram,
  direction: Direction,
  family: Family,
  form: Form,
): string[] {
  return [...program.dispatch[direction][family]].map(([pod, chain]) =>
    dispatchElement(pod, chain, form),
  );
}

/** Addresses of the known local pods. */
export function localAddresses(program: NodeProgram, family: Family): string[] {
  return [
    ...new Set([
      ...program.dispatch.Egress[family].keys(),
      ...program.dispatch.Ingress[family].keys(),
    ]),
  ];
}

/** The chains first, empty, in both forms: rules and maps may then name them in any order. */
export function declareChains(names: Iterable<string>): string {
  return [...names]
    .flatMap((name) => forms.map((form) => `  chain ${inForm(form, name)} { }\n`))
    .join('');
}

/**
 * The whole program as one script, with comments that name policies: what `podwall render` prints.
 * Loading it into an empty kernel gives the program; a running node is changed in steps instead.
 */
export function renderProgram(program: NodeProgram, epoch = 1): string {
  checkOptions(program.options);
  const { options } = program;
  const frame = frameOf(program, epoch);
  const lines = [
    `# podwall program of node ${program.node}`,
    ...program.warnings.map((warning) => `# warning: ${warning}`),
    `table inet ${options.table} {`,
    ...frame.body.slice(0, 1),
    ...[...program.groups.values()].flatMap((group) => [
      `  # ${comment(group.about)}`,
      groupText(group),
    ]),
    ...frame.body.slice(1).filter((text) => !text.startsWith('  map ')),
    ...[...program.chains.values()].flatMap((chain) => [
      `  # ${comment(chain.about)}`,
      ...forms.map((form) => programChainText(chain, form)),
    ]),
    ...[...program.portMaps.values()].map(portMapText),
    ...families.flatMap((family) =>
      (['Egress', 'Ingress'] as const).flatMap((direction) =>
        forms.map((form) => {
          const elements = dispatchElements(program, direction, family, form);
          return `  map ${dispatchMap(direction, family, form)} { type ${type[family]} : verdict; size ${MAX_LOCAL_PODS};${
            elements.length === 0 ? '' : ` elements = ${braces(elements)};`
          } }`;
        }),
      ),
    ),
    ...frame.hooks,
    '}',
    ...families.flatMap((family) => fillLocals(program, family)),
    `add element inet ${options.table} ${epochGroup} { ${epoch} }`,
  ];
  return `${lines.join('\n')}\n`;
}

function fillLocals(program: NodeProgram, family: Family): string[] {
  const addresses = localAddresses(program, family);
  if (addresses.length === 0) return [];
  const { table } = program.options;
  return [
    `add element inet ${table} ${localGroup(family)} ${braces(addresses)}`,
    ...(program.frame.selfThroughService === 'allow'
      ? [
          `add element inet ${table} ${selfGroup(family)} ${braces(addresses.map((address) => `${address} . ${address}`))}`,
        ]
      : []),
  ];
}

/** Names come from users' objects: nothing in them may end the comment. */
function comment(text: string): string {
  return text.replace(/[^ -~]+/gu, '?').slice(0, 2000);
}
