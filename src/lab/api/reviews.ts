/**
 * Answers to "may I?" and "who am I?". Everybody who has a token may do everything, except what a
 * fault forbids.
 */
import { type ApiObject, type JsonObject, objectAt, stringAt } from './object.ts';
import type { User } from './request.ts';
import type { ResourceType } from './resource.ts';

export interface AccessQuestion {
  readonly user: string;
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
}

/** What the answers depend on. */
export interface Judge {
  allows(question: AccessQuestion): boolean;
  /** Whose token it is; undefined when it is nobody's. */
  userOf(token: string): User | undefined;
}

/** Fills the status of a review. */
export function answerReview(
  type: ResourceType,
  review: JsonObject,
  user: User,
  judge: Judge,
): ApiObject {
  return {
    ...review,
    apiVersion: String(review['apiVersion']),
    kind: type.kind,
    metadata: { name: '', creationTimestamp: null },
    status: statusOf(type, review, user, judge),
  };
}

function statusOf(type: ResourceType, review: JsonObject, user: User, judge: Judge): JsonObject {
  switch (type.kind) {
    case 'SelfSubjectReview':
      return { userInfo: { username: user.name, groups: user.groups } };
    case 'TokenReview': {
      const owner = judge.userOf(stringAt(review, 'spec', 'token'));
      if (owner === undefined) return { error: 'the lab knows no such token' };
      return { authenticated: true, user: { username: owner.name, groups: owner.groups } };
    }
    case 'SelfSubjectRulesReview':
      return {
        incomplete: false,
        resourceRules: [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }],
        nonResourceRules: [{ verbs: ['*'], nonResourceURLs: ['*'] }],
      };
    default: {
      const attributes = objectAt(review, 'spec', 'resourceAttributes');
      const yes = judge.allows({
        user: stringAt(review, 'spec', 'user') || user.name,
        verb: stringAt(attributes, 'verb'),
        group: stringAt(attributes, 'group'),
        resource: stringAt(attributes, 'resource'),
      });
      return yes
        ? { allowed: true, reason: 'every token of the lab may do everything' }
        : { allowed: false, reason: 'forbidden by a fault of the lab' };
    }
  }
}
