/**
 * What a policy kind must offer to take part in podwall: one file in `kinds/` implements this.
 * Must not know of engine, dataplane or any other kind.
 */
import type { FieldError } from '../k8s/field-error.ts';
import type { KubeObject } from '../k8s/types.ts';
import type { SourceRange } from '../k8s/diagnostic.ts';
import type { CompiledPolicy, Tier } from './compiled.ts';

export interface ValidationOptions {
  /**
   * Strict IP and CIDR parsing (S68): default in Kubernetes 1.36 and later (gate
   * StrictIPCIDRValidation). Lenient (S67) is what every earlier server does. Default: false.
   */
  readonly strictCidr?: boolean;
  /** The stored object, when this is an update (S21, S71, S87). */
  readonly old?: KubeObject;
}

/** A schema tree good enough to find unknown and misplaced fields and wrong JSON types. */
export type FieldSchema =
  | { readonly type: 'object'; readonly fields: Readonly<Record<string, FieldSchema>> }
  | { readonly type: 'map'; readonly values: FieldSchema }
  | { readonly type: 'list'; readonly items: FieldSchema }
  | { readonly type: 'string' | 'integer' | 'boolean' | 'int-or-string' | 'any' };

export interface PolicyKind {
  readonly apiVersion: string;
  readonly kind: string;
  readonly plural: string;
  readonly shortNames: readonly string[];
  readonly namespaced: boolean;
  readonly tier: Tier;
  readonly schema: FieldSchema;
  /** Returns a defaulted copy; never changes its argument (S7–S14). */
  applyDefaults(object: KubeObject): KubeObject;
  /**
   * All faults at once, in the API server's order (S26–S30). Expects a defaulted object whose JSON
   * types fit `schema`.
   */
  validate(object: KubeObject, options?: ValidationOptions): FieldError[];
  /** Expects a defaulted object without validation faults. */
  compile(object: KubeObject, source?: SourceRange): CompiledPolicy;
}
