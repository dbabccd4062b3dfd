/**
 * The public API of the package: a hand-kept list. Nothing else is exported; what is not here may
 * change at any time. All of it also runs in a browser.
 */
export { buildSnapshot } from './engine/build.ts';
export { diffReach } from './engine/diff.ts';
export { createEvaluator } from './engine/evaluate.ts';
export { computeReach } from './engine/reach.ts';
export { defaultSettings } from './engine/snapshot.ts';
export { formatFieldError } from './k8s/field-error.ts';
export { parseManifests } from './manifest/parse.ts';
export { checkPolicy, policyKinds } from './policy/index.ts';
export { describePolicy } from './report/policy-text.ts';
export { toReachability } from './report/to-reachability.ts';

export type { BuildInput, BuildOptions, BuildResult } from './engine/build.ts';
export type { PairChange, ReachDiff } from './engine/diff.ts';
export type { Evaluator } from './engine/evaluate.ts';
export type { PairResult, Reach } from './engine/reach.ts';
export type { Settings, Snapshot } from './engine/snapshot.ts';
export type { Connection, Endpoint, Leg, Outcome, Verdict } from './engine/verdict.ts';
export type { Diagnostic, Position, Severity, SourceRange } from './k8s/diagnostic.ts';
export type { FieldError } from './k8s/field-error.ts';
export type { KubeObject, LabelSelector, NetworkPolicy } from './k8s/types.ts';
export type { ManifestObject, ManifestResult } from './manifest/parse.ts';
export type { CompiledPolicy, CompiledRule } from './policy/compiled.ts';
export type { Reachability } from './report/reachability.ts';
