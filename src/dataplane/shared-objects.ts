/**
 * The kernel objects of all programs of a node, each there as long as a program uses it, and what of
 * them changed since last asked. Must not know why programs come and go.
 */
import type { Family } from '../net/address.ts';
import { frameChains } from './model.ts';
import type { AddressGroup, Chain, PortMap, ProgramDelta } from './model.ts';
import { smallerText } from './objects.ts';
import type { GroupDraft } from './objects.ts';
import type { PeerSet } from './peer-sets.ts';
import type { Program } from './programs.ts';

export interface SharedObjects {
  readonly groups: ReadonlyMap<string, AddressGroup>;
  readonly chains: ReadonlyMap<string, Chain>;
  readonly portMaps: ReadonlyMap<string, PortMap>;
  /** Whether members of a group only ever gain by being in it. */
  grants(group: string): boolean;
  add(program: Program): void;
  remove(program: Program): void;
  /** Names of what changed since the last call. */
  takeChanges(): Pick<ProgramDelta, 'groups' | 'chains' | 'portMaps'>;
}

/** Descriptions by how many programs give them; the smallest stands, whoever came first. */
type Abouts = Map<string, number>;

interface GroupRecord {
  readonly abouts: Abouts;
  drop(): void;
}

export function createSharedObjects(peerSet: (key: string) => PeerSet | undefined): SharedObjects {
  const groups = new Map<string, AddressGroup>();
  const chains = new Map<string, Chain>();
  const portMaps = new Map<string, PortMap>();
  const groupUse = new Map<string, GroupRecord>();
  const chainUse = new Map<string, Abouts>();
  const mapUse = new Map<string, number>();
  /** Group → rules that do anything but let pass. */
  const restricting = new Map<string, number>();
  let changedGroups = new Map<string, Set<string> | 'all'>();
  let changedChains = new Set<string>();
  let changedMaps = new Set<string>();

  function weigh(chain: Chain, by: 1 | -1): void {
    for (const rule of chain.rules) {
      if (rule.kind !== 'goto') continue;
      if (rule.target === frameChains.ingress || rule.target === frameChains.accept) continue;
      for (const condition of rule.when)
        if (condition.kind === 'group') {
          const count = (restricting.get(condition.group) ?? 0) + by;
          if (count === 0) restricting.delete(condition.group);
          else restricting.set(condition.group, count);
        }
    }
  }

  // --- sets ---------------------------------------------------------------------------------------

  function touch(name: string, element: string): void {
    const known = changedGroups.get(name);
    if (known === undefined) changedGroups.set(name, new Set([element]));
    else if (known !== 'all') known.add(element);
  }

  /** The elements of a live set: those of its one peer set itself, or the union of several. */
  function follow(
    name: string,
    family: Family,
    keys: readonly string[],
  ): { elements: ReadonlySet<string>; drop: () => void } {
    const sources = keys.flatMap((key) => peerSet(key) ?? []);
    const [first] = sources;
    const union = new Set<string>();
    const listener = (of: Family, element: string): void => {
      if (of !== family) return;
      if (sources.length > 1) {
        if (sources.some(({ members }) => members[family].present.has(element))) union.add(element);
        else union.delete(element);
      }
      touch(name, element);
    };
    for (const { listeners, members } of sources) {
      listeners.add(listener);
      if (sources.length > 1) for (const element of members[family].present) union.add(element);
    }
    return {
      elements: sources.length === 1 && first !== undefined ? first.members[family].present : union,
      drop: () => {
        for (const { listeners } of sources) listeners.delete(listener);
      },
    };
  }

  function addGroup({ content, ...group }: GroupDraft): void {
    const { name, family, about } = group;
    const held = groupUse.get(name);
    if (held !== undefined) {
      if (addAbout(held.abouts, about))
        groups.set(name, { ...(groups.get(name) as AddressGroup), about });
      return;
    }
    const { elements, drop } =
      content.kind === 'live'
        ? follow(name, family, content.keys)
        : { elements: content.elements, drop: () => {} };
    groups.set(name, { ...group, elements });
    groupUse.set(name, { abouts: new Map([[about, 1]]), drop });
    changedGroups.set(name, 'all');
  }

  function removeGroup({ name, about }: GroupDraft): void {
    const held = groupUse.get(name);
    if (held === undefined) return;
    const left = removeAbout(held.abouts, about);
    if (left === undefined) {
      held.drop();
      groupUse.delete(name);
      groups.delete(name);
      changedGroups.set(name, 'all');
    } else if (left !== groups.get(name)?.about)
      groups.set(name, { ...(groups.get(name) as AddressGroup), about: left });
  }

  // --- chains and maps ----------------------------------------------------------------------------

  function addChain(chain: Chain): void {
    const held = chainUse.get(chain.name);
    if (held !== undefined) {
      if (addAbout(held, chain.about)) chains.set(chain.name, chain);
      return;
    }
    chainUse.set(chain.name, new Map([[chain.about, 1]]));
    chains.set(chain.name, chain);
    changedChains.add(chain.name);
    weigh(chain, 1);
  }

  function removeChain(chain: Chain): void {
    const held = chainUse.get(chain.name);
    if (held === undefined) return;
    const left = removeAbout(held, chain.about);
    if (left === undefined) {
      chainUse.delete(chain.name);
      chains.delete(chain.name);
      changedChains.add(chain.name);
      weigh(chain, -1);
    } else if (left !== chains.get(chain.name)?.about)
      chains.set(chain.name, { ...chain, about: left });
  }

  return {
    groups,
    chains,
    portMaps,
    grants: (group) => !restricting.has(group),
    add(program) {
      program.groups.forEach(addGroup);
      program.chains.forEach(addChain);
      for (const map of program.portMaps) {
        const uses = mapUse.get(map.name) ?? 0;
        mapUse.set(map.name, uses + 1);
        if (uses > 0) continue;
        portMaps.set(map.name, map);
        changedMaps.add(map.name);
      }
    },
    remove(program) {
      program.groups.forEach(removeGroup);
      program.chains.forEach(removeChain);
      for (const { name } of program.portMaps) {
        const uses = (mapUse.get(name) ?? 0) - 1;
        if (uses > 0) {
          mapUse.set(name, uses);
          continue;
        }
        mapUse.delete(name);
        portMaps.delete(name);
        changedMaps.add(name);
      }
    },
    takeChanges() {
      const taken = { groups: changedGroups, chains: changedChains, portMaps: changedMaps };
      changedGroups = new Map();
      changedChains = new Set();
      changedMaps = new Set();
      return taken;
    },
  };
}

/** True when it is now the one that stands. */
function addAbout(abouts: Abouts, about: string): boolean {
  const isSmallest = [...abouts.keys()].every((other) => smallerText(other, about) === about);
  const uses = abouts.get(about) ?? 0;
  abouts.set(about, uses + 1);
  return uses === 0 && isSmallest;
}

/** The one that stands without it; undefined: none is left. */
function removeAbout(abouts: Abouts, about: string): string | undefined {
  const uses = (abouts.get(about) ?? 0) - 1;
  if (uses > 0) abouts.set(about, uses);
  else abouts.delete(about);
  const [first, ...rest] = abouts.keys();
  return first === undefined ? undefined : rest.reduce(smallerText, first);
}
