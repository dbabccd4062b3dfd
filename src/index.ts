/**
 * The public API of the package: a hand-kept list. Nothing else is exported; what is not here may
 * change at any time.
 */
export type { Diagnostic, Position, Severity, SourceRange } from './k8s/diagnostic.ts';
export type { KubeObject, LabelSelector, NetworkPolicy } from './k8s/types.ts';
export type { Snapshot, Settings } from './engine/snapshot.ts';
export type { Connection, Endpoint, Leg, Outcome, Verdict } from './engine/verdict.ts';
