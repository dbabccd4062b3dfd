/**
 * What podwall tells a user about a fault in the input: a value, collected, never thrown.
 * Knows where the fault stands, not how it is printed.
 */

export type Severity = 'error' | 'warning' | 'info';

/** 1-based line and column, as editors count. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

export interface SourceRange {
  /** File path as given, or `<stdin>`, or a cluster address. */
  readonly file: string;
  readonly start: Position;
  readonly end?: Position;
}

export interface Diagnostic {
  /** Stable kebab-case id, for example `yaml-syntax`, `unknown-field`, `invalid-object`. */
  readonly code: string;
  readonly severity: Severity;
  /** One sentence: what is wrong. For validation faults exactly the API server's words. */
  readonly message: string;
  /** How to mend it, when podwall knows. */
  readonly hint?: string;
  readonly range?: SourceRange;
  /** Field path in the API server's form, `spec.ingress[0].from[1]`. */
  readonly fieldPath?: string;
  /** `NetworkPolicy prod/web`, when the fault belongs to one object. */
  readonly object?: string;
}
