/**
 * Verdicts as versioned JSON (`podwall/v1`, kind `Verdict`). Must not know how verdicts are found.
 */
import type { Completeness } from '../engine/snapshot.ts';
import type { Leg, RuleRef } from '../engine/verdict.ts';
import type { PolicyRef } from '../policy/compiled.ts';
import { describeNearMiss, describeSideEffect, type VerdictView } from './verdict-text.ts';

function policyJson(view: VerdictView, policy: PolicyRef, path?: string): object {
  const place = view.place(policy, path);
  return {
    kind: policy.kind,
    ...(policy.namespace === undefined ? {} : { namespace: policy.namespace }),
    name: policy.name,
    ...(place === '' ? {} : { place }),
  };
}

function ruleJson(view: VerdictView, ref: RuleRef): object {
  return {
    policy: policyJson(view, ref.policy, ref.peerPath ?? ref.rule.path),
    action: ref.rule.action,
    rule: ref.rule.path,
    ...(ref.peerPath === undefined ? {} : { peer: ref.peerPath }),
    ...(ref.portPath === undefined ? {} : { ports: ref.portPath }),
  };
}

function legJson(view: VerdictView, leg: Leg): object {
  return {
    outcome: leg.outcome,
    reason: leg.reason,
    ...(leg.tier === undefined ? {} : { tier: leg.tier }),
    isolatedBy: leg.isolatedBy.map((policy) => policyJson(view, policy)),
    ...(leg.decidedBy === undefined ? {} : { decidedBy: ruleJson(view, leg.decidedBy) }),
    ...(leg.alsoAdmittedBy === undefined
      ? {}
      : { alsoAdmittedBy: leg.alsoAdmittedBy.map((ref) => ruleJson(view, ref)) }),
    ...(leg.passedBy === undefined
      ? {}
      : { passedBy: leg.passedBy.map((ref) => ruleJson(view, ref)) }),
    ...(leg.missing === undefined ? {} : { missing: leg.missing }),
  };
}

/** How complete the input was, as every answer carries it. */
export function completenessJson(completeness: Completeness): object {
  return {
    objects: completeness.objects,
    unknownKinds: Object.fromEntries(completeness.unknownKinds),
    impliedNamespaces: completeness.impliedNamespaces,
    invalidPolicies: completeness.invalidPolicies.map(({ kind, namespace, name }) => ({
      kind,
      ...(namespace === undefined ? {} : { namespace }),
      name,
    })),
    podsWithoutAddress: completeness.podsWithoutAddress,
  };
}

export function toVerdictJson(
  views: readonly VerdictView[],
  notes: readonly string[],
  completeness: Completeness,
): object {
  return {
    apiVersion: 'podwall/v1',
    kind: 'Verdict',
    completeness: completenessJson(completeness),
    notes,
    verdicts: views.map((view) => ({
      source: view.source,
      destination: view.destination,
      on: view.on,
      outcome: view.verdict.outcome,
      egress: legJson(view, view.verdict.egress),
      ingress: legJson(view, view.verdict.ingress),
      nearMisses: view.nearMisses.map((miss) => ({
        direction: miss.direction,
        policy: policyJson(view, miss.policy, miss.rule.path),
        rule: miss.rule.path,
        lacks: miss.lacks,
        text: describeNearMiss(view, miss),
      })),
      fixes: view.fixes.map(({ fix, outcome, also }) => ({
        direction: fix.direction,
        policy: policyJson(view, fix.policy, fix.path),
        description: fix.description,
        path: fix.path,
        outcome,
        object: fix.object,
        ...(also === undefined ? {} : { alsoChanges: also.map(describeSideEffect) }),
      })),
    })),
  };
}
