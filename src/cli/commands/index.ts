/**
 * The list of verbs: name, summary and a lazy import each, so that starting one verb loads only it.
 */
import type { CommandModule } from '../command.ts';

export interface CommandEntry {
  readonly name: string;
  readonly summary: string;
  load(): Promise<CommandModule>;
}

export const commands: readonly CommandEntry[] = [
  {
    name: 'demo',
    summary: 'the whole story with real packets: predicted matrix beside the observed one',
    load: async () => (await import('./demo.ts')).demo,
  },
  {
    name: 'lab',
    summary: 'a small cluster on this machine: real pods, real packets',
    load: async () => (await import('./lab.ts')).lab,
  },
  {
    name: 'why',
    summary: 'can SRC reach DST, and why (not)?',
    load: async () => (await import('./why.ts')).why,
  },
  {
    name: 'reach',
    summary: 'who can reach whom on what: all pairs, in ten formats',
    load: async () => (await import('./reach.ts')).reach,
  },
  {
    name: 'diff',
    summary: 'what a change opens and closes, and which edit did it',
    load: async () => (await import('./diff.ts')).diff,
  },
  {
    name: 'explain',
    summary: 'every policy of some files in plain English',
    load: async () => (await import('./explain.ts')).explain,
  },
  {
    name: 'expose',
    summary: 'per pod: who could reach it and whom it could reach, pods to come included',
    load: async () => (await import('./expose.ts')).expose,
  },
  {
    name: 'equal',
    summary: 'do two sets of policies mean the same?',
    load: async () => (await import('./equal.ts')).equal,
  },
  {
    name: 'unused',
    summary: 'policies and rules that select nothing, are shadowed or redundant',
    load: async () => (await import('./unused.ts')).unused,
  },
  {
    name: 'gen',
    summary: 'synthetic clusters for tests and benchmarks',
    load: async () => (await import('./gen.ts')).gen,
  },
  {
    name: 'doctor',
    summary: 'are policies enforced here? proof with throw-away pods',
    load: async () => (await import('./doctor.ts')).doctor,
  },
  {
    name: 'agent',
    summary: 'enforce the policies on this node',
    load: async () => (await import('./agent.ts')).agent,
  },
  {
    name: 'render',
    summary: 'the nftables program of one node',
    load: async () => (await import('./render.ts')).render,
  },
];
