/**
 * The contract of an output format for reachability: a pure function from document to text.
 */
import type { Reachability } from '../reachability.ts';

export interface FormatOptions {
  readonly color: boolean;
  readonly columns: number;
}

export interface Format {
  readonly name: string;
  readonly mediaType: string;
  readonly summary: string;
  render(result: Reachability, options: FormatOptions): string;
}
