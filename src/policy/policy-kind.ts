/**
 * What a policy kind must offer to take part in podwall: one file in `kinds/` implements this.
 * Must not know of engine, dataplane or any other kind.
 */
import type { FieldError } from '../k8s/field-error.ts';
import type { SchemaNode } from '../k8s/schema.ts';
import type { KubeObject } from '../k8s/types.ts';
import type { SourceRange } from '../k8s/diagnostic.ts';
import type { CompiledPolicy, Tier } from './compiled.ts';

export interface ValidationOptions {
  /**
   * Strict IP and CIDR parsing (S68): default in Kubernetes 1.36 and later (gate
   * StrictIPCIDRValidation). Lenient (S67) is what every earlier server does. Default: false.
   */
  readonly strictCidr?: boolean;
  /**
   * Which CRD bundle the cluster has, for the policy.networking.k8s.io kinds (S217, S221). Default:
   * `experimental`, which knows every field.
   */
  readonly channel?: 'standard' | 'experimental';
  /** The stored object, when this is an update (S21, S71, S87). */
  readonly old?: KubeObject;
}

/** A schema tree good enough to find unknown and misplaced fields and wrong JSON types. */
export type FieldSchema = SchemaNode;

export interface PolicyWarning {
  /** Diagnostic code. */
  readonly code: string;
  readonly path: string;
  readonly text: string;
}

export interface PolicyKind {
  readonly apiVersion: string;
  readonly kind: string;
  readonly plural: string;
  readonly shortNames: readonly string[];
  readonly namespaced: boolean;
  readonly tier: Tier;
  readonly schema: FieldSchema;
  /** The schema of another channel, where a kind has several; `schema` is the widest. */
  schemaFor?(channel: 'standard' | 'experimental'): FieldSchema;
  /**
   * True when the server answers wrong JSON types with field errors from `validate` (CRDs, S222)
   * instead of failing to decode the object (S31).
   */
  readonly typesAreFieldErrors?: boolean;
  /** Returns a defaulted copy; never changes its argument (S7–S14). */
  applyDefaults(object: KubeObject): KubeObject;
  /**
   * All faults at once, in the API server's order (S26–S30). Expects a defaulted object whose JSON
   * types fit `schema`.
   */
  validate(object: KubeObject, options?: ValidationOptions): FieldError[];
  /** Warnings for an accepted object: the server's own (S72), and what it should have said. */
  warnings?(object: KubeObject): PolicyWarning[];
  /**
   * What the object means once the unknown field at `path` is dropped from it (S4, S220), as a
   * sentence part; undefined when there is nothing worth saying.
   */
  meaningWithout?(object: KubeObject, path: string): string | undefined;
  /** Expects a defaulted object without validation faults. */
  compile(object: KubeObject, source?: SourceRange): CompiledPolicy;
}
