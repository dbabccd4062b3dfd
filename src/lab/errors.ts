/**
 * The three ways the lab says no: it cannot run here, it refuses an object, it failed. Must not know
 * of commands or exit codes.
 */
import type { Refusal } from './types.ts';

/** This machine or user cannot run the real lab; the simulated one still works. */
export class LabUnavailable extends Error {
  readonly reason: string;
  /** What would make it possible, one line each. */
  readonly remedy: string;
  constructor(reason: string, remedy: string) {
    super(`the lab cannot run here: ${reason}`);
    this.name = 'LabUnavailable';
    this.reason = reason;
    this.remedy = remedy;
  }
}

/** Objects the lab refuses; nothing of the batch was applied. */
export class LabRefusal extends Error {
  readonly refusals: readonly Refusal[];
  constructor(refusals: readonly Refusal[]) {
    super(refusals.map((refusal) => formatRefusal(refusal)).join('\n'));
    this.name = 'LabRefusal';
    this.refusals = refusals;
  }
}

/** The lab was asked for something it does not have, or broke. */
export class LabError extends Error {
  override name = 'LabError';
}

/** There is nothing under the name that was given. */
export class LabNotFound extends LabError {
  override name = 'LabNotFound';
}

/** One refusal as kubectl words it. */
export function formatRefusal(refusal: Refusal): string {
  const { ref, reason, messages } = refusal;
  if (reason === 'Invalid') {
    const text = messages.length === 1 ? messages[0] : `[${messages.join(', ')}]`;
    return `The ${ref.kind} "${ref.name}" is invalid: ${text}`;
  }
  return `Error from server (${reason}): ${messages.join('; ')}`;
}
