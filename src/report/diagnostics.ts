/**
 * Diagnostics as text: one line each in the form compilers use, so that editors can jump there.
 * Must not know where the diagnostics came from.
 */
import type { Diagnostic } from '../k8s/diagnostic.ts';
import { paint } from './matrix.ts';

const sgr = { error: '1;31', warning: '1;33', info: '1;36' } as const;

/** `file:line:column: error: message`, then the object and the hint. */
export function formatDiagnostic(diagnostic: Diagnostic, color = false): string {
  const { range, severity, message, hint, object, code } = diagnostic;
  const place =
    range === undefined ? '' : `${range.file}:${range.start.line}:${range.start.column}: `;
  // Some messages begin with the object of their own.
  const owner = object === undefined || message.startsWith(`${object} `) ? '' : `${object}: `;
  const lines = [
    `${place}${paint(severity, sgr[severity], color)}: ${owner}${message} [${code}]`,
    ...(hint === undefined ? [] : [`    hint: ${hint}`]),
  ];
  return `${lines.join('\n')}\n`;
}
