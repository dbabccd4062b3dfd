/**
 * Seeds of random tests: fixed where a result must not depend on luck (CI), different at each run
 * elsewhere and in soak tests. PODWALL_SEED repeats one anywhere.
 */
import fc from 'fast-check';

if (process.env['CI'] && !process.env['PODWALL_SOAK']) process.env['PODWALL_SEED'] ??= '20261122';

const seed = process.env['PODWALL_SEED'];
if (seed !== undefined) fc.configureGlobal({ seed: Number(seed) });
