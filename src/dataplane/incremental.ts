/**
 * One node's program kept equal to the cluster at a cost of what changed: the same as `compileNode`
 * of everything, made from the facts that differ. Must not know where facts come from, nor what the
 * kernel holds.
 */
import { formatAddress } from '../net/address.ts';
import type { FactChanges } from '../engine/cluster-facts.ts';
import type { PodInfo, Settings } from '../engine/snapshot.ts';
import { defaultSettings } from '../engine/snapshot.ts';
import type { CompiledPolicy, Direction, PolicyRef } from '../policy/compiled.ts';
import { createMatcherIndex } from './matcher-index.ts';
import { defaultDataplaneOptions, frameChains } from './model.ts';
import type { DataplaneOptions, LocalPod, NodeProgram, ProgramDelta } from './model.ts';
import {
  closersOf,
  comparePolicies,
  directions,
  frameSettings,
  isLocal,
  judgedBy,
  matchesPod,
  podRangesOf,
} from './node-facts.ts';
import type { Closer } from './node-facts.ts';
import { createPeerSets } from './peer-sets.ts';
import type { User } from './peer-sets.ts';
import { compileProgram, portsKey } from './programs.ts';
import type { Program } from './programs.ts';
import { createSharedObjects } from './shared-objects.ts';

export interface NodeCompiler {
  /**
   * Takes in changed facts. The program's maps are those of the programs before: they must not be
   * read any more while this runs, and `delta` says where they differ.
   *
   * @param setAside keys of policies to be treated as not valid: they are left out, and the pods
   * that they select are closed
   */
  update(
    changes: FactChanges,
    setAside?: ReadonlySet<string>,
  ): { readonly program: NodeProgram; readonly delta: ProgramDelta | undefined };
}

export interface NodeCompilerOptions {
  readonly node: string;
  readonly dataplane?: Partial<DataplaneOptions>;
  /** `terminatedPods` must be `ignore`: facts know no other. */
  readonly settings?: Partial<Settings>;
}

/** A program that at least one local pod has. */
interface SharedProgram {
  readonly key: string;
  readonly direction: Direction;
  readonly policies: readonly CompiledPolicy[];
  readonly namedPorts: PodInfo['namedPorts'];
  program: Program;
  /** Stands for the program where it uses peer sets. */
  user: User;
  /** Ids. */
  readonly pods: Set<string>;
}

interface LocalRecord {
  readonly pod: PodInfo;
  /** None when the pod is closed. */
  readonly programs: readonly SharedProgram[];
}

const denyChains = { Ingress: frameChains.denyIngress, Egress: frameChains.denyEgress } as const;

/** Begins without any facts. */
export function createNodeCompiler(options: NodeCompilerOptions): NodeCompiler {
  const { node } = options;
  const dataplane: DataplaneOptions = { ...defaultDataplaneOptions, ...options.dataplane };
  const settings: Settings = { ...defaultSettings, ...options.settings };
  const frame = frameSettings(settings);

  /** All policies, and those of them that are not set aside. */
  const policies = new Map<string, CompiledPolicy>();
  const compiled = new Map<string, CompiledPolicy>();
  const subjects = createMatcherIndex<CompiledPolicy>();
  const serials = new WeakMap<CompiledPolicy, number>();
  let serial = 0;
  let audited = 0;
  let invalid: readonly PolicyRef[] = [];
  let aside: ReadonlySet<string> = new Set();
  let closers: readonly Closer[] = [];
  let ranges = podRangesOf(node, undefined, dataplane);

  const stale = new Set<User>();
  const peers = createPeerSets((user) => stale.add(user));
  const objects = createSharedObjects((key) => peers.set(key));
  const programs = new Map<string, SharedProgram>();
  const programOf = new Map<User, SharedProgram>();
  const locals = new Map<string, LocalRecord>();
  const dispatch = {
    Ingress: { 4: new Map<string, string>(), 6: new Map<string, string>() },
    Egress: { 4: new Map<string, string>(), 6: new Map<string, string>() },
  };
  const pods = new Map<string, LocalPod>();
  let touched = { 4: new Set<string>(), 6: new Set<string>() };
  let familiesInUse = '';
  let last: NodeProgram | undefined;

  // --- programs -----------------------------------------------------------------------------------

  function make(asked: Pick<SharedProgram, 'namedPorts' | 'policies' | 'direction'>): {
    program: Program;
    user: User;
  } {
    const user: User = new Set();
    const book = peers.bookFor(user);
    const { namedPorts, direction } = asked;
    return {
      program: compileProgram(namedPorts, asked.policies, direction, settings, book),
      user,
    };
  }

  function keyOf(policy: CompiledPolicy): number {
    let known = serials.get(policy);
    if (known === undefined) serials.set(policy, (known = ++serial));
    return known;
  }

  function acquire(
    pod: PodInfo,
    selecting: readonly CompiledPolicy[],
    direction: Direction,
  ): SharedProgram {
    const key = `${direction} ${selecting.map(keyOf).join(' ')} ${portsKey(pod.namedPorts, selecting, direction)}`;
    let shared = programs.get(key);
    if (shared === undefined) {
      const asked = { direction, policies: selecting, namedPorts: pod.namedPorts };
      shared = { key, ...asked, ...make(asked), pods: new Set() };
      objects.add(shared.program);
      programs.set(key, shared);
      programOf.set(shared.user, shared);
    }
    shared.pods.add(pod.id);
    return shared;
  }

  function release(shared: SharedProgram, id: string): void {
    shared.pods.delete(id);
    if (shared.pods.size > 0) return;
    programs.delete(shared.key);
    programOf.delete(shared.user);
    objects.remove(shared.program);
    peers.release(shared.user);
  }

  /** Makes a program anew, because of what it froze or because of the families in use. */
  function renew(shared: SharedProgram): void {
    const { program, user } = shared;
    Object.assign(shared, make(shared));
    programOf.delete(user);
    programOf.set(shared.user, shared);
    objects.add(shared.program);
    objects.remove(program);
    peers.release(user);
    if (shared.program.target === program.target) return;
    for (const id of shared.pods) {
      const record = locals.get(id);
      if (record !== undefined) point(record.pod, shared.direction, shared.program.target);
    }
  }

  // --- local pods ---------------------------------------------------------------------------------

  function point(pod: PodInfo, direction: Direction, target: string | undefined): void {
    for (const address of pod.addresses) {
      const text = formatAddress(address);
      if (target === undefined) dispatch[direction][address.family].delete(text);
      else dispatch[direction][address.family].set(text, target);
      touched[address.family].add(text);
    }
  }

  function place(pod: PodInfo): LocalRecord {
    const labels = peers.namespaceLabels(pod.namespace);
    const selecting: CompiledPolicy[] = [];
    subjects.each(pod, labels, (policy) => selecting.push(policy));
    selecting.sort(comparePolicies);
    const closing = closers.filter(({ closes }) => matchesPod(closes, pod, labels));
    const own = directions.flatMap((direction) => {
      if (closing.length > 0) {
        point(pod, direction, denyChains[direction]);
        return [];
      }
      const shared = acquire(pod, selecting, direction);
      point(pod, direction, shared.program.target);
      return [shared];
    });
    const { namespace, name } = pod;
    const known = { namespace, name, judgedBy: judgedBy(selecting, closing) };
    for (const address of pod.addresses) pods.set(formatAddress(address), known);
    return { pod, programs: own };
  }

  /** What leaves is forgotten before what comes is placed: an address may pass from one to another. */
  function replace(ids: ReadonlySet<string>): void {
    const before: (readonly [string, LocalRecord])[] = [];
    for (const id of ids) {
      const record = locals.get(id);
      if (record === undefined) continue;
      before.push([id, record]);
      locals.delete(id);
      for (const direction of directions) point(record.pod, direction, undefined);
      for (const address of record.pod.addresses) pods.delete(formatAddress(address));
    }
    for (const id of ids) {
      const pod = peers.pod(id);
      if (pod !== undefined && isLocal(pod, pod.addresses, node, ranges.set))
        locals.set(id, place(pod));
    }
    for (const [id, record] of before)
      for (const shared of record.programs)
        // The pod may have the same program as before.
        if (locals.get(id)?.programs.includes(shared) !== true) release(shared, id);
  }

  // --- changes ------------------------------------------------------------------------------------

  function setCompiled(key: string, policy: CompiledPolicy | undefined): CompiledPolicy[] {
    const old = compiled.get(key);
    if (old === policy) return [];
    if (old !== undefined) {
      compiled.delete(key);
      subjects.delete(old, old.subject);
      if (old.audit === true) audited -= 1;
    }
    if (policy !== undefined) {
      compiled.set(key, policy);
      subjects.add(policy, policy.subject);
      if (policy.audit === true) audited += 1;
    }
    return [old, policy].filter((one) => one !== undefined);
  }

  /** Policies that came, went or changed; sets the closers, too. */
  function takePolicies(changes: FactChanges, setAside: ReadonlySet<string>): CompiledPolicy[] {
    for (const [key, policy] of changes.policies)
      if (policy === undefined) policies.delete(key);
      else policies.set(key, policy);
    const keys = new Set([...changes.policies.keys(), ...aside, ...setAside]);
    const changed = [...keys].flatMap((key) =>
      setCompiled(key, setAside.has(key) ? undefined : policies.get(key)),
    );
    const excluded = [...setAside].flatMap((key) => policies.get(key) ?? []);
    if (changes.invalid !== undefined || aside.size + setAside.size > 0) {
      invalid = changes.invalid ?? invalid;
      closers = closersOf(invalid, excluded, dataplane);
    }
    aside = new Set(setAside);
    return changed;
  }

  function update(
    changes: FactChanges,
    setAside: ReadonlySet<string> = new Set(),
  ): { readonly program: NodeProgram; readonly delta: ProgramDelta | undefined } {
    const marked = new Set<string>();
    const closersBefore = closers;
    const changed = takePolicies(changes, setAside);
    for (const [id, { pod }] of locals) {
      const labels = peers.namespaceLabels(pod.namespace);
      if (
        closersBefore !== closers ||
        changes.namespaces.has(pod.namespace) ||
        changed.some(({ subject }) => matchesPod(subject, pod, labels))
      )
        marked.add(id);
    }
    peers.setNamespaces(changes.namespaces);
    peers.setNodes(changes.nodes);
    peers.setPods(changes.pods);
    if (changes.nodes.has(node)) {
      const now = podRangesOf(node, peers.node(node), dataplane);
      const moved = JSON.stringify(now.texts) !== JSON.stringify(ranges.texts);
      ranges = now;
      if (moved) for (const pod of peers.pods()) if (pod.node === undefined) marked.add(pod.id);
    }
    for (const [id, pod] of changes.pods)
      if (locals.has(id) || (pod !== undefined && isLocal(pod, pod.addresses, node, ranges.set)))
        marked.add(id);
    const used = peers.families.join();
    if (used !== familiesInUse) for (const user of programOf.keys()) stale.add(user);
    familiesInUse = used;
    replace(marked);
    for (const user of stale) {
      const shared = programOf.get(user);
      if (shared !== undefined) renew(shared);
    }
    stale.clear();
    return emit();
  }

  function emit(): { readonly program: NodeProgram; readonly delta: ProgramDelta | undefined } {
    const program: NodeProgram = {
      node,
      options: dataplane,
      frame,
      podCidrs: ranges.texts,
      groups: objects.groups,
      chains: objects.chains,
      portMaps: objects.portMaps,
      dispatch,
      audits: audited > 0,
      pods,
      warnings: ranges.warnings,
    };
    const parts = { ...objects.takeChanges(), addresses: touched };
    touched = { 4: new Set(), 6: new Set() };
    const from = last;
    last = program;
    return {
      program,
      delta: from === undefined ? undefined : { from, ...parts, grants: objects.grants },
    };
  }

  return { update };
}
