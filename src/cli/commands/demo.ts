/**
 * `podwall demo`: starts a lab, plays the story and prints predicted and observed matrices. Must not
 * know what a step ought to give.
 */
import { createInterface } from 'node:readline/promises';
import { playStory, type StoryResult, type StoryTable } from '../../lab/story/play.ts';
import { storySteps, type StoryStep } from '../../lab/story/steps.ts';
import type { Lab } from '../../lab/types.ts';
import { matrixLegend, paint, renderMatrixBlock, type MatrixCell } from '../../report/matrix.ts';
import { CliError, type CommandModule, type ExitCode, type Io } from '../command.ts';
import { openLabOrSimulation, type Simulation } from '../lab-or-simulation.ts';
import { wrapText } from '../wrap-text.ts';

interface DemoOptions {
  readonly step?: readonly string[];
  readonly pause?: boolean;
  readonly keep?: boolean;
  readonly simulate?: boolean;
  readonly output: 'text' | 'json';
}

const help = `
Examples:
  podwall demo                              all steps
  podwall demo --step default-deny-ingress  one step (repeat for more)
  podwall demo --pause                      wait for Enter between the steps
  podwall demo --keep                       leave the lab up to look around
  podwall demo --simulate                   no packets, no privileges needed
  podwall demo -o json | jq .summary

Steps:
${storySteps.map((step) => `  ${step.name.padEnd(31)}${step.title}`).join('\n')}

Exit codes: 0 every observation equals the prediction, 1 one differs,
2 usage error, 3 the lab broke.`;

function choose(names: readonly string[]): StoryStep[] {
  const unknown = names.filter((name) => !storySteps.some((step) => step.name === name));
  if (unknown.length > 0) {
    throw new CliError(
      `no such step: ${unknown.join(', ')}`,
      2,
      `steps are ${storySteps.map((step) => step.name).join(', ')}`,
    );
  }
  return names.length === 0
    ? [...storySteps]
    : storySteps.filter((step) => names.includes(step.name));
}

function cells(table: StoryTable, side: 'predicted' | 'observed'): MatrixCell[][] {
  return table.cells.map((row) =>
    row.map((cell, column): MatrixCell => {
      if (cell === undefined) {
        return {
          state: table.rows[table.cells.indexOf(row)] === table.columns[column] ? 'self' : 'none',
        };
      }
      const states = {
        allowed: 'open',
        denied: 'closed',
        unknown: 'unknown',
        OPEN: 'open',
        DROPPED: 'closed',
        REFUSED: 'refused',
        'NO-LISTENER': 'error',
        ERROR: 'error',
      } as const;
      return {
        state: states[side === 'predicted' ? cell.predicted : cell.observed],
        ...(side === 'observed' && cell.change !== undefined ? { change: cell.change } : {}),
        ...(side === 'observed' && !cell.agrees ? { disagrees: true } : {}),
      };
    }),
  );
}

function renderStep(result: StoryResult, number: string, io: Io): string {
  const { step } = result;
  const lines = [
    paint(`${number}  ${step.title}`, '1', io.color),
    ...wrapText(step.point, io.columns - 3).map((line) => `   ${line}`),
    ...step.policies
      .trimEnd()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => paint(`   │ ${line}`, '2', io.color)),
    '',
  ];
  const seen = result.simulated ? 'SIMULATED' : 'observed';
  const blocks = result.tables.map((table) =>
    renderMatrixBlock(
      {
        heading: `${table.port.protocol} ${table.port.port}`,
        rows: table.rows,
        columns: table.columns,
        matrices: [
          { title: 'predicted', cells: cells(table, 'predicted') },
          { title: seen, cells: cells(table, 'observed') },
        ],
      },
      { color: io.color, columns: io.columns },
    ),
  );
  const differ = result.tables
    .flatMap((table) => table.cells.flat().map((cell) => ({ cell, port: table.port })))
    .filter(({ cell }) => cell !== undefined && !cell.agrees)
    .map(
      ({ cell, port }) =>
        `   ! ${cell?.source} → ${cell?.destination} ${port.protocol} ${port.port}: predicted ${cell?.predicted}, ${seen} ${cell?.observed}${cell?.reason === undefined ? '' : ` (${cell.reason})`}`,
    );
  const end = `   ${result.probes} probes, ${result.agreements} agree (applied in ${result.applyMs} ms, probed in ${result.probeMs} ms)`;
  return `${lines.join('\n')}\n${blocks.join('\n')}${differ.map((line) => `${paint(line, '1;35', io.color)}\n`).join('')}${end}\n\n`;
}

async function pause(io: Io): Promise<void> {
  io.err('Enter for the next step, Ctrl-C to stop … ');
  const lines = createInterface({ input: io.stdin });
  try {
    await new Promise<void>((resolve) => {
      lines.once('line', () => resolve());
      lines.once('close', () => resolve());
      io.signal.addEventListener('abort', () => resolve(), { once: true });
    });
  } finally {
    lines.close();
  }
}

function toJson(results: readonly StoryResult[], simulation: Simulation | undefined): string {
  const probes = sum(results.map((result) => result.probes));
  const agreements = sum(results.map((result) => result.agreements));
  const report = {
    apiVersion: 'podwall/v1',
    kind: 'Demo',
    simulated: simulation !== undefined,
    ...(simulation === undefined ? {} : { simulatedBecause: simulation.reason }),
    steps: results.map(({ step, tables, probes: count, agreements: agree, applyMs, probeMs }) => ({
      name: step.name,
      title: step.title,
      policies: step.policies,
      probes: count,
      agreements: agree,
      applyMs,
      probeMs,
      cells: tables.flatMap((table) =>
        table.cells
          .flat()
          .filter((cell) => cell !== undefined)
          .map((cell) => ({
            protocol: table.port.protocol,
            port: table.port.port,
            ...cell,
          })),
      ),
    })),
    summary: { steps: results.length, probes, agreements, disagreements: probes - agreements },
  };
  return `${JSON.stringify(report, null, 2)}\n`;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

async function play(
  io: Io,
  lab: Lab,
  steps: readonly StoryStep[],
  options: DemoOptions,
  simulation: Simulation | undefined,
): Promise<ExitCode> {
  const results: StoryResult[] = [];
  const text = options.output === 'text';
  if (text) {
    io.out(
      `${simulation === undefined ? 'Real packets.' : 'SIMULATED: no packets.'}\n${matrixLegend}\n\n`,
    );
  }
  for await (const result of playStory(lab, steps, { signal: io.signal })) {
    results.push(result);
    if (text) io.out(renderStep(result, `${results.length}/${steps.length}`, io));
    else io.err(`  ${results.length}/${steps.length} ${result.step.name}\n`);
    if (options.pause && results.length < steps.length) await pause(io);
  }
  const probes = sum(results.map((result) => result.probes));
  const agreements = sum(results.map((result) => result.agreements));
  if (text) {
    const seen = simulation === undefined ? 'observed = predicted' : 'SIMULATED = predicted';
    const verdict = probes === agreements ? seen : `${probes - agreements} DISAGREE`;
    io.out(
      `${results.length} ${results.length === 1 ? 'step' : 'steps'}, ${probes} probes, ${agreements} agreements: ${verdict}\n`,
    );
  } else io.out(toJson(results, simulation));
  return probes === agreements && probes > 0 ? 0 : 1;
}

export const demo: CommandModule = {
  declare(command) {
    command
      .description(
        'The whole story with real packets: a small cluster on this machine, policies applied in turn, the predicted matrix beside the observed one.',
      )
      .option(
        '--step <name>',
        'play this step only (repeatable)',
        (name: string, names: string[] | undefined) => [...(names ?? []), name],
      )
      .option('--pause', 'wait for Enter between the steps')
      .option('--keep', 'leave the lab up afterwards and say how to look around')
      .option('--simulate', 'send no packets: interpret the compiled programs instead')
      .option('-o, --output <format>', 'text or json', 'text')
      .addHelpText('after', help);
  },
  async run(io, _args, raw) {
    const options = raw as unknown as DemoOptions;
    if (options.output !== 'text' && options.output !== 'json') {
      throw new CliError(`no such output format: ${String(options.output)}`, 2, 'use text or json');
    }
    if (options.keep && options.simulate) {
      throw new CliError(
        '--keep and --simulate exclude each other: a simulated lab has nothing to look at',
      );
    }
    const steps = choose(options.step ?? []);
    let lab: Lab | undefined;
    let done = false;
    try {
      // The story is told in IPv4: its ipBlocks are.
      const opened = await openLabOrSimulation(io, { stack: 'ipv4' }, options);
      lab = opened.lab;
      const { simulation } = opened;
      const code = await play(io, lab, steps, options, simulation);
      done = true;
      return code;
    } catch (error) {
      if (!io.signal.aborted) throw error;
      io.err('\nstopped; the lab is gone\n');
      return 1;
    } finally {
      if (!options.keep || !done) await lab?.down();
      else {
        io.err(
          'The lab stays up. Look around:\n' +
            '  podwall lab get pods\n' +
            '  podwall lab exec prod/prodserver-1 -- ip addr\n' +
            '  podwall lab probe --from dev/devserver-1 --to prod/prodserver-1 --port 80\n' +
            `  KUBECONFIG=${(await lab?.status())?.api?.kubeconfig ?? ''} kubectl get pods -A\n` +
            '  podwall lab down\n',
        );
      }
    }
  },
};
