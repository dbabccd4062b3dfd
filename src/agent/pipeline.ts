/**
 * From objects to the program of a node, kept between rounds: takes in what changed and gives the
 * next program. Must not know why it is asked, nor the kernel.
 */
import { compileNode, createNodeCompiler } from '../dataplane/index.ts';
import type { DataplaneOptions, NodeProgram, ProgramDelta } from '../dataplane/index.ts';
import { buildSnapshot } from '../engine/build.ts';
import { createClusterFacts } from '../engine/cluster-facts.ts';
import type { FactChanges, ObjectRef } from '../engine/cluster-facts.ts';
import type { Settings, Snapshot } from '../engine/snapshot.ts';
import type { Diagnostic } from '../k8s/diagnostic.ts';
import type { KubeObject } from '../k8s/types.ts';
import type { CompiledPolicy, PolicyRef } from '../policy/compiled.ts';

export interface PipelineOptions {
  readonly node: string;
  readonly dataplane?: Partial<DataplaneOptions>;
  readonly settings?: Partial<Settings>;
  readonly strictCidr?: boolean;
}

export interface Pipeline {
  /** Objects that may differ, as they are now; undefined: gone. Followed by {@link Pipeline.set}. */
  take(changes: readonly (readonly [ObjectRef, KubeObject | undefined])[]): void;
  /**
   * The program of what was taken, with these policies set aside. No `delta`: anything may differ
   * from the program before.
   */
  set(aside: ReadonlySet<string>): {
    readonly program: NodeProgram;
    readonly delta: ProgramDelta | undefined;
  };
  policy(key: string): CompiledPolicy | undefined;
  facts(): {
    readonly objects: number;
    readonly policies: number;
    readonly invalid: readonly PolicyRef[];
    readonly errors: readonly Diagnostic[];
  };
}

/** Begins without objects. */
export function createPipeline(options: PipelineOptions): Pipeline {
  // Of finished pods that keep their addresses, the order of input decides: nothing can be kept.
  return options.settings?.terminatedPods === 'include' ? fromEverything(options) : kept(options);
}

function kept(options: PipelineOptions): Pipeline {
  const facts = createClusterFacts(options);
  const compiler = createNodeCompiler(options);
  const nothing = (): FactChanges => facts.apply([]);
  let changes = nothing();
  return {
    take: (objects) => {
      changes = facts.apply(objects);
    },
    set: (aside) => {
      const taken = changes;
      changes = nothing();
      return compiler.update(taken, aside);
    },
    policy: (key) => facts.policies.get(key),
    facts: () => ({
      objects: facts.objects,
      policies: facts.policies.size,
      invalid: facts.invalid,
      errors: facts.errors,
    }),
  };
}

function fromEverything(options: PipelineOptions): Pipeline {
  const present = new Map<string, KubeObject>();
  let snapshot: Snapshot | undefined;
  let errors: readonly Diagnostic[] = [];
  const build = (): Snapshot => {
    const built = buildSnapshot(
      [...present.values()].map((object) => ({ object })),
      options,
    );
    errors = built.diagnostics.filter(({ severity }) => severity === 'error');
    return built.snapshot;
  };
  const current = (): Snapshot => (snapshot ??= build());
  return {
    take: (objects) => {
      snapshot = undefined;
      for (const [{ kind, namespace, name }, object] of objects) {
        const key = `${kind} ${namespace ?? ''}/${name}`;
        if (object === undefined) present.delete(key);
        else present.set(key, object);
      }
    },
    set: (aside) => {
      const { policies } = current();
      const excluded = policies.filter(({ ref }) => aside.has(ref.key));
      const program = compileNode(current(), options.node, options.dataplane, excluded);
      return { program, delta: undefined };
    },
    policy: (key) => current().policies.find(({ ref }) => ref.key === key),
    facts: () => ({
      objects: current().completeness.objects,
      policies: current().policies.length,
      invalid: current().completeness.invalidPolicies,
      errors,
    }),
  };
}
