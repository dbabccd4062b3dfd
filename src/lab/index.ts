/**
 * The lab's surface: start one, find the running one, or simulate one.
 */
export { completeLabConfig, defaultLabConfig, defaultOutside } from './config.ts';
export { LabError, LabRefusal, LabUnavailable, formatRefusal } from './errors.ts';
export { orderFault, type AdminOrder, type FaultRule, type ListedFault } from './fault-orders.ts';
export { createSimulatedLab } from './simulated.ts';
export { connectLab, keptShape, missingTools, startLab, type StartOptions } from './start.ts';
export { clusterKinds, kindNamed, namespacedIn, pluralOf, refOf } from './store.ts';
export type {
  ApplyResult,
  Change,
  DropEvidence,
  ExecOptions,
  ExecResult,
  Lab,
  LabConfig,
  LabLifetime,
  LabObject,
  LabPort,
  LabStatus,
  NodeStatus,
  ObjectRef,
  OutsideHost,
  ProbeEvidence,
  ProbeOutcome,
  ProbeReport,
  ProbeRequest,
  ProbeResult,
  Refusal,
  Stack,
  Wiring,
} from './types.ts';
