/**
 * A lab of its own for one verb: with real packets where this machine can, simulated, and said so,
 * where it cannot. Must not know what the lab is for.
 */
import { LabUnavailable } from '../lab/errors.ts';
import { createSimulatedLab, startLab } from '../lab/index.ts';
import type { Lab, LabConfig } from '../lab/types.ts';
import { CliError, type Io } from './command.ts';

/** Why no packets are sent, for every place that must say so. */
export interface Simulation {
  readonly reason: string;
}

/** The lab ends with this process unless `keep`; then no simulation can stand in for it. */
export async function openLabOrSimulation(
  io: Io,
  config: Partial<LabConfig>,
  options: { readonly simulate?: boolean; readonly keep?: boolean },
): Promise<{ readonly lab: Lab; readonly simulation: Simulation | undefined }> {
  const simulated = (
    reason: string,
    remedy?: string,
  ): { readonly lab: Lab; readonly simulation: Simulation } => {
    io.err(`SIMULATED, no packets are sent: ${reason}\n`);
    if (remedy !== undefined) io.err(`To see real packets: ${remedy}\n`);
    return { lab: createSimulatedLab(config), simulation: { reason } };
  };
  if (options.simulate) return simulated('--simulate was given');
  try {
    const lab = await startLab(config, {
      // Who looks around afterwards wants kubectl.
      ...(options.keep ? { lifetime: 'detached', api: true } : { lifetime: 'parent' }),
      onProgress: (text) => io.err(`  ${text}\n`),
      signal: io.signal,
    });
    return { lab, simulation: undefined };
  } catch (error) {
    if (!(error instanceof LabUnavailable)) throw error;
    if (options.keep) {
      throw new CliError(`--keep needs a real lab: ${error.reason}`, 3, error.remedy);
    }
    return simulated(error.reason, error.remedy);
  }
}
