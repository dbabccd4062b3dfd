/**
 * Source × destination matrices as text, several side by side, for terminals and pipes. Knows
 * glyphs and widths; must not know where the verdicts came from.
 */

export type CellState = 'open' | 'closed' | 'refused' | 'unknown' | 'self' | 'error' | 'none';

export interface MatrixCell {
  readonly state: CellState;
  /** Against the matrix before: what this cell became. */
  readonly change?: 'opened' | 'closed';
  /** Observation and prediction differ here. */
  readonly disagrees?: boolean;
}

export interface Matrix {
  readonly title: string;
  /** `cells[row][column]`. */
  readonly cells: readonly (readonly MatrixCell[])[];
}

export interface MatrixBlock {
  /** For example `TCP 80`. */
  readonly heading: string;
  readonly rows: readonly string[];
  readonly columns: readonly string[];
  readonly matrices: readonly Matrix[];
}

const glyphs: Readonly<Record<CellState, string>> = {
  open: '●',
  closed: '○',
  refused: '×',
  unknown: '?',
  self: '·',
  error: 'E',
  none: ' ',
};

const colors: Readonly<Record<CellState, string>> = {
  open: '32',
  closed: '31',
  refused: '31',
  unknown: '33',
  self: '2',
  error: '35',
  none: '0',
};

export const matrixLegend =
  '● open  ○ closed  · itself  + opened, - closed since the step before  ! disagreement';

/** Wraps text in an SGR sequence when colour is on. */
export function paint(text: string, sgr: string, color: boolean): string {
  return color ? `\u001b[${sgr}m${text}\u001b[0m` : text;
}

/** Spreadsheet-like keys: a … z, aa, ab, … */
function key(index: number): string {
  const letters = 'abcdefghijklmnopqrstuvwxyz';
  const last = letters[index % 26] ?? '?';
  return index < 26 ? last : key(Math.floor(index / 26) - 1) + last;
}

function cell(value: MatrixCell | undefined, width: number, color: boolean): string {
  const { state, change, disagrees } = value ?? { state: 'none' };
  const mark = disagrees ? '!' : change === 'opened' ? '+' : change === 'closed' ? '-' : '';
  const sgr = disagrees ? '1;35' : change === undefined ? colors[state] : `1;${colors[state]}`;
  return paint(glyphs[state] + mark, sgr, color) + ' '.repeat(width - 1 - mark.length);
}

interface Layout {
  readonly matrix: Matrix;
  readonly cellWidth: number;
  /** With the gap to the next one. */
  readonly width: number;
}

/** A matrix without marks needs no room for them. */
function hasMarks({ cells }: Matrix): boolean {
  return cells.some((row) => row.some(({ change, disagrees }) => change ?? disagrees));
}

/** At least one a line; the last one's gap may hang over. */
function groupsThatFit(layouts: readonly Layout[], room: number): Layout[][] {
  const groups: Layout[][] = [];
  let left = 0;
  for (const layout of layouts) {
    const last = groups.at(-1);
    if (last !== undefined && layout.width - 2 <= left) last.push(layout);
    else {
      groups.push([layout]);
      left = room;
    }
    left -= layout.width;
  }
  return groups;
}

/** Items with commas between, on as many lines as they need. */
function listLines(head: string, items: readonly string[], columns: number): string[] {
  const lines: string[] = [];
  let line = head;
  for (const [index, item] of items.entries()) {
    const text = index === items.length - 1 ? item : `${item},`;
    const blank = line === head || line.trim() === '' ? '' : ' ';
    if (blank !== '' && line.length + 1 + text.length > columns) {
      lines.push(line);
      line = ' '.repeat(head.length) + text;
    } else line += blank + text;
  }
  return [...lines, line];
}

/**
 * One block: the key letters stand for rows and columns alike when a name is in both lists, so the
 * matrices stay narrow. Matrices that do not fit into `columns` beside each other go below.
 */
export function renderMatrixBlock(
  block: MatrixBlock,
  options: { readonly color: boolean; readonly columns: number },
): string {
  const keys = new Map<string, string>();
  for (const name of [...block.rows, ...block.columns]) {
    if (!keys.has(name)) keys.set(name, key(keys.size));
  }
  const widest = Math.max(1, ...[...keys.values()].map((text) => text.length));
  const names = [...keys].map(([name, letter]) => `${letter} ${name}`);
  const labelWidth = Math.max(block.heading.length, ...names.map((name) => name.length)) + 2;
  const layouts = block.matrices.map((matrix): Layout => {
    const cellWidth = Math.max(widest, hasMarks(matrix) ? 2 : 1) + 1;
    const width = Math.max(block.columns.length * cellWidth, matrix.title.length + 1) + 2;
    return { matrix, cellWidth, width };
  });
  const lines: string[] = [];
  for (const group of groupsThatFit(layouts, options.columns - 2 - labelWidth)) {
    const title = group.map(({ matrix, width }) => matrix.title.padEnd(width)).join('');
    lines.push(paint(`  ${''.padEnd(labelWidth)}${title}`.trimEnd(), '1', options.color));
    const header = group.map(({ cellWidth, width }) =>
      block.columns
        .map((name) => (keys.get(name) ?? '').padEnd(cellWidth))
        .join('')
        .padEnd(width),
    );
    lines.push(`  ${block.heading.padEnd(labelWidth)}${header.join('')}`.trimEnd());
    for (const [row, name] of block.rows.entries()) {
      const label = `${keys.get(name)} ${name}`.padEnd(labelWidth);
      const cells = group.map(({ matrix, cellWidth, width }) => {
        const text = block.columns.map((_, column) =>
          cell(matrix.cells[row]?.[column], cellWidth, options.color),
        );
        return text.join('') + ' '.repeat(width - block.columns.length * cellWidth);
      });
      lines.push(`  ${label}${cells.join('')}`.trimEnd());
    }
  }
  const onlyColumns = block.columns.filter((name) => !block.rows.includes(name));
  if (onlyColumns.length > 0) {
    const named = onlyColumns.map((name) => `${keys.get(name)} ${name}`);
    lines.push(...listLines('  columns: ', named, options.columns));
  }
  return `${lines.join('\n')}\n`;
}
